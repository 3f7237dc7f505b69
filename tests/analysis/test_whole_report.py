"""The report of the chapter's own exercises, on made-up tables of the small version's shape."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import show
from configs import REPOSITORY
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from tables import made

from analysis import exercises, reproduce, tables
from analysis.report import main
from analysis.tables import Table
from src.errors.messages import key_of
from src.sweeping import planning
from src.sweeping.naming import sweep_name
from src.training.probes import PASSES


def jobs(sweep: str, overrides: Sequence[str], arms: Sequence[str] | None) -> list[dict[str, Any]]:
    """The configs that a sweep's file and the overrides ask for: of each run the keys that they set."""
    sweeper: Any = OmegaConf.to_container(OmegaConf.load(REPOSITORY / "sweeps" / f"{sweep}.yaml"))["hydra"][
        "sweeper"
    ]
    parser = OverridesParser.create()
    params = [f"{key}={value}" for key, value in sweeper["params"].items()]
    given = parser.parse_overrides([*params, *overrides])
    expanded = planning.expand(
        given, [parser.parse_overrides(arm.split()) for arm in arms or sweeper.get("arms", [""])]
    )
    return [
        {key_of(override): OmegaConf.create(f"x: {override.partition('=')[2]}").x for override in job}
        for job in expanded
    ]


def numbers(arm: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
    """Accuracies and losses that hardly differ."""
    rng = np.random.default_rng([seed, epoch])
    acc, loss = 0.8 + rng.normal(0, 0.01), 0.5 + rng.normal(0, 0.01)
    return {"test_acc": acc, "test_loss": loss, "val_acc": 0.8 + seed / 99}


def probe(runs: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {"epoch": 1, "step": step, "layer": layer, "var": 1.0 + step / 99, "unit_var": 0.5, "masked_var": 2.0}
        | {"unit_masked_var": 1.0, "noisy_var": 2.5, "unit_noisy_var": 1.5, "mean_square": 2.0}
        | {"zeros": 0.5, "dead": 0.0}
        for step in (47, 94)
        for layer in (1, 2)
    ]
    return runs.merge(pd.DataFrame(rows), how="cross")


def test_time(runs: pd.DataFrame) -> pd.DataFrame:
    methods = [("weight_scaling", 0), *((name, n) for n in PASSES for name in ("arithmetic", "geometric"))]
    rows = [
        {"method": method, "passes": n, "accuracy": 0.8 + n / 9999, "cross_entropy": 0.5, "ece": 0.03}
        | {"entropy": 0.4, "disagreement": 0.1 if n > 1 else np.nan, "pass_sd": 0.01 if n > 1 else np.nan}
        | {f"error{tenth}": tenth / 50 for tenth in range(1, 11)}
        for method, n in methods
    ]
    return runs.merge(pd.DataFrame(rows), how="cross")


test_time.__test__ = False  # type: ignore[attr-defined]


def small_table(sweep: str, arms: Sequence[str] | None) -> Table:
    """The small version's table of a sweep; `arms` where its file has none."""
    overrides = reproduce.trimming(sweep, True, arms is not None)[1:]
    runs = jobs(sweep, overrides, arms)
    keys = dict.fromkeys(key for run in runs for key in run if key != "seed")
    swept = [key for key in keys if len({run.get(key) for run in runs}) > 1]
    arms_of = [tuple((key, run.get(key)) for key in swept) for run in runs]
    different = [dict(values) for values in dict.fromkeys(arms_of)]
    lengths = {tuple(run.get(key) for key in swept): run["epochs"] for run in runs}
    book = {"dropout1": 0.2, "dropout2": 0.5}
    rates = {rate: runs[0].get(rate, book[rate]) for rate in book}  # a column, swept or not
    table = made(
        sweep_name([f"sweep={sweep}", *overrides]),
        different,
        sorted({run["seed"] for run in runs}),
        lambda arm, *at: {**rates, **numbers(arm, *at)},
        epochs=lambda arm: lengths[tuple(arm.values())],
        overrides=overrides,
    )
    identity = table.epochs[["id", *table.keys, "seed"]].drop_duplicates()
    extras = {}
    if runs[0].get("probe.every"):
        extras["probe"] = probe(identity)
    if runs[0].get("probe.test_time"):
        extras["test_time"] = test_time(identity)
    return Table(**{**vars(table), "extras": extras})


@pytest.mark.slow
def test_every_exercise_is_answered(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tables.save(small_table(exercises.BOOK, None), tmp_path)
    for name in exercises.names():
        exercise = exercises.load(name)
        first, *others = exercise.SWEEPS
        chosen = others[0] if hasattr(exercise, "choose") else None
        made_up = small_table(first, None)
        tables.save(made_up, tmp_path)
        table = tables.load(tmp_path, made_up.name)  # with empty cells where an arm lacks a key
        for second in others:
            arms = exercise.choose(table) if second == chosen else None
            tables.save(small_table(second, arms), tmp_path)
    assert main(["--from", str(tmp_path)]) == 0, capsys.readouterr().err

    text = (tmp_path / "report.md").read_text()
    assert "not run yet" not in text.lower()
    assert "Small version" in text
    page = (tmp_path / "index.html").read_text()
    answers = re.findall(r"^\*\*Answer\.\*\* \S+", text, re.M)
    assert len(answers) == len(exercises.names()) == 7
    assert "Not decided yet" not in text
    for width in (1200, 390):
        shown = show(page, width)
        assert shown.errors == []
        assert [link for link in shown.broken if not (tmp_path / link).exists()] == []
        assert len(shown.images) == len(list((tmp_path / "figures").glob("*.png"))) > 14
        assert all(alt and pixels > 200 for alt, pixels in shown.images)
        assert shown.scroll <= width
