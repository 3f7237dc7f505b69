"""What each engine's tests do: sweeps as a user has them, beside the same sweep on loky."""

from __future__ import annotations

import csv
import itertools
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from test_sweep import PATIENCE, SMALL, everything, results, start, sweep, table, wait_for

from src.engines.queue import GPU_MEMORY_PER_RUN

SWEPT = ["dropout1=0.2,0.5", "seed=range(4)"]
LONG = ["dropout1=0.2,0.5", "seed=range(3)", "epochs=60"]
DEADLY = ["noise=deadly", "dropout1=0.2,0.3,0.5", "seed=range(2)"]
LOOKS = [
    *("dropout1=0.2,0.5", "epochs=60", "hydra.sweeper.primary.reference=0"),
    # so little may be wrong that two to four seeds decide nothing
    *("hydra.sweeper.until.looks=[2,3,4]", "hydra.sweeper.until.alpha=1e-6"),
]
SEARCH = [
    *("hydra/sweeper=optuna", "data.validation=200", "dropout1=interval(0,0.8)", "seed=range(3)"),
    *("hydra.sweeper.n_trials=4", "hydra.sweeper.batch_size=2"),
]
OWN = ["data=spots", "data.root=spots", "dropout1=0.2,0.5"]
ABOUT_THE_LAUNCHER = {"hydra.yaml", "multirun.yaml"}


def on_loky(root: Path, name: str, *arguments: str, code: int = 0) -> Path:
    """The folder of this sweep on loky; it is run the first time it is asked for."""
    output = root / f"loky-{name}"
    if not output.exists():
        sweep(root, *arguments, f"output={output.name}", code=code)
    return output


def assert_same_files(output: Path, expected: Path) -> None:
    assert results(output) == results(expected)
    files, expected_files = everything(output), everything(expected)
    assert files.keys() == expected_files.keys()
    differing = {Path(name).name for name in files if files[name] != expected_files[name]}
    assert differing <= ABOUT_THE_LAUNCHER
    for run in output.glob("runs/*"):
        assert f"output_dir: {run}\n" in (run / ".hydra" / "hydra.yaml").read_text()


def same_files(root: Path, name: str, *how: str) -> None:
    """A sweep on an engine ends in the same files as on loky."""
    sweep(root, *SWEPT, f"output={name}", *how)
    assert_same_files(root / name, on_loky(root, "swept", *SWEPT))


