"""Jobs of a Slurm cluster: `hydra.launcher.backend=slurm`, sent off by submitit.

A pack is a Slurm job. Queueing and starting one takes seconds, so packs are larger than elsewhere. What submitit
needs lies under `output`, which the nodes must see, whatever `hydra.launcher.shared` says.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import shutil
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import submitit
from filelock import FileLock, Timeout

from src.checks import ConfigError
from src.engines import Death, Ended, Engine, EngineError, nodes, parcels
from src.engines.child import answer, answered, asked
from src.engines.parcels import Parcel, Trained
from src.engines.settings import ONE_THREAD, PREFIX, Settings
from src.run import Job, Record

NAME = "dropout-sweeps"
"""Of every job, for squeue."""

JOBS = 16
"""Slurm jobs queued or running at a time, unless `hydra.launcher.n_jobs` says otherwise."""

LOOK_SECONDS = 2.0
"""Seconds between two calls of squeue: the controller has others to serve."""

GRACE_SECONDS = 10.0
"""How late a file of a job that has ended may come into sight on a shared disk."""

GPU_MEMORY = 16 * 2**30
"""What packs are sized for, as a job's GPU is not known before it starts; on a smaller one they train in parts."""

UNDER_WAY = {
    *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "STAGE_OUT", "RESIZING"),
    *("SIGNALING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD"),
}


class Backend(Engine):
    pack_seconds, largest_pack = 120.0, 1000

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder: Path | None = None
        self._running: dict[
            str, tuple[list[Job], Path]
        ] = {}  # by Slurm's job id: the pack, where its result will be
        self._ended_at: dict[
            str, tuple[float, str]
        ] = {}  # jobs that ended and left no result so far, and how
        self._alive: list[FileLock] = []  # held as long as this process lives; the system frees it
        self._looked = 0.0
        self._gpus = settings.gpus or 0
        if shutil.which("sbatch") is None:
            right = "there is no sbatch here; start the sweep where jobs are submitted"
            raise ConfigError(PREFIX + "backend", settings.backend, right)

    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        self._gpus = parcels.gpus(self._settings, jobs)
        self.gpu_memory = GPU_MEMORY if self._gpus else None
        self._most = self._settings.n_jobs or JOBS
        self.workers = min(self._most, at_once)
        place = Path(jobs[0].run.output).absolute() / ".slurm"
        _sweep_up(place)
        self._folder = place / uuid.uuid4().hex[:12]
        code = self._folder / "code"
        code.mkdir(parents=True)
        self._alive.append(FileLock(self._folder / "lock"))
        self._alive[0].acquire()
        with zipfile.ZipFile(io.BytesIO(nodes.code())) as archive:
            archive.extractall(code)
        if root := nodes.data_root(jobs):
            (self._folder / "data").write_bytes(nodes.data_files(root))
        self._executor = submitit.SlurmExecutor(folder=self._folder / "jobs", python=sys.executable)
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
            additional_parameters={"chdir": str(code), "no-requeue": True},
        )

    def room(self) -> int:
        return self._most - len(self._running)

    def submit(self, pack: list[Job]) -> None:
        assert self._folder is not None
        parcel = parcels.wrap(pack, self._settings, self._gpus > 0)
        call = asked(_train, parcel, str(self._folder / "data"))
        try:
            job = self._executor.submit(answer, call, _nothing)
        except (submitit.core.utils.FailedJobError, OSError, RuntimeError) as error:
            said = [line.rpartition("error: ")[2] for line in str(error).splitlines() if "error: " in line]
            why = " ".join("; ".join(said or [str(error)]).split())
            raise EngineError(f"{PREFIX}backend=slurm: sbatch refuses ({why})") from None
        self._running[job.job_id] = pack, job.paths.result_pickle

    def wait(self) -> list[Ended]:
        news: list[Ended] = []
        end = time.monotonic() + LOOK_SECONDS
        while not news and time.monotonic() < end:
            news = [
                self._outcome(number) for number, (_, path) in list(self._running.items()) if path.exists()
            ]
            time.sleep(0 if news else 0.1)
        return news + self._deaths()

    def _outcome(self, number: str) -> Ended:
        pack, path = self._running.pop(number)
        self._ended_at.pop(number, None)
        kind, found = pickle.loads(path.read_bytes())
        for file in path.parent.glob(f"{number}_*"):
            file.unlink(missing_ok=True)
        if kind != "success":  # ours never raises: it is submitit that tells of a time limit
            return pack, Death(str(found).strip().splitlines()[-1])
        try:
            trained = answered(found)
        except RuntimeError as error:
            raise EngineError(f"{PREFIX}backend=slurm: job {number} cannot train ({error})") from None
        records: list[Record] = parcels.unwrap(pack, trained)
        return pack, records

    def _deaths(self) -> list[Ended]:
        """Packs of jobs that have ended a while ago and left no result."""
        now = time.monotonic()
        if self._running and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            states = _states(list(self._running))
            for number in self._running if states is not None else ():
                state = states.get(number, "gone")  # type: ignore[union-attr]
                if state not in UNDER_WAY:
                    self._ended_at.setdefault(number, (now, state))
        if self._ended_at and self._folder:
            list((self._folder / "jobs").iterdir())  # which makes NFS look again
        dead = [
            number
            for number, (ended, _) in self._ended_at.items()
            if now - ended > GRACE_SECONDS and not self._running[number][1].exists()
        ]
        return [
            (self._running.pop(number)[0], Death(f"Slurm job {number}: {self._ended_at.pop(number)[1]}"))
            for number in dead
        ]

    def close(self) -> None:
        if self._running:
            _cancel(self._running)
            self._running.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # another sweep's is beside it
                self._folder.parent.rmdir()
        for lock in self._alive:
            lock.release()


def _cancel(numbers: Iterable[str]) -> None:
    """First those that run, without the half minute that Slurm gives them; then those that wait."""
    for how in (["--signal=KILL", "--full"], []):
        command = ["scancel", f"--name={NAME}", *how, *numbers]
        subprocess.run(command, capture_output=True, check=False)


def _sweep_up(place: Path) -> None:
    """Cancels and removes what sweeps have left whose main process was killed."""
    for folder in place.glob("*/"):
        lock = FileLock(folder / "lock")
        with contextlib.suppress(Timeout, OSError):
            lock.acquire(timeout=0)
            if numbers := {path.name.partition("_")[0] for path in (folder / "jobs").glob("*_*")}:
                _cancel(numbers)
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()


def _states(numbers: list[str]) -> dict[str, str] | None:
    """States of jobs as squeue tells them; None where it tells nothing, which is no death."""
    command = ["squeue", "--noheader", "--states=all", "--format=%i %T", f"--jobs={','.join(numbers)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip())


def _nothing() -> bytes:
    raise EOFError


def _train(parcel: Parcel, data: str) -> list[Trained]:
    """In the job; the data set is read from the shared disk where this node has none."""
    supply: Callable[[], bytes] | None = Path(data).read_bytes if Path(data).exists() else None
    return parcels.train(parcel, supply)
