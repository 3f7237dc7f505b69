"""`sweeps/`: a file there that cannot be read concerns only who asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from src import sweep_files, train
from src.checks import ConfigError

GOOD = "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      seed: range(2)\n"

BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "an editor's lock": (lambda path: path.symlink_to("u@h.1:2"), "it is no file"),
    "a loop of links": (lambda path: path.symlink_to(path.name), "it is no file"),
    "a folder": (lambda path: path.mkdir(), "it is no file"),
    "a pipe": (os.mkfifo, "it is no file"),
    "half-written": (
        lambda path: path.write_text(GOOD[: GOOD.index(" range")] + " [1, 2"),
        "line 5, column ",
    ),
    "a tab": (lambda path: path.write_text("hydra:\n\tmode: MULTIRUN\n"), "line 2, column 1: "),
    "a key twice": (lambda path: path.write_text("hydra: 1\nhydra: 2\n"), "duplicate key hydra"),
    "not UTF-8": (lambda path: path.write_bytes(b"hydra: \xff\xfe\n"), "'utf-8' codec can't decode"),
    "a zero byte": (lambda path: path.write_bytes(b"hydra: \x00\n"), "unacceptable character"),
    "empty": (lambda path: path.touch(), "it must hold keys and values"),
    "a list": (lambda path: path.write_text("- dropout1=0.2\n"), "it must hold keys and values"),
    "a word": (lambda path: path.write_text("hydra"), "it must hold keys and values, and below `hydra`"),
    "a first line": (
        lambda path: path.write_text("hydra:\n"),
        "it must hold keys and values, and below `hydra`",
    ),
    "an interpolation cut off": (lambda path: path.write_text("output: ${seed\n"), "${seed"),
}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConfigStore]:
    """Hydra's store, as it was before."""
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", {})
    return store


def names(store: ConfigStore) -> list[str]:
    return sorted(name.removesuffix(".yaml") for name in store.repo.get("sweep", {}))


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("name", ["mine", ".#mine"])
def test_others_do_not_notice(case: str, name: str, tmp_path: Path, store: ConfigStore) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    make, _ = BROKEN[case]
    make(tmp_path / f"{name}.yaml")
    for arguments in ([], ["seed=1"], ["-m", "sweep=good", "epochs=1"], ["sweep="], ["--help"]):
        sweep_files.register(tmp_path, arguments)
        assert names(store) == ["good"]


@pytest.mark.parametrize("case", BROKEN)
def test_who_asks_for_it_is_told_in_one_line(case: str, tmp_path: Path, store: ConfigStore) -> None:
    make, reason = BROKEN[case]
    make(tmp_path / "mine.yaml")
    with pytest.raises(ConfigError) as error:
        sweep_files.register(tmp_path, ["-m", "sweep=mine", "seed=0,1"])
    text = str(error.value)
    assert text.startswith(f"sweep=mine: {tmp_path.name}/mine.yaml cannot be read: ")
    assert reason in text and "\n" not in text


def test_a_good_file_is_a_choice(tmp_path: Path, store: ConfigStore) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    sweep_files.register(tmp_path, ["sweep=good"])
    node = store.repo["sweep"]["good.yaml"]
    assert node.node.hydra.sweeper.params.seed == "range(2)"
    assert node.package == "_global_"


def test_a_file_that_vanishes_while_it_is_read(
    tmp_path: Path, store: ConfigStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor that saves by renaming."""
    (tmp_path / "mine.yaml").write_text(GOOD)
    monkeypatch.setattr(Path, "is_file", lambda path: bool(path.unlink(missing_ok=True)) or True)
    sweep_files.register(tmp_path, [])
    assert names(store) == []


@pytest.mark.parametrize("case", ["half-written", "an editor's lock"])
def test_the_command_ends_with_2(
    case: str,
    tmp_path: Path,
    store: ConfigStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sweeps = tmp_path / "sweeps"
    sweeps.mkdir()
    BROKEN[case][0](sweeps / "mine.yaml")
    monkeypatch.setattr(train, "REPOSITORY", tmp_path)
    monkeypatch.setattr("sys.argv", ["train", "sweep=mine"])
    with pytest.raises(SystemExit) as ended:
        train.main()
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.err.startswith("error: sweep=mine: sweeps/mine.yaml cannot be read: ")
    assert said.err.count("\n") == 1
