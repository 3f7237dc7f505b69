"""`python -m src.train` as a user has it: bad input, a single run and its files, a named sweep, and the screen."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import forks
import matplotlib.image
import numpy as np
import pytest
import torch
import yaml
from configs import DIGITS, REPOSITORY, Command, heed_signals

from src import models, train
from src.data import load
from src.runs import store
from src.runs.curves import draw_curves

SMALL = ["data=digits", "model.hidden1=16", "model.hidden2=16", "epochs=3", "device=cpu"]
RUN_JSON = [
    "id",
    "state",
    "config",
    "overrides",
    "final",
    "seconds",
    "parameters",
    "versions",
    "code",
    "arrays",
    "device",
    "processor",
    "matmul",
    "error",
    "files",
]


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Train = Callable[..., Ended]


@pytest.fixture
def train_here(
    hydra_restore_singletons: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Train:
    """`python -m src.train ARGUMENTS` in this process, which has torch already, from an empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        capsys.readouterr()
        try:
            code = train.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Ended(code, *capsys.readouterr())

    return run


def files_in(folder: Path) -> dict[str, int]:
    """Every file below `folder`, with the time it was last written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()
    }


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def without_seconds(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


# Bad input

RATE = "must be a finite number from 0 to 1"
COUNT = "must be a whole number of at least 1"
WRONG: list[tuple[str, str]] = [
    ("dropout1=1.5", f"dropout1=1.5: {RATE}"),
    ("dropout2=-0.1", f"dropout2=-0.1: {RATE}"),
    ("dropout1=half", f"dropout1=half: {RATE}"),
    ("dropout1=nan", f"dropout1=nan: {RATE}"),
    ("dropout1=", f"dropout1=: {RATE}"),
    ("epochs=0", f"epochs=0: {COUNT}"),
    ("epochs=1.5", f"epochs=1.5: {COUNT}"),
    ("batch_size=0", f"batch_size=0: {COUNT}"),
    (
        "data=digits probe.train=2000",
        "probe.train=2000: must be at most 1437, the number of training images, or true",
    ),
    ("data=digits batch_size=2000", "batch_size=2000: must be at most 1437, the number of training images"),
    ("data=digits data.validation=1400000", "data.validation=1400000: must be a whole number from 0 to 14"),
    ("data.root=FILE", "data.root=/.*/file: must be a folder"),
    ("optimizer.lr=0", "optimizer.lr=0: must be a finite number above 0"),
    ("optimizer.lr=-1", "optimizer.lr=-1: must be a finite number above 0"),
    ("optimizer.lr=nan", "optimizer.lr=nan: must be a finite number above 0"),
    ("optimizer.lr=inf", "optimizer.lr=inf: must be a finite number above 0"),
    ("optimizer.weight_decay=-1", "optimizer.weight_decay=-1: must be a finite number of at least 0"),
    ("foo=1", "foo=1: there is no such key; `python -m src.train --help` lists the keys"),
    ("+foo=1", "foo=1: there is no such key; known here: batch_size, "),
    ("optimizer.foo=1", "optimizer.foo=1: there is no such key; `python -m src.train --help` lists the keys"),
    ("+optimizer.foo=1", "optimizer.foo=1: there is no such key; known here: optimizer.decay, "),
    (
        "drpout1=0.5",
        "drpout1=0.5: there is no such key, but dropout1 is one; `python -m src.train --help` lists",
    ),
    ("dropout=0.5", "dropout=0.5: there is no such key, but dropout1 is one; "),
    ("lr=0.1", "lr=0.1: there is no such key, but optimizer.lr is one; "),
    ("validation=100", "validation=100: there is no such key, but data.validation is one; "),
    (
        "optimiser.weight_decay=0",
        "optimiser.weight_decay=0: there is no such key, but optimizer.weight_decay is one; ",
    ),
    ("noise.stretch=1", "noise.stretch=1: there is no such key here, but there is with noise=tangent; "),
    ("noise=nope", "noise=nope: there is no such choice; choose one of .*dropout, .*none"),
    ("sweep=nope", "sweep=nope: there is no such choice; choose one of .*rate_order"),
    ("-m hydra/launcher=nope", "hydra/launcher=nope: there is no such choice; choose one of basic, .*packed"),
    ("noise=null", "noise=null: must be the name of a choice; `python -m src.train --help` lists them"),
    ("-m noise=dropout,3", "noise=dropout,3: must be the name of a choice"),
    ("+noise=dropout", r"\+noise=dropout: noise has a choice already; change it by noise=NAME"),
    ("~dropout1", "dropout1=null: must be given"),
    ("noise=gaussian dropout2=1", "dropout2=1.0: must be a finite number from 0 to below 1"),
    ("device=cuda", "device=cuda: this machine or this build of torch has no CUDA; take cpu or auto"),
    ("-m data=digits device=cuda hydra.launcher.n_jobs=1", "device=cuda: this machine"),
    ("device=gpu", "device=gpu: must be one of auto, cpu, cuda, xpu"),
    ("output=/proc/x", "output=/proc/x: must be a folder that can be written"),
    ("output=file/below", "output=file/below: must be a folder that can be written"),
    ("-m seed=1,2 output=file/below", "output=file/below: must be a folder that can be written"),
    ("seed=1,2", "seed=1,2: a single run takes one value; add -m to sweep over several"),
    ("seed=range(3)", r"seed=range\(3\): a single run takes one value; add -m to sweep over several"),
    ("-m dropout1=interval(0,1)", r"dropout1=interval\(0,1\): must be a list of values, or range\(\)"),
    ("-m sweep=rate_order sweep=other", "sweep=rate_order,other: name one sweep at a time"),
    ("-m sweep=rate_order,other", "sweep=rate_order,other: name one sweep at a time"),
    ("-m data=digits dropout1=0.2,1.5 hydra.launcher.n_jobs=1", f"dropout1=1.5: {RATE}"),
    ("-m hydra.launcher.n_jobs=0", f"hydra.launcher.n_jobs=0: {COUNT}, or null"),
    ("-m hydra.launcher.n_jobs=two", "hydra.launcher.n_jobs=two: .*could not be converted to Integer"),
    ("dropout1=[", r"dropout1=\[: its \[ is not closed"),
    (
        "dropout1=${nope}",
        r"dropout1=\$\{nope\}: there is no key nope; `python -m src.train --help` lists the keys",
    ),
    ("-m dropout1=0.1,${nope} hydra.sweeper.plan=true", r"dropout1=0.1,\$\{nope\}: there is no key nope; "),
    (
        '-m hydra.sweeper.arms=["dropout1=${a.b}"]',
        r'hydra.sweeper.arms=\["dropout1=\$\{a.b\}"\]: there is no key a.b',
    ),
    ("tags=[${nope}]", r"tags\[0\]=\$\{nope\}: there is no key nope; "),
    ("dropout1=${dropout2} dropout2=${dropout1}", r"dropout1=\$\{dropout2\}: its value would be its own"),
    ("--foo", "unrecognized arguments: --foo; `python -m src.train --help` lists what there is"),
    (
        "hydra.verbose=[1]",
        r"hydra.verbose=\[1\]: must be true, false, or a list of names of loggers, such as",
    ),
    ("hydra.verbose=1", "hydra.verbose=1: must be true, false, or a list of names of loggers, such as"),
    ("-m hydra.verbose={a:1} seed=0,1", "hydra.verbose={a:1}: must be true, false, or a list of names of lo"),
    ("hydra.job_logging=nonsense", "hydra.job_logging=nonsense: "),
    (
        "hydra/hydra_logging=default hydra.hydra_logging.root.level=LOUD",
        "hydra.hydra_logging.root.level=LOUD: Unknown level: 'LOUD'; must be what Python's logging.config",
    ),
    ("hydra.run.dir=[1]", r"hydra.run.dir=\[1\]: "),
    ("-m hydra.sweep.dir={} seed=0,1", "hydra.sweep.dir={}: "),
    ("-m data=digits hydra.sweep.dir= seed=0,1", "hydra.sweep.dir=: must be the folder of this sweep, such"),
]


@pytest.mark.parametrize(("line", "said"), WRONG, ids=[line for line, _ in WRONG])
def test_bad_input_is_one_line_and_nothing_is_written(
    train_here: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, said: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (tmp_path / "file").touch()
    before = files_in(tmp_path)
    code, out, err = train_here(*line.replace("FILE", str(tmp_path / "file")).split())
    assert code == 2
    assert re.match(f"error: {said}", err)
    assert (out, err.count("\n"), err[-1]) == ("", 1, "\n")
    assert "Traceback" not in err
    assert files_in(tmp_path) == before
    assert not list(tmp_path.glob("outputs/*"))  # neither a sweep's folder nor a run's


def test_the_version_is_that_of_this_project(train_here: Train) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    code, out, err = train_here("--version")
    assert (code, err) == (0, "") and out.startswith(f"{project['name']} {project['version']} (Hydra 1.")


def test_full_error_shows_the_trace_above_the_same_line_and_code(command: Command) -> None:
    plain, full = command("src.train", "noise=nope"), command("src.train", "noise=nope", HYDRA_FULL_ERROR="1")
    assert (plain.returncode, plain.stderr.count("\n")) == (2, 1)
    assert full.returncode == 2 and full.stderr.startswith("Traceback") and "noise/nope" in full.stderr
    assert full.stderr.endswith("\n" + plain.stderr)


def test_full_error_shows_the_trace_of_a_job_too(train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    code, _, err = train_here("dropout1=2")
    assert (code, err.splitlines()[-1].partition(" must")[0]) == (2, "error: dropout1=2:")
    assert "Traceback" in err and "src/config.py" in err
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


# A single run


class Single(NamedTuple):
    folder: Path
    out: str
    imported: set[str]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Single:
    """A run of three epochs by `python -m src.train`, written to a log."""
    output = tmp_path_factory.mktemp("single")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "src.train", *SMALL, f"output={output}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert (done.returncode, said) == (0, [])
    (folder,) = output.glob("runs/*")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    return Single(folder, done.stdout, imported)


def test_a_log_has_a_plain_line_an_epoch(single: Single) -> None:
    folder, out, _ = single
    *lines, last = out.splitlines()
    rows = rows_of(folder)
    assert last == f"results: {folder}"
    assert len(lines) == len(rows) == 3
    for number, (line, row) in enumerate(zip(lines, rows, strict=True), 1):
        assert line.startswith(f"epoch {number}/3  ")
        for name in ("train_loss", "train_acc", "test_loss", "test_acc"):
            assert f"{name.replace('_', ' ')} {float(row[name]):.4f}" in line
    assert "\x1b" not in out and "\r" not in out


def test_files_of_a_run_are_as_promised(single: Single) -> None:
    folder = single.folder
    expected = {"metrics.csv", "run.json", "train.log", "curves.png"}
    expected |= {f".hydra/{name}.yaml" for name in ("config", "hydra", "overrides")}
    assert set(files_in(folder)) == expected
    header = (folder / "metrics.csv").read_text().partition("\n")[0]
    assert tuple(header.split(",")) == store.METRICS
    rows = rows_of(folder)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(row["val_loss"] == row["val_acc"] == "" for row in rows)
    assert [(row["dropout1"], row["dropout2"], row["lr"]) for row in rows] == [("0.2", "0.5", "0.5")] * 3

    record = json.loads((folder / "run.json").read_text())
    assert list(record) == RUN_JSON
    assert (record["id"], record["state"], record["error"]) == (folder.name, "finished", None)
    assert record["parameters"] == 64 * 16 + 16 + 16 * 16 + 16 + 16 * 10 + 10
    assert record["overrides"] == [*SMALL, f"output={folder.parent.parent}"]
    assert record["config"]["model"] == {"name": "scratch", "hidden1": 16, "hidden2": 16}
    assert {key: str(value) for key, value in record["final"].items() if value is not None} == {
        key: value for key, value in rows[-1].items() if value
    }
    assert {"torch", "numpy", "python"} <= set(record["versions"])
    assert yaml.safe_load((folder / ".hydra" / "config.yaml").read_text()) == record["config"]
    assert yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text()) == record["overrides"]
    assert (folder / "train.log").read_text().count("epoch ") == 3
    height, width, _ = matplotlib.image.imread(folder / "curves.png").shape
    assert width > height > 300


def test_a_finished_run_is_shown_not_trained(train_here: Train, single: Single) -> None:
    folder, first, _ = single
    before = files_in(folder)
    code, out, err = train_here(*SMALL, f"output={folder.parent.parent}")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("already finished, not trained again")
    assert lines[1:] == first.splitlines()[-2:]  # the last epoch's result, and where it is
    assert files_in(folder) == before


def test_resume_false_trains_again_to_the_same_metrics(train_here: Train, tmp_path: Path) -> None:
    assert train_here(*SMALL).code == 0
    (folder,) = tmp_path.glob("outputs/runs/*")
    before, rows = files_in(folder), rows_of(folder)
    code, out, _ = train_here(*SMALL, "resume=false")
    assert code == 0 and out.startswith("epoch 1/3 ")
    assert files_in(folder)["metrics.csv"] > before["metrics.csv"]
    assert without_seconds(rows_of(folder)) == without_seconds(rows)


def test_save_model_keeps_the_weights_that_were_tested(train_here: Train, tmp_path: Path) -> None:
    assert train_here(*SMALL, "save_model=true").code == 0
    (folder,) = tmp_path.glob("outputs/runs/*")
    record = store.read_record(folder)
    assert record is not None
    net = models.build(record["config"]["model"], 64, 10, seed=99)
    net.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    _, _, images, labels = load(DIGITS)
    with torch.no_grad():
        accuracy = (net.eval()(images).argmax(1) == labels).double().mean().item()
    assert accuracy == pytest.approx(record["final"]["test_acc"], abs=1e-9)


def test_a_diverging_run_is_recorded_and_exits_with_1(train_here: Train, tmp_path: Path) -> None:
    first = train_here(*SMALL, "optimizer.lr=1e9")
    assert first.code == 1
    assert first.err == "diverged: the loss ceased to be finite in epoch 1\n"
    (folder,) = tmp_path.glob("outputs/runs/*")
    record = store.read_record(folder)
    assert record is not None and record["state"] == "diverged"
    assert "ceased to be finite" in record["error"]
    before = files_in(tmp_path)
    again = train_here(*SMALL, "optimizer.lr=1e9")
    assert again.code == 1 and again.out.startswith("already diverged")
    assert files_in(tmp_path) == before


def test_one_epoch_is_a_visible_point(tmp_path: Path) -> None:
    row = {
        **dict.fromkeys(store.METRICS, 0.5),
        "epoch": 1,
        "train_acc": 0.3,
        "test_acc": 0.4,
        "train_loss": 2.0,
    }
    store.write_metrics(tmp_path, [row])
    draw_curves(tmp_path)
    image = matplotlib.image.imread(tmp_path / "curves.png")[..., :3]
    height, width, _ = image.shape
    inside = image[height // 14 : -height // 10, width // 6 : -width // 6]
    for color in ((0x00, 0x72, 0xB2), (0x00, 0x9E, 0x73), (0xD5, 0x5E, 0x00)):
        assert (np.abs(inside - np.array(color) / 255).max(-1) < 0.02).sum() > 50


# Sweeps: how the command line starts them (what they do is in test_sweep.py)


@pytest.mark.parametrize("place", [0, 6])
def test_the_flag_may_stand_anywhere(train_here: Train, tmp_path: Path, place: int) -> None:
    arguments = [*SMALL[:3], "epochs=1", "dropout1=0.2,0.5", "hydra/launcher=basic"]
    arguments.insert(place, "-m")
    code, out, _ = train_here(*arguments)
    assert code == 0
    assert "2 finished, 0 failed" in out
    assert len(list(tmp_path.glob("outputs/runs/*/run.json"))) == 2


def test_hydras_own_key_starts_a_sweep_too(train_here: Train, tmp_path: Path) -> None:
    arguments = [*SMALL[:3], "epochs=1", "dropout1=0.2,0.5", "hydra/launcher=basic", "hydra.mode=MULTIRUN"]
    assert train_here(*arguments).code == 0
    assert len(list(tmp_path.glob("outputs/runs/*/run.json"))) == 2


# The screen


class Screen:
    """A terminal of 80 columns for a command, and every byte that was written there."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        hiding = ("COLUMNS", "LINES", "NO_COLOR", "TTY_COMPATIBLE", "FORCE_COLOR")
        self._environment = {key: value for key, value in os.environ.items() if key not in hiding}
        self._environment["TERM"] = "xterm"
        self._bytes = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`python -m src.train ARGUMENTS`, a process of its own; it is the one command."""
        process = subprocess.Popen(
            [sys.executable, "-m", "src.train", *arguments],
            cwd=REPOSITORY,
            env=self._environment,
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            preexec_fn=heed_signals,
        )
        os.close(self._slave)
        return process

    def run(self, *arguments: str) -> int:
        """The exit code of the same as a fork."""
        streams = [self._slave, self._slave]
        code = forks.TEMPLATE.call(["src.train", *arguments], REPOSITORY, self._environment, 600, streams)
        os.close(self._slave)
        self.close()
        return code

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # that the other end is closed
            while chunk := os.read(self._master, 65536):
                self._bytes += chunk

    def lines(self) -> list[str]:
        """All that was ever written, one entry a line or a redrawing of it, without colours and movements."""
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._bytes.decode(errors="replace"))
        return [line for line in re.split(r"[\r\n]+", text) if line.strip()]

    def close(self) -> None:
        """After the command's end."""
        self._reader.join(5)
        os.close(self._master)


