"""Sweeps as a user has them, in processes of their own, with everything that can go wrong in them."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import forks
import psutil
import pytest
import yaml
from configs import REPOSITORY, heed_signals, make_job

from src.sweeping.table import Table

BUGGY = """
import os
from src.noise import Noise
class Buggy(Noise):
    def factor(self, h, rate, draws):
        print("printed by a noise", flush=True)
        os.write(1, b"as code in C does")
        if rate == 0.3:
            raise RuntimeError("a bug in a user's noise")
        return draws.keep(h.shape, rate) / (1 - rate)
"""
DEADLY = """
import os
from src.noise import Noise
class Deadly(Noise):
    def factor(self, h, rate, draws):
        if rate == 0.3:
            os._exit(1)
        return draws.keep(h.shape, rate) / (1 - rate)
"""
PATIENCE = 600.0
"""Seconds after which a test takes it that something hangs; on a busy machine all takes many times as long."""
SMALL = ["data=digits", "model.hidden1=16", "model.hidden2=16", "epochs=2", "device=cpu"]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project into which a user has put two noises of their own."""
    root = tmp_path_factory.mktemp("workshop")
    for name in ("src", "conf", "sweeps"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, code in {"buggy": BUGGY, "deadly": DEADLY}.items():
        (root / "src" / "noise" / f"{name}.py").write_text(code)
        (root / "conf" / "noise" / f"{name}.yaml").write_text(f"name: {name}\n")
    return root


def start(root: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "src.train", *arguments],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_signals,
    )


def sweep(root: Path, *arguments: str, code: int = 0) -> str:
    """Runs a sweep to its end and gives what it printed."""
    return "".join(printed(root, *arguments, code=code))


