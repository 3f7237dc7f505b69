"""What sweeps of any size cost: the arithmetic, the command at a tiny size, and the page that shows both."""

from __future__ import annotations

import csv
import json
import re
import shlex
import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import forks
import pytest
from configs import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks import commands, floor, options, scale, throughput

PAGE = REPOSITORY / "sweeps" / "SCALE.md"
SMALL = scale.Measured(
    runs=100,
    planning=1.0,
    wall=5.0,
    training=1.0,
    writing=0.03,
    memory=300_000_000,
    entries=905,
    size=700_000,
    allocated=3_300_000,
    again=3.0,
    again_memory=300_000_000,
    collecting=2.0,
    collecting_memory=200_000_000,
    report=9.0,
    report_memory=400_000_000,
)
LARGE = replace(
    SMALL,
    runs=1100,
    planning=2.0,
    wall=18.0,
    training=4.0,
    writing=0.23,
    entries=9905,
    memory=304_000_000,
    again=2.0,
)


def cells(table: str, begins: str) -> list[str]:
    (row,) = [row for row in table.splitlines() if row.startswith(f"| {begins}")]
    return [cell.strip() for cell in row.strip("|").split("|")]


@given(
    st.floats(-1e6, 1e6),
    st.floats(-1e3, 1e3),
    st.lists(st.integers(1, 10**7), min_size=3, max_size=3, unique=True),
)
def test_a_straight_line_is_found_again(fixed: float, slope: float, runs: list[int]) -> None:
    first, second, other = runs
    line = scale.through((first, fixed + slope * first), (second, fixed + slope * second))
    assert line.at(first) == pytest.approx(fixed + slope * first, rel=1e-6, abs=1e-3)
    if abs(first - second) > max(runs) / 100:  # farther out, rounding would be drawn out with the line
        assert line.at(other) == pytest.approx(fixed + slope * other, rel=1e-6, abs=1e-3)


UNITS = {"ms": 1e-3, "s": 1, "min": 60, "h": 3600, "days": 86_400}
BYTES = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


@given(st.floats(1e-3, 1e10))
def test_what_is_shown_of_a_duration_or_a_volume_is_its_value(value: float) -> None:
    for shown, units in ((scale.duration(value), UNITS), (scale.volume(value), BYTES)):
        digits, unit = shown.split()
        # of volumes below a byte nothing is asked
        assert float(digits.replace(",", "")) * units[unit] == pytest.approx(value, rel=6e-3)
    assert scale.duration(-value) == f"-{scale.duration(value)}"


def test_costs_at_each_size_are_those_of_the_line() -> None:
    table = scale.reckoned_table(SMALL, LARGE, run_epoch=0.36, flops=floor.epoch_flops())
    # 9 entries a run and 5 of the sweep
    assert cells(table, "files and folders")[1:] == ["5 + 9 × runs", "9,005", "900,005", "90,000,005"]
    # from 4 to 14 s in 1000 runs: 10 ms a run, and 3 s
    assert cells(table, "command beside")[1:] == ["3 s + 10 ms × runs", "13 s", "16.7 min", "27.8 h"]
    assert cells(table, "writing `runs.csv`")[1:] == ["10 ms + 0.2 ms × runs", "210 ms", "20 s", "33.3 min"]
    # 4 kB a run over 299.6 MB
    assert cells(table, "memory of the main")[2:] == ["304 MB", "700 MB", "40.3 GB"]
    # 3.6 s a run
    assert cells(table, "training on")[2:] == ["60 min", "4.17 days", "417 days"]
    # 21 ms a pack
    assert cells(table, "Dask over loky")[2:] == ["21 s", "35 min", "2.43 days"]
    # less time for more runs can only be scatter
    assert cells(table, "the same command")[2:] == ["unknown"] * 3
    assert len({row.count("|") for row in table.splitlines()}) == 1


def test_the_lower_bound_of_gpu_hours_is_the_products_at_the_cards_peak() -> None:
    table = scale.reckoned_table(SMALL, LARGE, run_epoch=0.36, flops=floor.epoch_flops())
    (hours,) = (cell for cell in cells(table, "GPU hours")[4:])
    seconds = 10_000_000 * scale.EPOCHS * floor.epoch_flops() / scale.CARD_FLOPS
    assert hours == f"{seconds / 3600:.3g} h"
    assert scale.gpu_hours(1_000, 10, 0.36) == pytest.approx(1)


def test_measurements_are_shown_as_they_came() -> None:
    table = scale.measured_table(SMALL, LARGE)
    assert cells(table, "files and folders")[1:] == ["905", "9,905", "9"]
    assert cells(table, "planning")[1:] == ["1 s", "2 s", "1 ms"]
    assert {name for name, *_ in scale.COSTS} <= {*asdict(SMALL), "overhead"}


