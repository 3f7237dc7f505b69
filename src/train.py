"""`python -m src.train`: one run, or with `-m` a sweep. Hydra composes the config; see `conf/config.yaml`.

What happens then is in `src.sweeping.single` (a run) or, through the plugin in `src/plugins`, in `src.sweeping`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser

from src import errors
from src.errors import events, messages
from src.sweeping import naming, single


@errors.command
def main() -> None:
    """Runs Hydra on the command line."""
    if events.FLAG in sys.argv:
        sys.argv.remove(events.FLAG)
        events.begin()
    sys.argv[1:] = flags_first(sys.argv[1:])
    conf = str(errors.REPOSITORY / "conf")
    with errors.raised_by_hydra():
        naming.check_overrides(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=conf, config_name="config")(single.task)()


MODES = ("run", "multirun", "cfg", "info", "shell_completion")
"""Hydra's flags of which there may be one."""


def flags_first(arguments: Sequence[str]) -> list[str]:
    """The same arguments with all flags in front, where Hydra wants them; they may stand anywhere. A named sweep
    gets the flag of a sweep.

    Raises:
        InputError: if there is no such flag.
    """
    parser = get_args_parser()
    if any(argument.startswith("--v") for argument in arguments):
        from importlib.metadata import version

        words = f"dropout-sweeps {version('dropout-sweeps')} (Hydra {hydra.__version__})"
        parser._option_string_actions["--version"].version = words  # type: ignore[attr-defined]

    def refuse(message: str) -> NoReturn:
        raise errors.InputError(f"{message}; {messages.HELP} what there is")

    parser.error = refuse  # type: ignore[method-assign]
    options = vars(parser.parse_intermixed_args(arguments))
    overrides = options.pop("overrides")
    flags = [argument for argument in arguments if argument not in overrides]
    values = {naming.key_of(override): override.partition("=")[2] for override in overrides}
    is_named = values.get("sweep") not in (None, "", "null") and "hydra.mode" not in values
    if is_named and not any(options[mode] for mode in MODES):
        flags.append("--multirun")
    return [*flags, *overrides]


if __name__ == "__main__":
    sys.exit(main())
