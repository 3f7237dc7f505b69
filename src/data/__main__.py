"""The command `python -m src.data`."""

from __future__ import annotations

import logging
import sys

from src import components, data, errors
from src.data import fashion_mnist


@errors.command
def main(arguments: list[str] | None = None) -> None:
    """Gets a data set, and says where it is."""
    parser = errors.Parser(
        prog="python -m src.data",
        description="Gets a data set, checks it, and says where it is and where it came from. Fashion-MNIST is "
        f"looked for in the folder itself, in {fashion_mnist.SYSTEM}, in torchvision's download and in Debian's "
        f"package {fashion_mnist.PACKAGE}, in this order; what is there and intact is not fetched again.",
        epilog="The exit code is 0 if the data set is there, 2 if no source gives it or a value is wrong, 130 "
        "if you interrupt it.",
    )
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="The folder to look in and to put the files into. A relative one is taken from the repository's "
        "root. It is that of the data set's YAML if you do not give one.",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        default="fashion_mnist",
        help=f"The data set: {', '.join(components.names('data'))}. It is %(default)s if you do not give one.",
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    options = data.defaults(given.dataset)
    if given.root is not None:
        options["root"] = given.root
    print(_description(options))


def _description(options: dict[str, object]) -> str:
    dataset = data.load_bytes(**options)  # type: ignore[arg-type]
    counts = (
        f"{dataset.name}: {len(dataset.train_labels):,} training and {len(dataset.test_labels):,} test images"
    )
    module = components.find("data", dataset.name)
    if hasattr(module, "origin"):
        return counts + module.origin({**options, "root": data.resolve(options["root"])})  # type: ignore[arg-type]
    return f"{counts} of shape {dataset.shape}, {dataset.classes} classes, SHA-256 {data.checksum(dataset)[:12]}…"


if __name__ == "__main__":
    sys.exit(main())
