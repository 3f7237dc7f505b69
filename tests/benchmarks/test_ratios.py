"""What a race at equal time reads is what the measurement writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from configs import documented

from analysis import equal_time, noises, winners
from src import components
from tests.benchmarks import arms, options, throughput


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was timed, by noise; an epoch with three noises takes one, two and three seconds."""
    seen: dict[str, Any] = {}

    def ours(epochs: int, runs: int, overrides: Sequence[str], evaluated: int | None) -> float:
        values = dict(override.split("=") for override in overrides)
        seen[values["noise"]] = {**values, "evaluated": evaluated}
        return {"none": 1.0, "dropout": 2.0, "tangent": 3.0}.get(values["noise"], 4.0)

    @contextmanager
    def here(*threads: int) -> Iterator[list[Any]]:
        yield [SimpleNamespace(do=lambda function, *of: function(*of))]

    monkeypatch.setattr(arms, "ours", ours)
    processor = {"maker": "AuthenticAMD, or so", "vectors": "AVX2"}
    monkeypatch.setattr(arms, "kernels", lambda: ([], "torch", processor))
    monkeypatch.setattr(throughput, "workers", here)
    return seen


def test_the_ratios_are_those_of_the_race_as_it_trains(tmp_path: Path, measured: dict[str, Any]) -> None:
    lines = throughput.noises(1, 1, tmp_path / equal_time.RATIOS, ("dropout", "tangent"))
    assert equal_time.read_ratios(tmp_path / equal_time.RATIOS) == {"none": 1, "dropout": 2, "tangent": 3}
    machine = f"AuthenticAMD, or so AVX2, {datetime.now(UTC).date()}"
    assert equal_time.timed_on(tmp_path / equal_time.RATIOS) == {machine: ["none", "dropout", "tangent"]}
    assert [line.name for line in lines] == [
        "noise=none",
        "noise=dropout over none",
        "noise=tangent over none",
    ]
    regime = {"data.train": "5000", "batch_size": "64", "optimizer.momentum": "0.9", "evaluated": 1}
    assert all(regime.items() <= of.items() for of in measured.values())
    best = {winner.noise: winner.setting for winner in winners.winners(winners.table_of(noises.RESULTS))}
    for noise in ("dropout", "tangent"):
        assert {key: float(measured[noise][key]) for key in best[noise]} == best[noise]


def test_a_noise_that_is_measured_alone_joins_the_others(tmp_path: Path, measured: dict[str, Any]) -> None:
    path = tmp_path / equal_time.RATIOS
    path.write_text("noise,ratio\nnone,1.0000\ndropout,1.2603\ntangent,1.3492\n")
    throughput.noises(1, 1, path, ("tangent",))
    assert equal_time.read_ratios(path) == {"none": 1, "dropout": 1.2603, "tangent": 3}
    assert {on: {*of} for on, of in equal_time.timed_on(path).items()} == {
        f"AuthenticAMD, or so AVX2, {datetime.now(UTC).date()}": {"tangent"},
        "": {"none", "dropout"},
    }


def test_every_noise_of_the_race_is_measured_and_without_a_file_every_noise(
    tmp_path: Path, measured: dict[str, Any]
) -> None:
    throughput.noises(1, 1, tmp_path / "ratios.csv")
    assert {*measured} == documented("noise")
    measured.clear()
    throughput.noises(1, 1)
    assert {*measured} == {*components.names("noise")}
    assert measured["tangent"] == {"noise": "tangent", "evaluated": None}


@pytest.mark.parametrize(("option", "value"), [("--to", "x"), ("--only", "tangent")])
def test_a_file_and_a_choice_are_for_noises_alone(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        options.parse_arguments("", [option, value])
    assert f"{option} is an option of --noises" in capsys.readouterr().err


def test_an_unknown_noise_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options.parse_arguments("", ["--noises", "--only", "dropout", "tangents"])
    assert "argument --only: invalid choice: 'tangents'" in capsys.readouterr().err
