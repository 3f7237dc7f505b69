"""Jobs of a Slurm cluster: `hydra.launcher.backend=slurm`, sent off by submitit.

A pack is a Slurm job. Queueing and starting one takes seconds, so packs are larger than elsewhere. Nodes must see
`output`, whatever `hydra.launcher.shared` says: what submitit needs lies there, and jobs write their runs into it.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import submitit
from filelock import FileLock, Timeout
from submitit.core.job_environment import JobEnvironment

from src.engines import Death, Engine, EngineError, Outcome, Slot, nodes, parcels
from src.engines.queue import GPU_MEMORY, GPU_MEMORY_PER_RUN
from src.engines.settings import ONE_THREAD, PREFIX, SLURM_JOBS, Settings
from src.errors import InputError
from src.runs.job import Job, Record, final_record

NAME = "dropout-sweeps"
"""Of every job, for squeue."""


LOOK_SECONDS = 2.0
"""Seconds between two calls of squeue: the controller has others to serve."""

GRACE_SECONDS = 10.0
"""How late the result of a job that has ended may come into sight on a shared disk."""

UNDER_WAY = {
    *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "STAGE_OUT", "RESIZING"),
    *("SIGNALING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD"),
}


class Backend(Engine):
    pack_seconds, largest_pack = 120.0, 1000

    def __init__(self, settings: Settings) -> None:
        self._settings = replace(settings, shared=True)
        self._most = settings.n_jobs or SLURM_JOBS
        self._slot = Slot()
        self._folder: Path | None = None
        # by Slurm's number a job's runs that have not ended, and where submitit puts its result
        self._running: dict[str, tuple[list[Job], Path]] = {}
        self._over: dict[str, tuple[float, str]] = {}  # when a job was first seen to be over, and why
        self._looked = 0.0
        if shutil.which("sbatch") is None:
            right = "there is no sbatch here; start the sweep where jobs are submitted"
            raise InputError(PREFIX + "backend", settings.backend, right)

    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        self._gpus = parcels.gpus(self._settings, jobs)
        self.workers = min(self._most, at_once)
        if self._gpus:
            # how many GPUs will be free is not known either: few full jobs, and larger ones rather than more
            share = max(math.ceil(at_once / self._most), self._settings.pack_size or 1)
            self.workers, self._slot = 1, Slot(max(GPU_MEMORY, share * GPU_MEMORY_PER_RUN))
        if self._folder is None:
            parent = Path(jobs[0].run.output).absolute() / ".slurm"
            _sweep_up(parent)
            self._folder = parent / uuid.uuid4().hex[:12]
            self._fill(self._folder)
        root = nodes.data_root(jobs)
        if root and not (self._folder / "data").exists():
            (self._folder / "data").write_bytes(nodes.data_files(root))

    def _fill(self, folder: Path) -> None:
        """All that jobs need, and a lock that this process holds as long as it lives."""
        nodes.unpack_code(folder / "code")
        self._lock = FileLock(folder / "lock")
        self._lock.acquire()
        self._executor = submitit.SlurmExecutor(folder=folder / "jobs", python=sys.executable)
        self._executor.update_parameters(
            job_name=NAME,
            partition=self._settings.partition,
            time=self._settings.time_limit,
            cpus_per_task=self._settings.cpus,
            gpus_per_node=self._gpus or None,
            mem=f"{-(-self._settings.memory // 2**20)}M" if self._settings.memory else None,
            setup=[f"export {name}={value}" for name, value in ONE_THREAD.items()],
            stderr_to_stdout=True,
            signal_delay_s=10,
            # jobs import the code that was put there; and Slurm trains nothing again by itself
            additional_parameters={"chdir": str(folder / "code"), "no-requeue": True},
        )

    def slot(self) -> Slot | None:
        return self._slot if len(self._running) < self._most else None

    def submit(self, pack: list[Job]) -> None:
        jobs = parcels.wrap(pack, self._settings, self._gpus > 0)
        try:
            job = self._executor.submit(_train, jobs, str(self._folder))
        except (submitit.core.utils.FailedJobError, OSError, RuntimeError) as error:
            errors = [line.rpartition("error: ")[2] for line in str(error).splitlines() if "error: " in line]
            why = " ".join("; ".join(errors or [str(error)]).split())
            raise InputError(f"{PREFIX}backend=slurm: sbatch refuses ({why})") from None
        self._running[job.job_id] = list(pack), job.paths.result_pickle

    def wait(self) -> list[Outcome]:
        end = time.monotonic() + LOOK_SECONDS
        while not (outcomes := self._on_disk()) and time.monotonic() < end:
            time.sleep(0.1)
        return outcomes + self._deaths()

    def _on_disk(self) -> list[Outcome]:
        """Runs that have ended, whether their job has or not: jobs train in order, and write what has ended."""
        outcomes: list[Outcome] = []
        for number, (pack, result) in list(self._running.items()):
            records: list[Record] = []
            if result.exists():
                kind, outcome = pickle.loads(result.read_bytes())
                if kind != "success":  # ours never raises: it is submitit that tells of a time limit
                    self._over[number] = -math.inf, str(outcome).strip().splitlines()[-1]
                    continue
                if isinstance(outcome, str):
                    raise EngineError(f"{PREFIX}backend=slurm: job {number} cannot train ({outcome})")
                records = outcome[len(outcome) - len(pack) :]
                self._forget(number)
            else:
                for job in pack:
                    if not (record := final_record(job)):
                        break
                    records.append(record)
            if records:
                outcomes.append((pack[: len(records)], records))
                del pack[: len(records)]
        return outcomes

    def _deaths(self) -> list[Outcome]:
        """What has not ended of jobs that are over, and have been for a while."""
        now = time.monotonic()
        if self._running and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            for number, state in _over_by_now(list(self._running)).items():
                self._over.setdefault(number, (now, f"Slurm job {number}: {state}"))
            list(Path(self._executor.folder).iterdir())  # which makes NFS look again
        over = [number for number, (since, _) in self._over.items() if now - since > GRACE_SECONDS]
        return [outcome for number in over for outcome in self._death(number)]

    def _death(self, number: str) -> list[Outcome]:
        """What the job had begun, and what is handed back."""
        (pack, _), (_, how) = self._running[number], self._over[number]
        self._forget(number)
        # none where it did not come that far, or its files have not come into sight
        begun = [job for job in pack if (job.folder / "train.log").exists()] or pack
        ids = {job.id for job in begun}
        return [(begun, Death(how)), ([job for job in pack if job.id not in ids], [])]

    def _forget(self, number: str) -> None:
        _, result = self._running.pop(number)
        self._over.pop(number, None)
        for file in result.parent.glob(f"{number}_*"):
            file.unlink(missing_ok=True)

    def close(self) -> None:
        if self._running:
            _cancel(self._running)
            self._running.clear()
        if self._folder is not None:
            _remove(self._folder)
            self._lock.release()


def _cancel(numbers: Iterable[str]) -> None:
    """First those that run, without the half minute that Slurm gives them; then those that wait."""
    for how in (["--signal=KILL", "--full"], []):
        command = ["scancel", f"--name={NAME}", *how, *numbers]
        subprocess.run(command, capture_output=True, check=False)


def _sweep_up(parent: Path) -> None:
    """Cancels the jobs of sweeps whose main process was killed, and removes their folders."""
    for folder in parent.glob("*/"):
        lock = FileLock(folder / "lock")
        with contextlib.suppress(Timeout, OSError):
            lock.acquire(timeout=0)
            # submitit's own files are beside the jobs'
            numbers = {path.name.partition("_")[0] for path in (folder / "jobs").glob("*_*")}
            if numbers := {number for number in numbers if number.isdigit()}:
                _cancel(numbers)
            lock.release()  # a file that is open cannot be removed everywhere
            _remove(folder)


def _remove(folder: Path) -> None:
    """A job that has been cancelled may still be writing into it."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.1)
    with contextlib.suppress(OSError):  # another sweep's is beside it
        folder.parent.rmdir()


