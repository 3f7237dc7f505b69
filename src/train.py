"""`python -m src.train`: one run, or with `-m` a sweep. Hydra composes the config; see `conf/config.yaml`."""

from __future__ import annotations

import os
import re
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "src" / "plugins"))
if str(REPOSITORY) not in sys.path:  # the plain script `python src/train.py` is started without it
    sys.path.insert(1, str(REPOSITORY))

import hydra  # noqa: E402
from hydra._internal.utils import get_args_parser  # noqa: E402
from hydra.core.hydra_config import HydraConfig  # noqa: E402
from hydra.errors import HydraException, OverrideParseException  # noqa: E402
from hydra.types import RunMode  # noqa: E402
from omegaconf import DictConfig, OmegaConf  # noqa: E402
from omegaconf.errors import OmegaConfBaseException  # noqa: E402

from src import sweep_files  # noqa: E402
from src.checks import ConfigError, InputError  # noqa: E402
from src.naming import key_of, sweep_name  # noqa: E402

OWN = "override /hydra/sweeper"
"""Entry of a sweep file's defaults list."""

exit_code = 0
refusal: InputError | OmegaConfBaseException | None = None


def task(cfg: DictConfig) -> Any:
    """What Hydra calls for each job: trains it, or shows it where it is finished already."""
    from src import single

    global refusal
    config = HydraConfig.get()
    own: Any = OmegaConf.to_container(HydraConfig.instance().cfg, enum_to_str=True)
    try:
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
        record = single.run(
            plain, list(config.overrides.task), own["hydra"], quiet=config.mode == RunMode.MULTIRUN
        )
    except (InputError, OmegaConfBaseException) as error:
        refusal = error  # raised through Hydra it would come with a second line
        return None
    fail(record["state"] != "finished" and config.mode == RunMode.RUN)
    return record


task.is_dropout_sweeps_task = True  # type: ignore[attr-defined]


def fail(failed: bool) -> None:
    """Sets exit code 1 for a process in which some run failed or diverged."""
    global exit_code
    exit_code = max(exit_code, int(failed))


def main() -> None:
    """Runs Hydra; turns every foreseeable error into one line and an exit code."""
    wants_trace = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # without this Hydra prints errors in its own way and exits with 1; with it they come here as they are
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        _check_flags(sys.argv)
        _name_sweep(sys.argv)
        sweep_files.register(REPOSITORY / "sweeps", sys.argv[1:])
        _choose_sweeper(sys.argv)
        hydra.main(version_base="1.3", config_path=str(REPOSITORY / "conf"), config_name="config")(task)()
        if refusal is not None:
            raise refusal
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if wants_trace or not _is_input(error):
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    finally:
        if not wants_trace:
            del os.environ["HYDRA_FULL_ERROR"]
    sys.exit(exit_code)


def _is_input(error: Exception) -> bool:
    """Whether the command line or a config file is to blame: our checks say so, or Hydra's own code raised it."""
    if isinstance(error, InputError | HydraException | OmegaConfBaseException):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, ValueError) and Path(hydra.__file__).parent in Path(frames[-1].filename).parents


def _check_flags(argv: list[str]) -> None:
    """Refuses unknown flags in one line, and lets `-m` stand anywhere: Hydra wants it in front."""
    flags = [argument for argument in argv[1:] if argument in ("-m", "--multirun")]
    argv[1:] = flags[:1] + [argument for argument in argv[1:] if argument not in flags]
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise InputError(f"{message}; `python -m src.train --help` lists what there is")

    parser.error = refuse  # type: ignore[method-assign]
    parser.parse_args(argv[1:])


def _name_sweep(argv: list[str]) -> None:
    """Adds the sweep folder's name, which depends on the overrides as typed, to the command line."""
    overrides = [argument for argument in argv[1:] if "=" in argument and not argument.startswith("-")]
    named = [override for override in overrides if key_of(override) == "sweep"]
    choices = ",".join(override.partition("=")[2] for override in named)
    if "," in choices:
        right = "name one sweep at a time; Hydra would silently drop the parameters of both files"
        raise ConfigError("sweep", choices, right)
    is_sweep = named or {"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(argv)
    if not is_sweep or any(key_of(override) == "hydra.sweep.dir" for override in overrides):
        return
    argv.append(f'hydra.sweep.dir="${{output}}/sweeps/{sweep_name(overrides)}"')


def _choose_sweeper(argv: list[str]) -> None:
    """Lets a named sweep's own `override /hydra/sweeper` count: Hydra lets that of conf/config.yaml win over it."""
    names = [argument.partition("=")[2] for argument in argv[1:] if key_of(argument) == "sweep"]
    path = REPOSITORY / "sweeps" / f"{names[-1] if names else ''}.yaml"
    if not path.is_file() or any(key_of(argument) == "hydra/sweeper" for argument in argv[1:]):
        return
    own: Any = OmegaConf.to_container(OmegaConf.load(path))
    chosen = [entry.get(OWN) for entry in own.get("defaults", []) if isinstance(entry, dict)]
    argv += [f"hydra/sweeper={name}" for name in chosen if name]


def one_line(error: BaseException) -> str:
    """An error in one line that names the key, the value and what would be right."""
    if isinstance(error, InputError):
        return str(error)
    message, cause = (
        re.sub(r"\s*(full_key|object_type|reference_type)[:=].*", "", str(e or ""))
        for e in (error, error.__cause__)
    )
    if found := re.search(
        r"Could not find '([\w/]+)/([^']*)'\s+Available options in '[\w/]+':\s*(.*?)\n(?:Config|$)",
        message,
        re.S,
    ):
        group, name, choices = found.groups()
        return f"{group}={name}: there is no such choice; choose one of {', '.join(choices.split())}"
    if found := re.search(r"Could not override '([^']+)'", message):
        given = _given(found[1])
        known = f" ({' '.join(cause.split())})" if cause and "not in struct" not in cause else ""
        return f"{given}: there is no such key{known}; `python -m src.train --help` lists the keys"
    if found := re.search(r"Error merging override (.+)", message):
        return f"{found[1]}: {cause}"
    if found := re.search(
        r"Ambiguous value for argument '([^']+)'|Sweep parameters '(.+)' requires", message
    ):
        return f"{found[1] or found[2]}: a single run takes one value; add -m to sweep over several"
    if "Config group override must be a string" in message:
        no_name = re.compile(r"[=,]\s*(null|true|false|[-+.\d][-+.\w]*)\s*(,|$)", re.I)
        given = next((a for a in sys.argv[1:] if _is_group(key_of(a)) and no_name.search(a)), message)
        return f"{given}: must be the name of a choice; `python -m src.train --help` lists them"
    if found := re.search(r"(\S+) appears more than once in the final defaults list", message):
        return (
            f"{_given(found[1])}: {found[1]} has a choice already; change it by {found[1]}=NAME, without a +"
        )
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{_given(error.full_key)}: {message}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read; write KEY=VALUE, and quote a value with special characters"
    return " ".join(f"{message} {cause if cause not in message else ''}".split())


def _given(key: str) -> str:
    """The argument that sets `key`, as typed; the key itself if there is none."""
    return next((argument for argument in sys.argv[1:] if key_of(argument) == key), key)


def _is_group(key: str) -> bool:
    return key == "sweep" or key.startswith("hydra/") or (REPOSITORY / "conf" / key).is_dir()


if __name__ == "__main__":
    # as `src.train`, not `__main__`, the task can be pickled by name for other processes
    from src import train

    train.main()
