"""The committed tables give the numbers that pandas and scipy gave on the day they were committed: counts, means,
SDs, paired differences, raw p."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from configs import REPOSITORY

from analysis import exercises, measures, tables
from analysis.contrasts import Result, by_seed, rows_of, with_gaps
from analysis.tables import Table
from src.stats import paired_p_value, summarise

RESULTS = REPOSITORY / "analysis" / "results"
GOLDEN: Any = json.loads((Path(__file__).parent / "golden.json").read_text())
CLOSE = {"rel": 1e-12, "abs": 1e-12}


@pytest.fixture(scope="module")
def kept() -> dict[str, Table]:
    return {
        sweep: tables.load(RESULTS, sweep)
        for name in exercises.names()
        for sweep in exercises.sweeps_of(exercises.load(name))
        if (RESULTS / f"{sweep}.json").exists()  # one that is declared and not yet trained has none
    }


def test_every_arm_has_its_count_mean_and_sd(kept: dict[str, Table]) -> None:
    columns = {**measures.METRICS, "gap": measures.GAP, "quiet_gap": measures.QUIET_GAP}
    final = {sweep: with_gaps(table.final) for sweep, table in kept.items()}
    assert len(GOLDEN["arms"]) > 800
    for sweep, *arm, column, n, mean, sd in GOLDEN["arms"]:
        keys = zip(kept[sweep].keys, arm, strict=True)
        rows = rows_of(final[sweep], dict(keys))
        found = summarise(list(by_seed(rows, columns[column]).values()))
        assert (found.n, found.mean, found.sd) == (
            n,
            pytest.approx(mean, **CLOSE),
            pytest.approx(sd, **CLOSE),
        )


def keyed(name: str, result: Result) -> tuple[str, ...]:
    """As the guard names it: the tenths refused stand in its setting, and not in the measure's column."""
    contrast, column = result.contrast, result.measure.column
    setting = contrast.setting
    if column.startswith("kept"):
        setting, column = (*setting[:-1], column.removeprefix("kept")), "kept"
    return name, ", ".join(setting), column, contrast.a, contrast.b


def test_every_paired_difference_has_its_raw_p(kept: dict[str, Table]) -> None:
    found: dict[tuple[str, ...], Result] = {}
    for name in exercises.names():
        facts = exercises.load(name).analyse(kept)
        results = [*facts.described, *getattr(facts, "pairs", ()), *getattr(facts, "before", ())]
        found |= {keyed(name, result): result for result in [*results, *getattr(facts, "refused", ())]}
        if facts.first.contrast.look is None:  # of several looks p goes with the repeated interval
            assert facts.first.paired.p == paired_p_value(facts.first.differences)
    assert len(GOLDEN["pairs"]) > 200
    for name, setting, column, a, b, n, difference, p in GOLDEN["pairs"]:
        result = found[name, setting, column, a, b]
        wanted = pytest.approx(difference, **CLOSE), pytest.approx(p, **CLOSE)
        assert (result.paired.n, result.paired.difference, result.paired.p) == (n, *wanted)
