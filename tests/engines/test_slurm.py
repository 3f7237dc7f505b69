"""Sweeps on Slurm itself, of one node and without cgroups: munged, slurmctld and slurmd, started by the tests."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from test_sweep import PATIENCE, SMALL, start, sweep, wait_for

from sweeps import (
    LONG,
    assert_same_files,
    begun,
    deadly,
    done,
    interrupted,
    killed_and_started_again,
    looks_go_on,
    memory,
    on_cards,
    on_loky,
    own_data,
    refused,
    same_files,
    survives,
    trained,
)
from tests.engines.processes import end, processes

DAEMONS = {
    name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    for name in ("munged", "slurmctld", "slurmd")
}

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(None in DAEMONS.values(), reason="needs Debian's slurm-wlm and munge"),
]
pytest.importorskip("submitit")

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module", autouse=True)
def slurm() -> Iterator[None]:
    """The daemons, with a key of their own, on the loopback address; no file of the system's is touched."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    folder.chmod(0o755)  # munged asks for a way to its socket
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(64))
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
        ports = [free.getsockname()[1] for free in (first, second)]
    config = folder / "slurm.conf"
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    host = socket.gethostname().partition(".")[0]
    config.write_text(CONFIG.format(host=host, ports=ports, user=getpass.getuser(), folder=folder))
    files = [f"--{name}-file={folder}/{name}" for name in ("key", "pid", "seed", "log")]
    munge = [DAEMONS["munged"], "--foreground", "--force", f"--socket={folder}/socket", *files]
    daemons = [_start(folder, *munge)]
    try:
        wait_for((folder / "socket").exists)
        daemons += [
            _start(folder, DAEMONS[name], "-D", "-f", str(config)) for name in ("slurmctld", "slurmd")
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", str(config))
            wait_for(lambda: "idle" in _said("sinfo", "--noheader", "--format=%T"))
            try:
                yield
            finally:  # steps of a test that failed are no children of the daemons: they would outlive them
                _said("scancel", "--signal=KILL", "--full", f"--user={getpass.getuser()}")
                _said("scancel", f"--user={getpass.getuser()}")
                wait_for(lambda: _said("squeue", "--noheader") == "")
    finally:
        for daemon in reversed(daemons):
            end(daemon)
        shutil.rmtree(folder)


def _start(folder: Path, *command: str | None) -> subprocess.Popen[str]:
    log = (folder / f"{Path(str(command[0])).name}.out").open("w")
    return subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, text=True)


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def training() -> list[psutil.Process]:
    return [process for process in processes("submitit.core._submit") if "srun" not in process.name()]


def kill_one() -> None:
    wait_for(training)
    training()[0].kill()


HOW = ["hydra.launcher.backend=slurm"]


@pytest.mark.parametrize("shared", ["false", "true"])
def test_same_files_as_on_loky(workshop: Path, shared: str) -> None:
    options = ["partition=main", "time_limit=10", "memory=100M"]
    how = [*HOW, *(f"hydra.launcher.{option}" for option in options)]
    same_files(
        workshop, f"slurm-{shared}", *how, f"hydra.launcher.shared={shared}", "hydra.launcher.pack_size=4"
    )
    assert not (workshop / f"slurm-{shared}" / ".slurm").exists()


@pytest.mark.parametrize("shared", ["false", "true"])
def test_a_job_dies(workshop: Path, shared: str) -> None:
    survives(
        workshop, f"slurm-dead-{shared}", kill_one, *HOW, f"hydra.launcher.shared={shared}", written=True
    )


def test_runs_that_kill_their_job_fail_alone(workshop: Path) -> None:
    deadly(workshop, "slurm-deadly", *HOW, "hydra.launcher.pack_size=3")


@pytest.mark.parametrize("shared", ["false", "true"])
def test_a_job_trains_what_its_card_holds_at_a_time(
    workshop: Path, monkeypatch: pytest.MonkeyPatch, shared: str
) -> None:
    monkeypatch.setenv("CARD", memory(3))
    options = [*HOW, f"hydra.launcher.shared={shared}"]
    on_cards(workshop, f"slurm-cards-{shared}", *options, cards={3: 1}, most=3, count=7)


