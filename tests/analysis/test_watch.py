"""The page of a sweep that goes on: its numbers, its states, and what a real browser makes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forks
import pytest
from browser import evaluate, show
from configs import REPOSITORY

from analysis import watch
from analysis.live import ENDED, GOES_ON, STOPPED, Live
from src.errors import InputError
from src.runs import store
from src.stats import mean_interval
from src.sweeping import progress

Made = Callable[..., Path]


@pytest.fixture
def going(sweep: Made) -> Path:
    """Two arms by two noises, five seeds each; of the last arm one run failed, one diverged, one is missing."""
    return sweep(
        {"dropout1": [0.2, 0.5], "noise": ["dropout", "gaussian"]},
        lambda arm: 0.86 + 0.02 * (arm["dropout1"] == 0.5),
        states={(3, 0): store.FAILED, (3, 1): store.DIVERGED, (3, 4): store.UNFINISHED},
    )


def is_at(folder: Path, started: float = 0.0, runs: int = 20, left: float | None = 90.0) -> None:
    progress.write(folder, started, runs, left)


def unfinished(folder: Path) -> Path:
    """The folder of the run that is missing."""
    rows = [line.split(",") for line in (folder / "runs.csv").read_text().splitlines()]
    (run,) = [row[0] for row in rows if row[1] == store.UNFINISHED]
    return folder.parents[1] / "runs" / run


def test_arms_are_the_sweeps_with_students_intervals(going: Path) -> None:
    said = Live(going).read()
    assert [key["name"] for key in said["keys"]] == ["dropout1", "noise"]
    assert said["keys"][0] == {
        "name": "dropout1",
        "number": True,
        "values": [0.2, 0.5],
        "codes": [0, 0, 1, 1],
    }
    assert said["keys"][1]["values"] == ["dropout", "gaussian"]
    arms = said["arms"]
    assert (arms["planned"], arms["finished"]) == ([5] * 4, [5, 5, 5, 2])
    assert (arms["failed"], arms["diverged"]) == ([0, 0, 0, 1], [0, 0, 0, 1])
    rows = [line.split(",") for line in (going / "runs.csv").read_text().splitlines()]
    accuracy = [100 * float(row[rows[0].index("test_acc")]) for row in rows[1:6]]
    assert arms["mean"][0] == pytest.approx(sum(accuracy) / 5, rel=1e-4)
    from scipy.stats import t

    sd = (sum((value - sum(accuracy) / 5) ** 2 for value in accuracy) / 4) ** 0.5
    assert arms["half"][0] == pytest.approx(t.ppf(0.975, 4) * sd / 5**0.5, rel=1e-4)
    interval = mean_interval([value / 100 for value in accuracy])
    assert interval is not None and abs(interval.upper * 100 - arms["mean"][0] - arms["half"][0]) < 0.3


def test_curves_are_read_once_and_those_of_running_runs_as_far_as_they_are(going: Path) -> None:
    live = Live(going)
    epochs, means, halves = live.read()["curves"]["0"]
    assert epochs == [1, 2, 3, 4] and means == sorted(means) and None not in halves
    for path in (going.parents[1] / "runs").glob("*/metrics.csv"):
        path.unlink()
    assert live.read()["curves"]["0"] == [epochs, means, halves]
    assert Live(going).read()["curves"] == {}


def test_what_failed_is_listed_with_its_reason(going: Path) -> None:
    said = Live(going).read()["bad"]
    assert [(state, arm, seed, reason) for state, arm, seed, _, reason in said["rows"]] == [
        ("failed", 3, "0", "RuntimeError: out of memory"),
        ("diverged", 3, "1", "train loss is nan in epoch 2"),
    ]
    assert (going / said["log"]).resolve() == going.parents[1] / "runs"


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("test_acc", "0.99", "says test_acc=0.99, and its run.json test_acc=0.8"),
        ("test_acc", "", "says test_acc=null, and its run.json test_acc=0.8"),
        ("dropout1", "0.9", "says dropout1=0.9, and its run.json dropout1=0.2"),
        ("noise", "none", "says noise=none, and its run.json noise=dropout"),
        ("seed", "17", "says seed=17, and its run.json seed=2"),
        ("state", store.DIVERGED, ""),  # another sweep may have trained it since
    ],
)
def test_cells_that_were_edited_are_named_and_the_runs_own_shown(
    going: Path, column: str, cell: str, said: str
) -> None:
    live = Live(going)
    right = live.read()
    rows = [line.split(",") for line in (going / "runs.csv").read_text().splitlines()]
    rows[3][rows[0].index(column)] = cell
    (going / "runs.csv").write_text("".join(f"{','.join(row)}\n" for row in rows))
    for page in (live.read(), live.read(), Live(going).read()):
        told = page["otherwise"]
        assert told["runs"] == bool(said) == len(told["first"])
        assert not said or told["first"][0].startswith(f"run {rows[3][0]}: runs.csv {said}")
        assert {key: page[key] for key in ("arms", "keys", "curves", "counts", "bad")} == {
            key: right[key] for key in ("arms", "keys", "curves", "counts", "bad")
        }


def test_a_run_without_its_record_has_no_result(going: Path) -> None:
    runs = going.parents[1] / "runs"
    listed = [line.split(",")[0] for line in (going / "runs.csv").read_text().splitlines()[1:4]]
    for name, content in zip(listed, (None, b'{"state": "finished", "config": null}', b"[]"), strict=True):
        (runs / name / "run.json").unlink() if content is None else (runs / name / "run.json").write_bytes(
            content
        )
    said = Live(going).read()
    assert said["arms"]["finished"] == [2, 5, 5, 2] and said["otherwise"]["runs"] == 3
    assert said["otherwise"]["first"][0].endswith("run.json cannot be read (No such file or directory)")
    assert said["otherwise"]["first"][1].endswith("run.json cannot be read (it is damaged)")


def test_states(going: Path) -> None:
    live = Live(going)
    assert live.read()["state"] == STOPPED
    is_at(going, runs=22)
    said = live.read()
    assert (said["state"], said["runs"], said["counts"]["waiting"]) == (GOES_ON, 22, 3)
    assert said["left"] == pytest.approx(90, abs=5)
    dead = json.loads((going / progress.FILE).read_text()) | {"process": 2**22 - 3}
    (going / progress.FILE).write_text(json.dumps(dead))
    assert live.read()["state"] == STOPPED, "its process was killed"
    (going / progress.FILE).write_text(json.dumps(dead | {"host": "another"}))
    assert live.read()["state"] == GOES_ON, "of another machine nobody here knows"
    progress.end(going)
    table = going / "runs.csv"
    table.write_text("".join(line for line in table.open() if store.UNFINISHED not in line))
    said = live.read()
    assert (said["state"], said["left"]) == (ENDED, None)


def test_what_is_trained_now_is_known_by_its_log(going: Path) -> None:
    run = unfinished(going)
    run.mkdir()
    (run / "train.log").write_text("run\n")
    live = Live(going)
    assert live.read()["running"] == [], "no process is at it"
    is_at(going, started=time.time() - 60)
    ((arm, seed, name, ago),) = live.read()["running"]
    assert (arm, seed, name) == (3, "4", run.name) and ago < 60
    os.utime(run / "train.log", (1.0, 1.0))
    assert live.read()["running"] == [], "it was left by a process that was killed"


def test_a_sweep_declares_what_its_page_is_about(going: Path) -> None:
    assert Live(going).read()["measure"]["name"] == "test accuracy"
    (going / "multirun.yaml").write_text("hydra: {sweeper: {primary: {metric: test_loss}}}\n")
    measure = Live(going).read()["measure"]
    assert (measure["name"], measure["better"]) == ("test cross-entropy", -1)
    for searched in ("val_acc", "[val_acc, val_loss]", "val_acc, primary: {metric: test_loss}"):
        (going / "multirun.yaml").write_text(f"hydra: {{sweeper: {{metric: {searched}}}}}\n")
        said = Live(going).read()
        assert said["measure"]["name"] == "validation accuracy" and said["arms"]["mean"] == [None] * 4
    assert Live(going, "train_acc").read()["measure"]["name"] == "train accuracy"


def test_nothing_swept_is_one_arm(sweep: Made) -> None:
    said = Live(sweep({}, lambda arm: 0.8)).read()
    assert said["keys"] == [] and said["arms"]["planned"] == [5]
    assert "window" not in watch.html(said, 5, "en")


def test_any_column_is_shown_and_another_one_refused(going: Path) -> None:
    said = Live(going, "lr").read()
    assert said["measure"] == {"name": "lr", "unit": "", "digits": 4, "better": 0}
    assert said["arms"]["mean"] == [0.5] * 4
    with pytest.raises(
        InputError, match=r"^--metric=accuracy: one of these is right: train_loss, train_acc, "
    ):
        Live(going, "accuracy").read()
    for word in ("state", "id", "seed", "noise"):
        with pytest.raises(InputError, match=rf"^--metric={word}: one of these is right: train_loss, "):
            Live(going, word).read()


# The command


def test_it_ends_with_the_sweep(sweep: Made, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweep({"dropout1": [0.2, 0.5]}, lambda arm: 0.8)
    assert watch.main([str(folder)]) == 0
    assert capsys.readouterr().out == f"Open {folder / 'watch.html'}\n"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["nowhere", "--once"], "nowhere is not there; the folder of a sweep"),
        ([__file__], f"{__file__} is a file; the folder of a sweep"),
        (["x", "--every", "0"], "--every=0.0: a number of seconds above 0 and at most 86,400 is right"),
        (["x", "--every", "inf"], "--every=inf: a number of seconds above 0 and at most 86,400 is right"),
        (
            ["x", "--every", "1e10"],
            "--every=10000000000.0: a number of seconds above 0 and at most 86,400 is",
        ),
    ],
)
def test_bad_input_is_one_line(given: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert watch.main(given) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1) and err.startswith(f"error: {line}")


def test_a_table_that_is_half_there_is_read_again(
    going: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (going / "runs.csv").read_text()
    (going / "runs.csv").write_text('id,state,"drop')
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        (going / "runs.csv").write_text(whole)
        if len(waits) > 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", wait)
    assert watch.main([str(going), "--every", "2"]) == 130, "Ctrl-C ends it"
    assert waits[:2] == [0.5, 2.0] and capsys.readouterr().err == "", "without a word"
    assert "RuntimeError: out of memory" in (going / watch.PAGE).read_text()


@pytest.mark.slow
def test_it_waits_for_a_sweep_and_follows_it(tmp_path: Path) -> None:
    """A real one, begun after the page."""
    folder = tmp_path / "sweeps" / "real"
    watching = subprocess.Popen(
        [sys.executable, "-m", "analysis.watch", str(folder), "--every", "0.2"],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    sweep = ["data=digits", "model.hidden1=8", "model.hidden2=8", "epochs=2", "dropout1=0.2,0.5"]
    where = [f"output={tmp_path}", f"hydra.sweep.dir={folder}", "hydra.launcher.n_jobs=1"]
    assert forks.python("src.train", "-m", *sweep, *where, cwd=REPOSITORY).returncode == 0
    out, err = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (0, f"Open {folder / 'watch.html'}\n")
    assert err in ("", f"waiting for {folder / 'runs.csv'}: the sweep has not begun\n")
    assert '"state":"ended"' in (folder / watch.PAGE).read_text()
    assert not (folder / progress.FILE).exists()


# In a browser


def page(folder: Path, language: str = "en") -> str:
    return watch.html(Live(folder).read(), 1000, language)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_fits_a_phone_and_has_no_errors(going: Path, language: str) -> None:
    is_at(going)
    text = page(going, language)
    shown = show(text, 390)
    assert shown.errors == [] and shown.scroll <= shown.inner and shown.text > 300
    said = json.loads(text.partition('type="application/json">')[2].partition("</script>")[0])
    assert said["words"].keys() == _words("en").keys() == _words("zh").keys()


def _words(language: str) -> dict[str, Any]:
    import yaml

    from analysis.page import TEMPLATES

    return yaml.safe_load((TEMPLATES / language / "watch.yaml").read_text(encoding="utf-8"))


def test_a_single_arms_interval_can_be_seen(sweep: Made) -> None:
    """No other mean gives the axis a scale: the interval does."""
    (width,) = evaluate(
        page(sweep({}, lambda arm: 0.8, epochs=2)),
        """
        const lines = [...document.querySelectorAll("#arms tbody svg line")];
        return lines.map(line => line.getAttribute("x2") - line.getAttribute("x1"));
        """,
    )
    assert 80 < width < 140, "of 152 pixels"


def test_a_filter_by_key_leaves_its_arms_and_outlives_a_reload(going: Path) -> None:
    rows, heading, bad, hash_, curves = evaluate(
        page(going),
        """
        const select = document.querySelector("select[name=noise]");
        select.value = "dropout";
        select.dispatchEvent(new Event("change"));
        return [[...document.querySelectorAll("#arms tbody tr")].map(row => row.cells[1].textContent),
          document.querySelector("#arms h2").textContent, document.getElementById("bad").textContent,
          decodeURIComponent(location.hash), document.querySelectorAll("#curves polyline").length];
        """,
    )
    assert rows == ["dropout", "dropout"] and heading == "Arms (2 of 4 arms)"
    assert bad == "" and curves == 2, "both runs without a result are of another noise"
    assert json.loads(hash_[1:])["chosen"] == {"noise": "dropout"}


def test_a_search_has_scatter_and_parallel_coordinates(sweep: Made) -> None:
    """Ink on both canvases, in the places of the dots; a range leaves a part of them."""
    rates = [0.05 * step for step in range(1, 14)]
    folder = sweep(
        {"dropout1": rates, "optimizer.lr": [0.1, 1.0]}, lambda arm: 0.9 - arm["dropout1"] / 10, seeds=[0]
    )
    (folder / "study.db").touch()
    before, after, rows, first = evaluate(
        page(folder),
        """
        const ink = () => ["scatter", "parallel"].map(id => {
          const canvas = document.querySelector(`#${id} canvas`);
          const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          return pixels.filter((one, place) => place % 4 === 3 && one > 0).length;
        });
        const before = ink(), end = document.querySelector("input[name='dropout1.1']");
        end.value = "0.2";
        end.dispatchEvent(new Event("change"));
        const rows = [...document.querySelectorAll("#arms tbody tr")].map(row => +row.cells[0].textContent);
        return [before, ink(), rows, document.querySelector("#arms tbody tr").textContent];
        """,
    )
    assert all(number > 500 for number in before) and all(a != b for a, b in zip(after, before, strict=True))
    assert len(rows) == 8 and max(rows) <= 0.2 and first.startswith("0.05")
