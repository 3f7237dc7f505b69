"""The data sets, in memory: Fashion-MNIST and scikit-learn's digits, as tensors of bytes.

    from src.data import load
    train_images, train_labels, test_images, test_labels = load({"name": "fashion_mnist"})

Where Fashion-MNIST's files come from is told in `src.fetch`; the digits come with scikit-learn.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from src import fetch
from src.fetch import LAYOUT as LAYOUT
from src.fetch import DataError, fashion_mnist_folder, resolve

SPLIT_SEED = 0


@dataclass(frozen=True)
class Dataset:
    """A data set as held in memory; shared by all that ask for it in this process, so not to be written to.

    Images are (n, features) uint8, of value `scale` times the image's; labels (n,) int64, in [0, classes).
    Without a validation split `val_images` and `val_labels` have no rows.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    scale: int
    classes: int


@dataclass(frozen=True)
class Tensors:
    """A data set as mathematics has it: images (n, features) float32 in [0, 1], labels (n,) int64.

    It unpacks into four: train images, train labels, test images, test labels. `val_images` and `val_labels`
    have no rows without a validation split.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    val_images: Tensor
    val_labels: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.train_images, self.train_labels, self.test_images, self.test_labels))


def load(config: Any) -> Tensors:
    """Tensors of the data set that `config` names, images as torchvision's `ToTensor` scales them.

    Args:
        config: `cfg.data`, or any mapping or object with `name`, `root` and `validation`; what it leaves out
            takes its default, see `load_bytes`.

    Raises:
        DataError: as `load_bytes`.

    >>> train_images, train_labels, test_images, test_labels = load({"name": "digits"})
    >>> train_images.shape, train_images.dtype, test_labels.shape
    (torch.Size([1437, 64]), torch.float32, torch.Size([360]))
    """
    held = load_bytes(
        _get(config, "name", "fashion_mnist"), _get(config, "root", None), _get(config, "validation", 0)
    )
    return Tensors(
        scaled(held.train_images, held.scale),
        held.train_labels,
        scaled(held.test_images, held.scale),
        held.test_labels,
        scaled(held.val_images, held.scale),
        held.val_labels,
    )


def scaled(images: Tensor, scale: int) -> Tensor:
    """Images as float32 in [0, 1], of the same shape: divided as `ToTensor` does, to the last bit."""
    return images.to(torch.float32).div(scale)


def _get(config: Any, key: str, default: Any) -> Any:
    if isinstance(config, Mapping):
        return config.get(key, default)
    return getattr(config, key, default)


@functools.cache
def load_bytes(name: str, root: str | Path | None = None, validation: int = 0) -> Dataset:
    """The data set in bytes, read once a process.

    Args:
        name: `fashion_mnist` or `digits`.
        root: folder that holds Fashion-MNIST, or is to: torchvision's root, or a folder of the four files,
            with or without `.gz`. A relative one is taken from the repository's root, wherever the process
            runs. None is `.data`. Digits has no use for it.
        validation: training images held out, stratified by class; the same ones for every seed.

    Raises:
        DataError: on a bad value, a damaged file, or if no source gives the data set.

    Source: Xiao, Rasul and Vollgraf 2017 (Fashion-MNIST); Alpaydin and Kaynak 1998, UCI (digits).
    """
    if name not in READERS:
        raise DataError(f"data.name={name!r}: must be one of {', '.join(READERS)}")
    reader, scale = READERS[name]
    train_images, train_labels, test_images, test_labels = reader(resolve(root))
    held = held_out(train_labels, validation, "data.validation")
    no_split = not held.any()
    return Dataset(
        name,
        train_images if no_split else train_images[~held],
        train_labels if no_split else train_labels[~held],
        train_images[held],
        train_labels[held],
        test_images,
        test_labels,
        scale=scale,
        classes=int(train_labels.max()) + 1,
    )


def held_out(labels: Tensor, count: int, key: str) -> Tensor:
    """Mask (n,) bool of `count` examples, stratified by class.

    Depends on the labels and `count` alone, and a larger `count` adds to a smaller one's examples. Each class
    gets its share by Webster's method of apportionment: its examples, shuffled, stand at (rank + 1/2) / (size
    of the class), and the first `count` of all are taken.

    Args:
        labels: (n,) int64.
        count: from 0 to what leaves each class at least one example.
        key: what to call `count` in the error.

    Raises:
        DataError: if `count` is out of its range.
    """
    classes = labels.numpy()
    # Only the raw stream of a bit generator is promised to be the same in every version of numpy.
    shuffled = np.lexsort((np.random.PCG64(SPLIT_SEED).random_raw(len(classes)), classes))
    sizes = np.bincount(classes)
    sizes = sizes[sizes > 0]
    rank = np.arange(len(classes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    size = np.repeat(sizes, sizes)
    order = np.argsort((rank + 0.5) / size, kind="stable")
    most = int(np.argmax((rank == size - 1)[order]))
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= most:
        raise DataError(
            f"{key}={count!r}: must be a whole number from 0 to {most}, to leave each class a training image"
        )
    mask = np.zeros(len(classes), dtype=bool)
    mask[shuffled[order[:count]]] = True
    return torch.from_numpy(mask)


# Digits


@functools.cache
def _read_digits(root: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Train and test images (n, 64) uint8 from 0 to 16, labels (n,) int64; 360 of 1,797 for testing."""
    table = torch.from_numpy(_digits_table())
    images, labels = table[:, :-1].contiguous(), table[:, -1].long()
    test = held_out(labels, 360, "test")
    return images[~test], labels[~test], images[test], labels[test]


