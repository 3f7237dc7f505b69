"""Any column of `metrics.csv` may be what arms are compared by, with the direction that its component declares."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import compare, comparison, measures
from analysis.live import Live
from analysis.runs import InputError
from src.runs import store
from src.stats import BETTER, WORSE


@pytest.fixture
def gated(sweep: Callable[..., Path]) -> Path:
    """Two arms; a noise logs `gate`, which is 1 higher in the second one, and declares that lower is better."""
    folder = sweep({"dropout1": [0.2, 0.5]}, lambda arm: 0.8)
    for path in (folder.parents[1] / "runs").iterdir():
        record = json.loads((path / "run.json").read_text()) | {"metrics": {"gate": "lower"}}
        seed = record["config"]["seed"]
        gate = 3 + (record["config"]["dropout1"] == 0.5) * (1 + 0.02 * seed) + 0.01 * seed
        rows = list(csv.DictReader((path / "metrics.csv").read_text().splitlines()))
        store.write_metrics(path, [row | {"gate": gate} for row in rows])
        record["final"] |= {"gate": gate}
        store.write_record(path, record)
    return folder


def test_a_metric_of_ones_own_is_compared_by_its_direction(
    gated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compared = comparison.compare(gated, "gate")
    measure = compared.measure
    assert (measure.column, measure.label, measure.higher_is_better) == ("gate", "gate", False)
    (result,) = compared.judged
    assert result.paired.difference == pytest.approx(-1.04) and result.contrast.a == "dropout1=0.2"
    assert result.verdict is not None and result.verdict.word == BETTER, "0.2 has the lower one"
    assert compare.main([str(gated), "--metric", "gate"]) == 0
    assert "dropout1=0.2" in capsys.readouterr().out
    text = (gated / "report.md").read_text()
    assert "margin of 0" not in text and "final gate" in text


def test_a_declared_contrast_may_be_of_it(gated: Path) -> None:
    block = "{metric: gate, contrast: [1, 0], margin: 0.5}"
    (gated / "multirun.yaml").write_text(
        f"hydra: {{sweeper: {{primary: {block}}}, overrides: {{task: []}}}}\n"
    )
    compared = comparison.compare(gated)
    assert compared.declared and compared.measure.column == "gate"
    (result,) = compared.judged
    assert (result.margin, result.verdict and result.verdict.word) == (0.5, WORSE)
    assert compare.main([str(gated)]) == 0
    text = (gated / "report.md").read_text()
    assert "the margin of 0.5000: " in text and not re.search(r"\d [:,;]|\d  \S", text), "it has no unit"


def test_without_a_direction_a_difference_is_larger_or_smaller(gated: Path) -> None:
    measure = comparison.compare(gated, "var1").measure
    assert measure is measures.VARIANCES[0]
    compared = comparison.compare(gated, "lr")
    assert compared.measure.higher_is_better is None and compared.best.name == "dropout1=0.2"


def test_no_such_column_is_one_line_with_those_there_are(gated: Path) -> None:
    with pytest.raises(InputError, match=r"has no accuracy; one of train_loss, .*, gate is right"):
        comparison.compare(gated, "accuracy")


def test_an_arm_that_does_not_log_it_is_left_out_and_is_not_damaged(
    gated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def drop(folder: Path) -> None:
        rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
        store.write_metrics(folder, [{k: v for k, v in row.items() if k != "gate"} for row in rows])

    of_second = [
        path
        for path in sorted((gated.parents[1] / "runs").iterdir())
        if json.loads((path / "run.json").read_text())["config"]["dropout1"] == 0.5
    ]
    drop(of_second[0])
    whole = comparison.compare(gated, "gate")
    assert whole.without == () and len(whole.sweep.problems) == 1, "another run of its arm has the number"
    for folder in of_second[1:]:
        drop(folder)
    assert compare.main([str(gated), "--metric", "gate", "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["without"] == ["dropout1=0.5"] and told["problems"] == []
    assert [arm["arm"] for arm in told["arms"]] == ["dropout1=0.2"]
    assert (
        told["conclusion"].endswith("Not compared, as it has no gate: dropout1=0.5.") and "damaged" not in err
    )
    assert len(comparison.compare(gated).arms) == 2


@pytest.mark.parametrize("word", ["state", "id", "seed", "epoch", "dropout1"])
def test_what_is_no_metric_is_refused(gated: Path, word: str) -> None:
    with pytest.raises(InputError, match=rf"has no {word}; one of train_loss, .* is right"):
        comparison.compare(gated, word)


def test_its_page_while_it_goes_on_knows_the_direction(gated: Path) -> None:
    table = gated / "runs.csv"
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{head},gate", *(f"{row},{i}" for i, row in enumerate(rows)), ""]))
    said = Live(gated, "gate").read()
    assert said["measure"] == {"name": "gate", "unit": "", "digits": 4, "better": -1}
    # what the runs say, not what was written into the table
    assert said["arms"]["mean"] == [3.02, 4.06] and said["curves"]["0"][1] == [3.02] * 4