def printed(root: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    """Runs a sweep to its end and gives its standard output and standard error."""
    done = forks.python("src.train", "-m", *SMALL, *arguments, cwd=root, timeout=PATIENCE)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def table(output: Path) -> list[dict[str, str]]:
    (path,) = output.glob("sweeps/*/runs.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def results(output: Path) -> dict[str, list[str]]:
    """Each run's metrics.csv without its column `seconds`."""
    files = sorted(output.glob("runs/*/metrics.csv"))
    return {file.parent.name: without_seconds(file.read_text()) for file in files}


def without_seconds(text: str) -> list[str]:
    rows = list(csv.reader(text.splitlines()))
    if "seconds" not in rows[0]:
        return text.splitlines()
    seconds = rows[0].index("seconds")
    return [",".join(row[:seconds] + row[seconds + 1 :]) for row in rows]


def everything(output: Path) -> dict[str, str]:
    """Every file of an output folder, without wall times, times of day and the folder's own name."""
    texts = {}
    for path in sorted(output.rglob("*")):
        if path.is_file() and path.name != "curves.png" and path.parent.name != ".locks":
            text = path.read_text()
            if path.suffix == ".csv":
                text = "\n".join(without_seconds(text))
            text = re.sub(r'"seconds": [\d.e-]+', "", text)
            text = re.sub(r'"metrics.csv": "\w+"', "", text)  # a digest of a file with times
            text = re.sub(r"^\S+ \S+ (INFO|ERROR)", "", text, flags=re.M)
            text = re.sub(r"  [\d.]+ s$", "", text, flags=re.M)
            texts[str(path.relative_to(output))] = text.replace(output.name, "OUTPUT")
    return texts


@pytest.fixture(scope="module")
def uninterrupted(workshop: Path) -> Path:
    """A sweep of twelve runs that nothing happened to."""
    output = workshop / "whole"
    sweep(workshop, "dropout1=0.2,0.3,0.5", "seed=range(4)", f"output={output.name}")
    return output


def test_files_are_as_promised(uninterrupted: Path) -> None:
    rows = table(uninterrupted)
    assert len(rows) == len(results(uninterrupted)) == 12
    assert list(rows[0])[:4] == ["id", "state", "dropout1", "seed"]
    assert {"test_acc", "test_loss", "train_acc", "dropout1_used", "seconds"} <= set(rows[0])
    assert [(row["dropout1"], row["seed"]) for row in rows] == [
        (rate, str(seed)) for rate in ("0.2", "0.3", "0.5") for seed in range(4)
    ]
    (multirun,) = uninterrupted.glob("sweeps/*/multirun.yaml")
    assert "dropout1=0.2,0.3,0.5" in yaml.safe_load(multirun.read_text())["hydra"]["overrides"]["task"]
    for row in rows:
        folder = uninterrupted / "runs" / row["id"]
        record = json.loads((folder / "run.json").read_text())
        assert record["state"] == row["state"] == "finished"
        assert record["config"]["dropout1"] == float(row["dropout1"])
        assert str(record["final"]["test_acc"]) == row["test_acc"]
        assert yaml.safe_load((folder / ".hydra" / "config.yaml").read_text()) == record["config"]
        hydra = yaml.safe_load((folder / ".hydra" / "hydra.yaml").read_text())["hydra"]
        assert hydra["runtime"]["output_dir"] == str(folder)
        assert yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text()) == record["overrides"]


def test_finished_runs_are_never_trained_again(workshop: Path, uninterrupted: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.glob("runs/*/*")}
    sweep(workshop, "dropout1=0.2,0.3,0.5", "seed=range(4)", f"output={uninterrupted.name}")
    assert before == {path: path.stat().st_mtime_ns for path in uninterrupted.glob("runs/*/*")}
    # neither by a single run nor under another sweep
    single = forks.python(
        "src.train", *SMALL, "dropout1=0.3", "seed=2", f"output={uninterrupted.name}", cwd=workshop
    )
    assert "already finished" in single.stdout
    assert (
        before.items() <= {path: path.stat().st_mtime_ns for path in uninterrupted.glob("runs/*/*")}.items()
    )


@pytest.mark.slow
def test_parts_with_one_output_are_found_finished_by_the_whole(workshop: Path, uninterrupted: Path) -> None:
    output = workshop / "parts"
    for seeds in ("range(0,1)", "range(1,4)"):
        sweep(workshop, "dropout1=0.2,0.3,0.5", f"seed={seeds}", f"output={output.name}")
    before = {path: path.stat().st_mtime_ns for path in output.glob("runs/*/*")}
    sweep(workshop, "dropout1=0.2,0.3,0.5", "seed=range(4)", f"output={output.name}")
    assert before == {path: path.stat().st_mtime_ns for path in output.glob("runs/*/*")}
    (whole,) = uninterrupted.glob("sweeps/*/runs.csv")
    table = (output / whole.relative_to(uninterrupted)).read_text()
    assert without_seconds(table) == without_seconds(whole.read_text())
    assert [row["state"] for row in csv.DictReader(table.splitlines())] == ["finished"] * 12


@pytest.mark.parametrize(
    "how",
    [
        ["hydra.launcher.n_jobs=1"],
        ["hydra.launcher.pack_size=7"],
        pytest.param(["hydra/launcher=basic"], marks=pytest.mark.slow),
        pytest.param(["hydra/launcher=joblib"], marks=pytest.mark.slow),
    ],
)
def test_same_files_with_any_workers_packs_and_launcher(
    workshop: Path, uninterrupted: Path, how: list[str]
) -> None:
    output = workshop / f"same-{how[0].partition('=')[2]}"
    sweep(workshop, "dropout1=0.2,0.3,0.5", "seed=range(4)", f"output={output.name}", *how)
    assert results(output) == results(uninterrupted)
    files, expected = everything(output), everything(uninterrupted)
    assert files.keys() == expected.keys()
    differing = [name for name in files if files[name] != expected[name] and not name.endswith("yaml")]
    assert [name for name in differing if name.endswith((".csv", ".log"))] == []


def test_a_run_alone_gives_the_same_bytes(workshop: Path, uninterrupted: Path) -> None:
    alone = forks.python("src.train", *SMALL, "dropout1=0.5", "seed=3", "output=alone", cwd=workshop)
    assert alone.returncode == 0
    ((run, rows),) = results(workshop / "alone").items()
    assert results(uninterrupted)[run] == rows


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["main", "worker", "all"])
def test_kill_and_start_again(workshop: Path, victim: str) -> None:
    output, whole = workshop / f"killed-{victim}", workshop / "killed-whole"
    arguments = ["dropout1=0.2,0.5", "seed=range(3)", "epochs=60"]
    if not whole.exists():
        sweep(workshop, *arguments, f"output={whole.name}")
    process = start(workshop, "-m", *SMALL, *arguments, f"output={output.name}")
    main = psutil.Process(process.pid)
    wait_for(lambda: len(list(output.glob("runs/*/run.json"))) >= 1)
    workers = [child for child in main.children(recursive=True) if "loky" in " ".join(child.cmdline())]
    if victim == "worker":
        workers[-1].kill()
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, out + err
    else:
        for target in [main] if victim == "main" else [main, *workers]:
            target.kill()
        process.communicate(timeout=10)
        psutil.wait_procs(workers, timeout=5)
        assert not [worker for worker in workers if worker.is_running() and worker.status() != "zombie"]
        done = {path: path.stat().st_mtime_ns for path in output.glob("runs/*/run.json")}
        assert 0 < len(done) < 6
        assert "unfinished" in [row["state"] for row in table(output)] and len(table(output)) == 6
        sweep(workshop, *arguments, f"output={output.name}")
        assert (
            done.items() <= {path: path.stat().st_mtime_ns for path in output.glob("runs/*/run.json")}.items()
        )
    assert everything(output) == everything(whole)


