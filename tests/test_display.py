"""What is shown of a sweep while it goes on."""

from __future__ import annotations

import io
import statistics
import sys
from pathlib import Path

import pytest
from configs import make_job
from hypothesis import given
from hypothesis import strategies as st

from src.errors import terminal
from src.runs.job import Job, Record
from src.sweeping.display import Display, show_table, summary


def job(arm: int, seed: int) -> Job:
    return make_job(seed, [f"arm={arm}", f"seed={seed}"], seed=seed)


def record(of: Job, accuracy: float) -> Record:
    final = {"test_acc": accuracy, "val_acc": None}
    return {"id": of.id, "state": "finished", "final": final, "seconds": 1.0}


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1)), min_size=1, max_size=30))
def test_the_best_arm_is_the_one_of_the_best_mean_at_every_moment(ends: list[tuple[int, float]]) -> None:
    display = Display(["arm", "seed"])
    scores: dict[str, list[float]] = {}
    for seed, (arm, accuracy) in enumerate(ends):
        run = job(arm, seed)
        display.advance(run, record(run, accuracy))
        scores.setdefault(f"arm={arm}", []).append(accuracy)
        shown, _, name = display._best().removeprefix("best so far ").partition("%  ")
        best = max(map(statistics.fmean, scores.values()))
        # arms that are as good but for rounding may take each other's place
        assert statistics.fmean(scores[name]) == pytest.approx(best, abs=1e-12)
        assert float(shown) == pytest.approx(100 * best, abs=0.0051)


def test_a_line_names_what_changes_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    told = [
        "tags=[pilot]",
        "+note='a note'",
        "output=elsewhere",
        "device=cpu",
        "logger=mlflow",
        "data.root=x",
    ]
    run = make_job(0, ["noise=gaussian", *told, "seed=0", "data=digits"])
    display = Display(["noise", "seed"])
    display.add([run])
    display.advance(run, record(run, 0.5))
    summary([(run, {**record(run, 0.5), "state": "failed", "error": "none"})], ["noise"], Path("s"))
    out = capsys.readouterr().out
    assert "finished  noise=gaussian seed=0 data=digits  test acc 0.5000" in out
    assert f"failed: {run.id} noise=gaussian seed=0 data=digits: none" in out


def test_showing_the_best_arm_looks_at_few_arms_at_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a sweep of as many arms as runs, looking through all of them at each run would take the square."""
    looked = []
    mean = Display._mean
    monkeypatch.setattr(Display, "_mean", lambda self, arm: looked.append(arm) or mean(self, arm))
    jobs = [job(seed, seed) for seed in range(500)]
    display = Display(["arm", "seed"])
    display.add(jobs)
    for number, run in enumerate(jobs):
        display.advance(run, record(run, number * 7919 % 500 / 500))
    assert len(looked) <= 4 * len(jobs)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("cell", ["0.85 ± 0.01", "−2.50 to −1.00", "größe … X²"])
def test_a_table_is_as_wide_as_it_looks(encoding: str, cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    with terminal.tolerant():
        show_table(("arm", "n"), [("dropout", cell), ("none", "1")], 2, "arms")
    lines = written.getvalue().decode(encoding).splitlines()
    assert len(lines) == 6 and len({len(line) for line in lines}) == 1, lines
    assert cell.encode(encoding, "spelled").decode(encoding) in lines[3]