def _digits_table() -> np.ndarray:
    """(1797, 65) uint8: 64 pixels row by row, then the label.

    Read from scikit-learn's own file: `import sklearn.datasets` takes 2 s, longer than a whole run on digits.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("data.name='digits': the images come with scikit-learn, which is not installed")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if path.is_file():
        return np.loadtxt(path, delimiter=",", dtype=np.uint8)
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target]).astype(np.uint8)


# Fashion-MNIST


@functools.cache
def _read_fashion_mnist(root: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Train and test images (n, 784) uint8, labels (n,) int64."""
    folder = fashion_mnist_folder(root)
    dataset = fetch.dataset_in(folder)
    train, test = dataset(folder, train=True), dataset(folder, train=False)
    return train.data.flatten(1), train.targets, test.data.flatten(1), test.targets


READERS = {"fashion_mnist": (_read_fashion_mnist, 255), "digits": (_read_digits, 16)}
"""Name of a data set: what reads it, and the byte that stands for an image value of 1."""


# Command line


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise DataError(message)


def main(arguments: list[str] | None = None) -> int:
    """The command `python -m src.data`; returns its exit code."""
    parser = _Parser(
        prog="python -m src.data",
        description="Gets a data set, checks it, and says where it is and whence it came. Fashion-MNIST is "
        f"looked for in the folder itself, in {fetch.SYSTEM}, in torchvision's download and in Debian's "
        f"package {fetch.PACKAGE}, in this order; what is there and intact is not fetched again.",
        epilog="The exit code is 0 if the data set is there, 2 if it cannot be had or a value is wrong, 130 "
        "if you interrupt it.",
    )
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="The folder to look in and to put the files into. A relative one is taken from the repository's "
        f"root. It is {fetch.DEFAULT_ROOT} if you do not give one.",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        default="fashion_mnist",
        help=f"The data set, {' or '.join(READERS)}. It is %(default)s if you do not give one.",
    )
    try:
        options = parser.parse_args(arguments)
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
        print(_description(load_bytes(options.dataset, options.root), resolve(options.root)))
    except DataError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return 130
    return 0


def _description(dataset: Dataset, root: Path) -> str:
    counts = f"{len(dataset.train_labels):,} training and {len(dataset.test_labels):,} test images"
    if dataset.name == "digits":
        return f"digits: {counts}, part of the installed scikit-learn"
    folder = fashion_mnist_folder(root)
    return f"{dataset.name}: {counts} in {folder}, SHA-256 sums verified; source: {fetch.origin_of(folder)}"


if __name__ == "__main__":
    sys.exit(main())