def _over_by_now(numbers: Sequence[str]) -> dict[str, str]:
    """States of those jobs that are over, as squeue tells them. Where it tells nothing that is no death."""
    command = ["squeue", "--noheader", "--states=all", "--format=%i %T", f"--jobs={','.join(numbers)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "Invalid job id" not in done.stderr:
        return {}
    states = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip())
    return {n: state for n in numbers if (state := states.get(n, "gone")) not in UNDER_WAY}


def _train(jobs: list[Job], folder: str) -> list[Record] | str:
    """In the job; the data set is read from the shared disk where this node has none.

    Returns:
        The records; in one line why there are none, where this node cannot train.
    """
    # the warning of the time limit, at which submitit would raise: the run at hand would count as failed
    signal.signal(JobEnvironment._usr_sig(), signal.SIG_IGN)
    records: list[Record] = []
    try:
        # without locks two sweeps would write into the same run
        with contextlib.suppress(Timeout), FileLock(Path(folder, "lock")).acquire(timeout=0):
            return (
                f"output={Path(folder).parent.parent}: file locks do not hold between machines on this disk"
            )
        while len(records) < len(jobs):
            _, trained = parcels.train(jobs[len(records) :], True, Path(folder, "data").read_bytes)
            records += [record for record, _ in trained]
        return records
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