def test_the_page_has_the_rows_of_the_command() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for table in (
        scale.measured_table(SMALL, LARGE),
        scale.reckoned_table(SMALL, LARGE, run_epoch=0.36, flops=floor.epoch_flops()),
    ):
        rows = [row.split("|")[1].strip() for row in table.splitlines()]
        (shown,) = re.findall(rf"^\| {rows[0]} .*\n(?:\|.*\n)*", page, flags=re.M)
        firsts = [row.split("|")[1].strip() for row in shown.splitlines()]
        # the second row is a rule as long as the widest cell
        assert firsts[2:] == rows[2:]


def test_files_and_folders_are_counted_with_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "a" / ".b").mkdir(parents=True)
    (tmp_path / "a" / ".b" / "file").write_bytes(b"x" * 5000)
    (tmp_path / "empty").touch()
    entries, size, allocated = scale.contents(tmp_path)
    assert (entries, size) == (4, 5000)
    assert allocated % 512 == 0
    blocks = sum(path.stat().st_blocks for path in tmp_path.rglob("*"))
    assert allocated == 512 * blocks


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scale", "--runs", "30"], "multiple of 20"),
        (["--scale", "--run-epoch", "0"], "above 0"),
        (["--scale", "--all"], "leave out --all"),
    ],
)
def test_wrong_options_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        options.parse_arguments("", arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_the_number_of_runs_follows_from_what_is_measured() -> None:
    assert options.parse_arguments("", ["--scale"]).runs == 10_000
    assert options.parse_arguments("", ["--overhead"]).runs == 300


class Here:
    """In the place of `arms.Worker`: this process."""

    def __init__(self, threads: int | None, pinned: bool) -> None:
        assert not pinned

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    def close(self) -> None:
        pass


@pytest.mark.slow
def test_the_command_prints_both_tables(
    hydra_restore_singletons: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(throughput, "Worker", Here)
    monkeypatch.setattr(commands, "subprocess", forks.SUBPROCESS)
    assert throughput.main(["--scale", "--runs", "20", "--run-epoch", "0.36"]) == 0
    out = capsys.readouterr().out
    # of a run: its folder, .hydra, six files, its lock; of a sweep: four folders and three files
    measured, arithmetic = out.split("Arithmetic")
    assert cells(measured, "files and folders")[1:] == ["25", "187", "9"]
    assert cells(arithmetic, "training on")[2:] == ["60 min", "4.17 days", "417 days"]
    for name, what, _ in scale.COSTS:
        assert f"| {what} " in measured
        assert (f"| {what} " in arithmetic) == (name not in scale.NO_LINE)


@pytest.mark.slow
def test_the_pages_parts_work_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    (commands,) = (
        block for block in re.findall(r"^```sh\n(.*?)^```", page, flags=re.M | re.S) if "parts/" in block
    )
    (snippet,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S)
    fewer = {"seed=range(0,50000)": "seed=range(0,3)", "seed=range(50000,100000)": "seed=range(3,6)"}
    tiny = ["data=digits", "model.hidden1=8", "model.hidden2=8", "device=cpu"]
    for line in commands.splitlines():
        _, *arguments = shlex.split(line, comments=True)
        assert len(fewer.keys() & set(arguments)) == 1
        flag, *rest = (fewer.get(argument, argument) for argument in arguments)
        assert flag == "-m"
        done = forks.python(*rest, *tiny, cwd=tmp_path, PYTHONPATH=str(REPOSITORY))
        assert done.returncode == 0, done.stdout + done.stderr

    accuracies: dict[float, dict[int, float]] = {0.2: {}, 0.5: {}}
    for path in tmp_path.glob("parts/*/runs/*/metrics.csv"):
        config = json.loads((path.parent / "run.json").read_text())["config"]
        with path.open(newline="") as file:
            *_, last = csv.DictReader(file)
        assert last["epoch"] == "10"
        accuracies[config["dropout1"]][config["seed"]] = float(last["test_acc"])
        # so that ten epochs take no more of the disk than the one that is measured
        assert path.stat().st_size <= 4096
    low, high = accuracies[0.2], accuracies[0.5]
    assert set(low) == set(high) == set(range(6))

    # here, as a process of its own would take seconds to import what this one has
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, str(PAGE), "exec"), {})
    said = capsys.readouterr().out
    match = re.match(
        r"Summary\(mean=(.+?), sd=(.+?), n=(\d+), .*\) Paired\(n=(\d+), difference=(.+?), .*superiority=(.+?),",
        said,
    )
    assert match, said
    differences = [low[seed] - high[seed] for seed in range(6)]
    superiority = sum((d > 0) + (d == 0) / 2 for d in differences) / 6
    expected = [
        statistics.mean(low.values()),
        statistics.stdev(low.values()),
        6,
        6,
        statistics.mean(differences),
        superiority,
    ]
    assert [float(number) for number in match.groups()] == pytest.approx(expected, abs=1e-9)