@pytest.mark.slow
def test_a_terminal_shows_a_bar_and_ctrl_c_leaves_no_finished_run(tmp_path: Path) -> None:
    screen = Screen()
    process = screen.start(*SMALL, "epochs=100000", f"output={tmp_path}")
    wait_for(
        lambda: (
            any("test acc" in line for line in screen.lines()) and list(tmp_path.glob("runs/*/metrics.csv"))
        )
    )
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    screen.close()
    lines = screen.lines()
    assert any(re.fullmatch(r"[╸╺━]+ +\d+/100000 epochs [\d:-]+", line) for line in lines)
    assert any(
        re.fullmatch(r"train loss \d\.\d+  train acc 0\.\d+  test acc 0\.\d+ *", line) for line in lines
    )
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith("interrupted: the run is not finished")
    assert not any("Traceback" in line for line in lines)
    (folder,) = tmp_path.glob("runs/*")
    assert not (folder / "run.json").exists()


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The output folder of a named sweep started without -m, and what a terminal showed of it."""
    output = tmp_path_factory.mktemp("named")
    screen = Screen()
    assert screen.run("sweep=rate_order", *SMALL, "seed=0,1", f"output={output}") == 0, screen.lines()
    return output, screen.lines()


def test_a_named_sweep_needs_no_flag_and_the_command_line_wins(named: tuple[Path, list[str]]) -> None:
    output, _ = named
    (folder,) = output.glob("sweeps/*")
    assert folder.name.startswith("rate_order__data=digits__epochs=3__model.hidden1=16")
    assert {path.name for path in folder.iterdir()} == {"runs.csv", "multirun.yaml", "sweep.json"}
    with (folder / "runs.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # two arms of the file, and instead of its five seeds the two that were asked for
    assert [(row["dropout1"], row["dropout2"], row["seed"]) for row in rows] == [
        ("0.2", "0.5", "0"),
        ("0.2", "0.5", "1"),
        ("0.5", "0.2", "0"),
        ("0.5", "0.2", "1"),
    ]
    assert {row["state"] for row in rows} == {"finished"}


def test_a_terminal_follows_a_sweep(named: tuple[Path, list[str]]) -> None:
    output, lines = named
    progress = r"[╸╺━]+ +{} done, 0 failed, 0 skipped of 4  \d+\.\d epochs/s  0:\d\d:\d\d left"
    assert any(re.fullmatch(progress.format(4), line) for line in lines)
    assert any(
        re.match(r"best so far \d\d\.\d\d%  dropout1=0\.[25] dropout2=0\.[52]", line) for line in lines
    )
    live = [line for line in lines if not line.startswith(("results:", "report:", "its page:"))]
    assert max(map(len, live)) <= 80
    assert lines[-1] == f"results: {next(output.glob('sweeps/*'))}"


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to it in time"
        time.sleep(0.02)


# Help and start-up


def test_help_of_train_lists_groups_and_keys(command: Command) -> None:
    done = command("src.train", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Trains the dropout chapter's net and records every epoch." in done.stdout
    for group in ("data", "model", "noise", "optimizer", "schedule"):
        choices = ", ".join(sorted(path.stem for path in (REPOSITORY / "conf" / group).glob("*.yaml")))
        assert f"{group}: {choices}\n" in done.stdout
    sweeps = ", ".join(sorted(path.stem for path in (REPOSITORY / "sweeps").glob("*.yaml")))
    assert f"sweep: {sweeps}\n" in done.stdout
    for key, value in yaml.safe_load((REPOSITORY / "conf" / "config.yaml").read_text()).items():
        if key not in ("defaults", "hydra"):
            shown = "" if isinstance(value, dict) else " " + json.dumps(value).strip('"')
            assert f"\n{key}:{shown}\n" in done.stdout
    assert "2 bad input" in done.stdout


@pytest.mark.parametrize(
    "module", ["src.data", "src.clean", "analysis.compare", "analysis.noises", "analysis.race"]
)
def test_help_is_in_full_sentences(command: Command, module: str) -> None:
    done = command(module, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    usage, *paragraphs = done.stdout.split("\n\n")
    assert usage.startswith(f"usage: python -m {module}")
    assert len(paragraphs) >= 3
    for paragraph in (paragraphs[0], paragraphs[-1]):
        assert re.fullmatch(r"[A-Z].*\.", " ".join(paragraph.split()))
    assert "exit code" in paragraphs[-1] and str(REPOSITORY) not in done.stdout


def test_the_command_begins_without_heavy_imports() -> None:
    """So do a sweep's workers: they import torch at the same time as the command does, and not after it."""
    code = "import sys, src.train, src.sweeping.sweep, src.engines.loky; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True
    )
    imported = set(done.stdout.split())
    assert "src.train" in imported
    assert not imported & {
        "torch",
        "torchvision",
        "numpy",
        "pandas",
        "seaborn",
        "matplotlib",
        "sklearn",
        "rich",
    }


def test_a_single_run_imports_no_more_than_it_needs(single: Single) -> None:
    assert {"src.sweeping.single", "torch"} <= single.imported
    heavy = {"torchvision", "torchvision.models", "pandas", "seaborn", "sklearn", "torch._dynamo"}
    assert not single.imported & heavy
