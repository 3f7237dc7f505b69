"""The files of `sweeps/`: each a choice of the group `sweep`; one that cannot be read concerns who asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.checks import ConfigError
from src.naming import key_of


def read(path: Path) -> dict[str, Any]:
    """A sweep file's content.

    Raises:
        ValueError: what is wrong with the file, in one line.
    """
    if not path.is_file():  # a pipe would be waited for, an editor's lock is a link to nowhere
        raise ValueError("it is no file")
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{where}{error.problem or error.context}") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ValueError(" ".join(reason.split())) from None
    if not isinstance(content, dict) or not content or not isinstance(content.get("hydra", {}), dict):
        raise ValueError("it must hold keys and values, and below `hydra` as well")
    return content


def register(folder: Path, arguments: Sequence[str]) -> None:
    """Makes each file of the flat folder `sweeps/` that can be read a choice of the group `sweep`.

    Args:
        arguments: the command line; what it asks for must be readable.

    Raises:
        ConfigError: if a file that is asked for is there and cannot be read.
    """
    asked = {
        name.strip("\"' ")
        for argument in arguments
        if key_of(argument) == "sweep"
        for name in argument.partition("=")[2].split(",")
    }
    for path in sorted(folder.glob("*.yaml")):
        try:
            content = read(path)
        except ValueError as error:
            if path.stem in asked:
                where = f"{folder.name}/{path.name}"
                raise ConfigError("sweep", path.stem, f"{where} cannot be read: {error}") from None
            continue
        ConfigStore.instance().store(
            group="sweep", name=path.stem, node=content, package="_global_", provider=str(path)
        )