def test_truncated_files_are_trained_again(workshop: Path, uninterrupted: Path) -> None:
    output = workshop / "truncated"
    shutil.copytree(uninterrupted, output)
    first, second, third, *_ = sorted(output.glob("runs/*"))
    os.truncate(first / "metrics.csv", 150)
    os.truncate(second / "run.json", 40)
    (third / "run.json").write_bytes(bytes(200))
    sweep(workshop, "dropout1=0.2,0.3,0.5", "seed=range(4)", f"output={output.name}")
    assert results(output) == results(uninterrupted)
    assert {json.loads(path.read_text())["state"] for path in output.glob("runs/*/run.json")} == {"finished"}


def test_a_bug_fails_its_run_alone_and_what_a_noise_prints_is_no_event(workshop: Path) -> None:
    output = workshop / "bug"
    arguments = ["noise=buggy", "dropout1=0.2,0.3,0.5", "seed=range(2)", f"output={output.name}", "--json"]
    out, err = printed(workshop, *arguments, code=1)
    assert [row["state"] for row in table(output)] == ["finished"] * 2 + ["failed"] * 2 + ["finished"] * 2
    *_, end = [json.loads(line) for line in out.splitlines()]
    assert len(end["problems"]) == 2
    assert all(run["error"].endswith("RuntimeError: a bug in a user's noise") for run in end["problems"])
    assert all(text in err for text in ("printed by a noise", "as code in C does", "a bug in a user's noise"))
    failed = table(output)[2]
    assert failed["test_acc"] == ""
    log = (output / "runs" / failed["id"] / "train.log").read_text()
    assert "Traceback" in log and "a bug in a user's noise" in log
    record = json.loads((output / "runs" / failed["id"] / "run.json").read_text())
    assert re.fullmatch(
        r"src/noise/buggy\.py, line \d+, in \w+: RuntimeError: a bug in a user's noise", record["error"]
    )


@pytest.mark.slow
def test_a_run_that_kills_its_worker_fails_alone(workshop: Path) -> None:
    output, peace = workshop / "deadly", workshop / "peace"
    sweep(workshop, "noise=deadly", "dropout1=0.2,0.5", "seed=range(2)", f"output={peace.name}")
    sweep(
        workshop, "noise=deadly", "dropout1=0.2,0.3,0.5", "seed=range(2)", f"output={output.name}",
        "hydra.launcher.pack_size=3", code=1,
    )  # fmt: skip
    states = {row["dropout1"]: set() for row in table(output)}  # type: dict[str, set[str]]
    for row in table(output):
        states[row["dropout1"]].add(row["state"])
    assert states == {"0.2": {"finished"}, "0.3": {"failed"}, "0.5": {"finished"}}
    assert results(peace).items() <= results(output).items()