def survives(root: Path, name: str, kill: Callable[[], None], *how: str, written: bool) -> None:
    """A sweep of two packs of three runs, in which `kill` is called once both have a run that has ended.

    Args:
        written: whether workers write into `output`. Then what has ended is not trained again, though its pack had
            not; else all of the pack that died is.
    """
    output = root / name
    (root / "trained.jsonl").unlink(missing_ok=True)
    process = start(root, "-m", *SMALL, *LONG, f"output={name}", *how, "hydra.launcher.pack_size=3")

    def ended() -> dict[str, float]:
        return {line["runs"][0]: line["rate"] for line in trained(root) if line["what"] == "ended"}

    wait_for(lambda: len(set(ended().values())) == 2 or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    before = ended()
    files = done(output)
    kill()
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    assert min(Counter(before.values()).values()) < 3, "a pack was in its midst"
    assert len(files) >= len(before) if written else not files
    times = begun(root)
    assert len(times) == 6 and max(times.values()) <= 2
    rates = {line["runs"][0]: line["rate"] for line in trained(root)}
    twice = [run for run, count in times.items() if count == 2]
    assert len({rates[run] for run in twice}) <= 1, "no run of the other pack is trained again"
    if written:
        assert not set(twice) & set(before)
    assert files.items() <= done(output).items(), "no finished run is trained again"
    assert_same_files(output, on_loky(root, "long", *LONG))


def deadly(root: Path, name: str, *how: str) -> None:
    """Runs that kill their worker are failed, and no other."""
    sweep(root, *DEADLY, f"output={name}", *how, code=1)
    states = {(row["dropout1"], row["state"]) for row in table(root / name)}
    assert states == {("0.2", "finished"), ("0.3", "failed"), ("0.5", "finished")}
    errors = {json.loads(path.read_text())["error"] for path in (root / name).glob("runs/*/run.json")}
    assert len(errors) >= 2 and all(error is None or "died 2 times" in error for error in errors)
    expected = results(on_loky(root, "deadly", *DEADLY, code=1))
    assert {run: rows for run, rows in results(root / name).items() if len(rows) == 3} == expected


def interrupted(root: Path, name: str, training: Callable[[], list[psutil.Process]], *how: str) -> None:
    """After Ctrl-C nothing trains on the engine; `training` finds the processes that do."""
    process = start(root, "-m", *SMALL, "seed=range(8)", "epochs=20000", f"output={name}", *how)
    wait_for(lambda: len(training()) >= 2 or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "0 of 8 runs are done" in err and "Traceback" not in err
    wait_for(lambda: not training())


def on_cards(root: Path, name: str, *how: str, cards: dict[int, int], most: int, count: int = 20) -> None:
    """Packs on cards are of the size that the card they train on holds, and one pack trains on it at a time.

    Args:
        cards: by the runs that a card holds how many there are of it.
        most: runs in the largest pack that is to be seen.
    """
    (root / "trained.jsonl").unlink(missing_ok=True)
    # long enough for a card whose node is slow to start
    sweep(root, f"seed=range({count})", "epochs=40", "device=cuda", f"output={name}", *how)
    assert [row["state"] for row in table(root / name)] == ["finished"] * count
    lines = trained(root)
    assert list(begun(root).values()) == [1] * count
    assert max(len(line["runs"]) for line in lines) == most
    for held, number in cards.items():
        of_card = [line for line in lines if line["card"] == memory(held)]
        assert of_card and all(len(line["runs"]) <= held for line in of_card)
        at_once = itertools.accumulate(1 if line["what"] == "begun" else -1 for line in of_card)
        assert max(at_once) <= number


def survives_on_cards(root: Path, name: str, kill: Callable[[], None], *how: str) -> None:
    """Twelve runs in two packs, each of two stacks, on two cards; a card's node is killed in the midst of its pack.

    No other runs begin twice than those of the stack that it was at.
    """
    output = root / name
    (root / "trained.jsonl").unlink(missing_ok=True)
    sought = ["seed=range(12)", "epochs=200", "device=cuda", f"output={name}"]
    process = start(root, "-m", *SMALL, *sought, "hydra.launcher.pack_size=6", *how)

    def both_are_at_it() -> bool:
        what = [line["what"] for line in trained(root)]
        return len(done(output)) >= 3 and what.count("begun") - what.count("ended") == 2

    wait_for(lambda: both_are_at_it() or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    before = done(output)
    kill()
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    assert before.items() <= done(output).items()
    assert [row["state"] for row in table(output)] == ["finished"] * 12
    times = begun(root)
    assert {times[path.parent.name] for path in before} == {1}
    assert Counter(times.values()) == {1: 9, 2: 3}


def memory(runs: int) -> str:
    """What `CARD` says of a card that holds so many runs."""
    return str(runs * GPU_MEMORY_PER_RUN)


def trained(root: Path) -> list[dict[str, Any]]:
    """What trained in this workshop, in the order in which it began and ended."""
    log = root / "trained.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return sorted(lines, key=lambda line: line["at"])


def begun(root: Path) -> Counter[str]:
    """By its ID how often a run was begun."""
    return Counter(run for line in trained(root) if line["what"] == "begun" for run in line["runs"])


def killed_and_started_again(
    root: Path, name: str, training: Callable[[], list[psutil.Process]] | None, *how: str
) -> None:
    """The main process is killed: nothing trains on, and the same command trains what is missing.

    Without `training` what is under way may go on.
    """
    output = root / name
    process = start(root, "-m", *SMALL, *LONG, f"output={name}", *how)
    wait_for(lambda: len(done(output)) >= 1 or process.poll() is not None)
    process.kill()
    process.communicate()
    if training:
        wait_for(lambda: not training())
    before = done(output)
    assert 0 < len(before) < 6
    sweep(root, *LONG, f"output={name}", *how)
    assert before.items() <= done(output).items()
    assert_same_files(output, on_loky(root, "long", *LONG))


def looks_go_on(
    root: Path, name: str, training: Callable[[], list[psutil.Process]] | None, *how: str
) -> None:
    """A sweep that looks, in packs, is killed after its first look: the same command ends in the same looks.

    Without `training` what is under way may go on.
    """
    output = root / name
    process = start(root, "-m", *SMALL, *LOOKS, f"output={name}", *how, "hydra.launcher.pack_size=2")
    wait_for(lambda: bool(looks(output)) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()
    assert [row["look"] for row in looks(output)] == ["1"]
    if training:
        wait_for(lambda: not training())
    before = done(output)
    assert 4 <= len(before) < 8
    sweep(root, *LOOKS, f"output={name}", *how)
    assert before.items() <= done(output).items()
    assert [row["seeds"] for row in looks(output)] == ["2", "3", "4"]
    assert_same_files(output, on_loky(root, "looks", *LOOKS))


def looks(output: Path) -> list[dict[str, str]]:
    return [
        row for path in output.glob("sweeps/*/looks.csv") for row in csv.DictReader(path.open(newline=""))
    ]


def searched(root: Path, name: str, *how: str) -> None:
    """A search of two batches, three seeds a trial, asks for the same trials as on loky."""
    sweep(root, *SEARCH, f"output={name}", *how)
    rows, expected = (
        [{**row, "seconds": ""} for row in table(output)]
        for output in (root / name, on_loky(root, "search", *SEARCH))
    )
    assert rows == expected
    assert [(row["trial"], row["seed"]) for row in rows] == [
        (str(trial), str(seed)) for trial in range(1, 5) for seed in range(3)
    ]


def own_data(root: Path, name: str, *how: str) -> None:
    """A user's data set in a folder that is named from the repository's root is found from elsewhere."""
    sweep(root, *OWN, f"output={name}", *how)
    assert {row["state"] for row in table(root / name)} == {"finished"}
    assert_same_files(root / name, on_loky(root, "own", *OWN))


def done(output: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in output.glob("runs/*/run.json")}


def refused(root: Path, said: str, *how: str, code: int = 2) -> None:
    """One line, the exit code, nothing written."""
    out = sweep(root, *SWEPT, "output=refused", *how, code=code)
    (line,) = [line for line in out.splitlines() if line.startswith("error: ")]
    assert said in line, line
    assert not list((root / "refused").glob("runs/*"))