def test_ctrl_c_leaves_nothing_in_the_queue(workshop: Path) -> None:
    interrupted(workshop, "slurm-ctrlc", training, *HOW)
    wait_for(lambda: _said("squeue", "--noheader") == "")


def test_the_main_process_is_killed(workshop: Path) -> None:
    """Jobs that run go on to their end; those that are left are cancelled when the sweep is started again."""
    how = [*HOW, "hydra.launcher.n_jobs=2"]
    killed_and_started_again(workshop, "slurm-main", None, *how)
    assert not (workshop / "slurm-main" / ".slurm").exists()


def test_a_sweep_that_looks_is_killed_and_goes_on(workshop: Path) -> None:
    looks_go_on(workshop, "slurm-looks", None, *HOW)


def test_a_data_set_of_ones_own(workshop: Path) -> None:
    own_data(workshop, "slurm-own", *HOW)


def test_what_jobs_of_a_killed_sweep_end_is_not_trained_again(workshop: Path) -> None:
    (workshop / "trained.jsonl").unlink(missing_ok=True)
    how = [*HOW, "hydra.launcher.n_jobs=2", "hydra.launcher.pack_size=3", "output=slurm-left"]
    process = start(workshop, "-m", *SMALL, *LONG, *how)
    wait_for(lambda: len({line["rate"] for line in trained(workshop)}) == 2)
    process.kill()
    process.communicate()
    assert len(done(workshop / "slurm-left")) < 6
    wait_for(lambda: _said("squeue", "--noheader") == "")
    assert len(done(workshop / "slurm-left")) == 6
    sweep(workshop, *LONG, *how)
    assert list(begun(workshop).values()) == [1] * 6
    shutil.rmtree(workshop / "slurm-left" / ".slurm")  # which the next one that trains anything removes
    assert_same_files(workshop / "slurm-left", on_loky(workshop, "long", *LONG))


def test_queued_jobs_of_a_killed_sweep_train_nothing(workshop: Path) -> None:
    """They get the lock that its main process held."""
    (workshop / "trained.jsonl").unlink(missing_ok=True)
    process = start(workshop, "-m", *SMALL, "seed=range(4)", "epochs=20000", "output=slurm-queued", *HOW)
    wait_for(lambda: len(begun(workshop)) == 2 and "PD" in _said("squeue", "--noheader", "--format=%t"))
    process.kill()
    process.communicate()
    for job in training():
        job.kill()
    wait_for(lambda: _said("squeue", "--noheader") == "")
    assert len(begun(workshop)) == 2


def test_a_disk_whose_locks_do_not_hold_is_told(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKS_HOLD_IN_ONE_PROCESS", "1")
    said = f"output={workshop / 'refused'}: file locks do not hold between machines"
    refused(workshop, said, *HOW, code=3)


def test_jobs_of_a_killed_sweep_are_cancelled_by_the_next_one(workshop: Path) -> None:
    how = [*HOW, "hydra.launcher.n_jobs=2", "output=slurm-cancelled"]
    process = start(workshop, "-m", *SMALL, "seed=range(4)", "epochs=20000", *how)
    wait_for(lambda: len(training()) == 2)
    process.kill()
    process.communicate()
    old = set(_said("squeue", "--noheader", "--format=%i").split())
    assert len(old) == 2
    sweep(workshop, "seed=0", *how)
    assert not old & set(_said("squeue", "--noheader", "--format=%i").split())


def test_the_warning_of_a_time_limit_fails_no_run(workshop: Path) -> None:
    process = start(workshop, "-m", *SMALL, *LONG, "output=slurm-warned", *HOW, "hydra.launcher.pack_size=3")
    wait_for(lambda: (workshop / "slurm-warned").exists() and len(done(workshop / "slurm-warned")) >= 1)
    for number in _said("squeue", "--noheader", "--format=%i").split():
        _said("scancel", "--signal=USR2", number)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    assert_same_files(workshop / "slurm-warned", on_loky(workshop, "long", *LONG))


def test_what_slurm_refuses_is_told(workshop: Path) -> None:
    refused(
        workshop,
        "sbatch refuses (invalid partition specified: none; ",
        *HOW,
        "hydra.launcher.partition=none",
    )