def test_divergence_is_recorded_and_not_repeated(workshop: Path) -> None:
    output = workshop / "diverged"
    arguments = ["optimizer.lr=0.5,1e9", f"output={output.name}"]
    out = sweep(workshop, *arguments, code=1)
    assert [row["state"] for row in table(output)] == ["finished", "diverged"]
    assert "the loss ceased to be finite in epoch 1" in out
    (record,) = (
        r for p in output.glob("runs/*/run.json") if (r := json.loads(p.read_text()))["state"] == "diverged"
    )
    assert "diverged" in (output / "runs" / record["id"] / "train.log").read_text()
    before = everything(output)
    sweep(workshop, *arguments, code=1)
    assert everything(output) == before


@pytest.mark.parametrize(
    "name", ["SIGINT", *(pytest.param(name, marks=pytest.mark.slow) for name in ("SIGTERM", "SIGHUP"))]
)
def test_a_signal_ends_a_sweep_cleanly(workshop: Path, name: str) -> None:
    output = workshop / f"ended-by-{name}"
    many = ["seed=range(4)", "epochs=3000", "hydra.launcher.n_jobs=2"]
    process = start(workshop, "-m", *SMALL, *many, f"output={output.name}")
    main = psutil.Process(process.pid)
    wait_for(lambda: len(list(output.glob("runs/*/metrics.csv"))) >= 2)
    family = main.children(recursive=True)
    pressed = time.monotonic()
    if name == "SIGTERM":
        process.send_signal(signal.SIGTERM)
    else:  # a terminal sends it to the whole group, and who is impatient once more
        os.killpg(process.pid, getattr(signal, name))
        while process.poll() is None:
            process.send_signal(getattr(signal, name))
            time.sleep(0.01)
    _, err = process.communicate(timeout=20)
    took = time.monotonic() - pressed
    assert process.returncode == 128 + getattr(signal, name)
    assert err == "interrupted: 0 of 4 runs are done and kept; the same command goes on from here\n"
    assert took < 5  # 2 s are promised on a machine that is not busy with other tests
    _, alive = psutil.wait_procs(family, timeout=3)
    assert alive == []
    assert [row["state"] for row in table(output)] == ["unfinished"] * 4


@pytest.mark.slow
def test_a_table_that_the_disk_does_not_take_is_exit_3_and_the_same_command_goes_on(workshop: Path) -> None:
    output, arguments = workshop / "limited", ["dropout1=0.2,0.5", "seed=range(60)", "epochs=1"]
    command = shlex.join(
        [sys.executable, "-m", "src.train", "-m", *SMALL, *arguments, f"output={output.name}"]
    )
    limited = subprocess.run(
        ["bash", "-c", f"ulimit -f 12; exec {command}"],
        cwd=workshop,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert limited.returncode == 3, limited.stderr
    kept = re.fullmatch(
        r"error: limited/sweeps/[^/]+/runs\.csv: File too large; (\d+) of 120 runs are done and kept; "
        r"the same command goes on from here\n",
        limited.stderr,
    )
    assert kept and 0 < int(kept[1]) <= 120
    done = {path: path.stat().st_mtime_ns for path in output.glob("runs/*/run.json")}
    assert len(done) >= int(kept[1])
    sweep(workshop, *arguments, f"output={output.name}")
    assert [row["state"] for row in table(output)] == ["finished"] * 120
    assert done == {path: path.stat().st_mtime_ns for path in done}


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_no_sweep(workshop: Path) -> None:
    command = shlex.join(
        [
            sys.executable,
            "-m",
            "src.train",
            "-m",
            *SMALL,
            "seed=range(4)",
            "output=unread",
            "hydra.launcher.n_jobs=1",
        ]
    )
    unread = ["bash", "-c", f"set -o pipefail; {command} | head -1"]
    done = subprocess.run(unread, cwd=workshop, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "4 runs, 0 of them done before\n", "")
    assert [row["state"] for row in table(workshop / "unread")] == ["finished"] * 4
    (log,) = (workshop / "unread").glob("sweeps/*/sweep.log")
    assert "nobody read the output" in log.read_text()


@pytest.mark.slow
def test_two_sweeps_at_once_share_the_work(workshop: Path) -> None:
    output = workshop / "shared"
    arguments = ["-m", *SMALL, "epochs=20", f"output={output.name}"]
    first = start(workshop, *arguments, "seed=range(6)", "dropout1=0.2")
    second = start(workshop, *arguments, "seed=range(6)", "dropout1=0.2,0.5")
    for process in (first, second):
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, out + err
    for log in output.glob("runs/*/train.log"):
        assert log.read_text().count("epoch 1/20") == 1
    assert len(results(output)) == 12


def test_the_table_is_written_while_a_sweep_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [make_job(seed, [f"seed={seed}"], seed=seed) for seed in range(3)]
    ended = [{"id": job.id, "state": "finished", "final": {"test_acc": 0.5}} for job in jobs]
    clock = [100.0]
    monkeypatch.setattr("src.sweeping.table.time.monotonic", lambda: clock[0])
    going = Table(tmp_path, ["seed"])
    going.extend(jobs)

    def states() -> list[str]:
        with (tmp_path / "runs.csv").open(newline="") as file:
            return [row["state"] for row in csv.DictReader(file)]

    going.write()
    assert states() == ["unfinished"] * 3
    clock[0] = 100.5
    going.add(ended[0])  # writing at every run would slow a sweep of thousands
    assert states() == ["unfinished"] * 3
    clock[0] = 101.5
    going.add(ended[2])
    assert states() == ["finished", "unfinished", "finished"]


def test_writing_the_table_of_a_huge_sweep_takes_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of 100,000 rows takes two seconds to write: once a second, that would be all that the sweep does."""
    job = make_job()
    clock, writing = [0.0], [0.0]
    monkeypatch.setattr("src.sweeping.table.time.monotonic", lambda: clock[0])

    def takes_two_seconds(path: Path, content: str) -> None:
        clock[0] += 2.0
        writing[0] += 2.0

    monkeypatch.setattr("src.sweeping.table.store.write_whole", takes_two_seconds)
    going = Table(tmp_path, [])
    going.extend([job])
    for _ in range(10_000):
        clock[0] += 0.1
        going.add({"id": job.id, "state": "finished", "final": {}})
    assert 0.04 < writing[0] / clock[0] <= 0.05


def test_little_of_a_record_is_kept_and_the_table_is_whole(tmp_path: Path) -> None:
    job = make_job(0, ["dropout1=0.3"], dropout1=0.3)
    final = json.loads('{"test_acc": 0.5, "dropout1": 0.1, "of_its_own": 7}')
    table = Table(tmp_path, ["dropout1", "seed"])
    table.extend([job])
    table.add({"id": job.id, "state": "finished", "final": final, "config": job.config, "versions": {}})
    assert table.records[job.id] == {"id": job.id, "state": "finished", "final": final}
    table.write()
    with (tmp_path / "runs.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row)[:4] == ["id", "state", "dropout1", "seed"]
    assert (row["dropout1"], row["dropout1_used"], row["test_acc"], row["of_its_own"]) == (
        "0.3",
        "0.1",
        "0.5",
        "7",
    )


def test_the_same_run_twice_in_a_sweep_is_trained_once(workshop: Path) -> None:
    out = sweep(workshop, "dropout1=0.2,0.20,0.5", "output=twice")
    assert "2 runs" in out
    assert len(table(workshop / "twice")) == 2  # equal values are one row
    assert len(results(workshop / "twice")) == 2


def wait_for(condition: object) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come to it in time"
        time.sleep(0.02)
