"""Jobs of a Slurm cluster: `hydra.launcher.backend=slurm`, sent off by submitit.

A pack is a Slurm job. Queueing and starting one takes seconds, so packs are larger than elsewhere. What submitit
needs lies under `output`, which the nodes must see, whatever `hydra.launcher.shared` says. There a job puts each
result as it has it, so that what has ended does not die with the job.
"""

from __future__ import annotations

import contextlib
import io
import math
import pickle
import shutil
import signal
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import submitit
from filelock import FileLock, Timeout
from submitit.core.job_environment import JobEnvironment

from src import packs, store
from src.checks import ConfigError, InputError
from src.engines import Death, Ended, Engine, EngineError, nodes, parcels
from src.engines.child import answer, answered, asked
from src.engines.parcels import Parcel, Trained
from src.engines.settings import ONE_THREAD, PREFIX, Settings
from src.engines.slurm_leftovers import Leftovers, remove
from src.packs import GPU_MEMORY_PER_RUN
from src.run import Job

NAME = "dropout-sweeps"
"""Of every job, for squeue."""

JOBS = 16
"""Slurm jobs queued or running at a time, unless `hydra.launcher.n_jobs` says otherwise."""

LOOK_SECONDS = 2.0
"""Seconds between two calls of squeue: the controller has others to serve."""

GRACE_SECONDS = 10.0
"""How late a file of a job that has ended may come into sight on a shared disk."""

GPU_MEMORY = 16 * 2**30
"""What a job is made for at least, where there is as much to do. Which GPU it gets is not known before it starts;
it then looks at its own, and trains as much at a time as that holds."""

UNDER_WAY = {
    *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "STAGE_OUT", "RESIZING"),
    *("SIGNALING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD"),
}


@dataclass
class _Pack:
    jobs: list[Job]
    """Those whose results have not come yet, in the order in which they will."""
    own: str
    """What the names of its results begin with."""
    end: Path
    """Where submitit puts how the job ended."""
    stack: int
    """Runs that train at a time, as far as is known: on a GPU the results tell."""
    taken: int = 0
    """Results that have come."""


class Backend(Engine):
    pack_seconds, largest_pack = 120.0, 1000

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder: Path | None = None
        self._running: dict[str, _Pack] = {}  # by Slurm's job id
        # jobs that have ended and left results out so far, and how they ended
        self._ended_at: dict[str, tuple[float, str]] = {}
        self._known: list[Ended] = []
        self._alive: list[FileLock] = []  # held as long as this process lives; the system frees it
        self._looked = 0.0
        self._gpus = settings.gpus or 0
        if shutil.which("sbatch") is None:
            right = "there is no sbatch here; start the sweep where jobs are submitted"
            raise ConfigError(PREFIX + "backend", settings.backend, right)

    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        self._gpus = parcels.gpus(self._settings, jobs)
        self._most = self._settings.n_jobs or JOBS
        self.workers = min(self._most, at_once)
        if self._gpus:
            # how many GPUs are to be had is not known either: few full jobs, and larger ones rather than more
            share = math.ceil(at_once / self._most) * GPU_MEMORY_PER_RUN
            self.workers, self.gpu_memory = 1, max(GPU_MEMORY, share)
        place = Path(jobs[0].run.output).absolute() / ".slurm"
        self._left = _sweep_up(place)
        self._folder = place / uuid.uuid4().hex[:12]
        code, results = self._folder / "code", self._folder / "results"
        code.mkdir(parents=True)
        results.mkdir()
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
        known, records = self._left.take(pack)
        if known:
            self._known.append((known, records))
            there = {job.id for job in known}
            pack = [job for job in pack if job.id not in there]
            if not pack:
                return
        parcel = parcels.wrap(pack, self._settings, self._gpus > 0)
        own = uuid.uuid4().hex[:12]
        call = asked(_train, parcel, str(self._folder / "data"), str(self._folder / "results" / own))
        try:
            job = self._executor.submit(_answer, call)
        except (submitit.core.utils.FailedJobError, OSError, RuntimeError) as error:
            said = [line.rpartition("error: ")[2] for line in str(error).splitlines() if "error: " in line]
            why = " ".join("; ".join(said or [str(error)]).split())
            raise InputError(f"{PREFIX}backend=slurm: sbatch refuses ({why})") from None
        stack = packs.fitting(GPU_MEMORY) if self._gpus else 1
        self._running[job.job_id] = _Pack(pack, own, job.paths.result_pickle, stack)

    def wait(self) -> list[Ended]:
        news, self._known = self._known, []
        end = time.monotonic() + LOOK_SECONDS
        while not news and time.monotonic() < end:
            news = self._results() + self._ends()
            time.sleep(0 if news else 0.1)
        return news + self._deaths()

    def _results(self) -> list[Ended]:
        """Results of packs under way, each pack's in order; the last one comes with the job's end."""
        assert self._folder is not None
        # one look for all jobs, which also makes NFS look again
        there = {path.name for path in (self._folder / "results").iterdir()}
        news: list[Ended] = []
        for pack in self._running.values():
            while (name := f"{pack.own}-{pack.taken}") in there:
                path = self._folder / "results" / name
                trained: list[Trained] = pickle.loads(path.read_bytes())
                pack.stack = len(trained)
                ended, pack.jobs = pack.jobs[: pack.stack], pack.jobs[pack.stack :]
                news.append((ended, parcels.unwrap(ended, trained)))
                path.unlink()
                pack.taken += 1
        return news

    def _ends(self) -> list[Ended]:
        """The last results of jobs that have ended well."""
        news: list[Ended] = []
        for number, pack in list(self._running.items()):
            if not pack.end.exists():
                continue
            kind, found = pickle.loads(pack.end.read_bytes())
            if kind != "success":  # ours never raises: it is submitit that tells of a time limit
                self._ended_at.setdefault(number, (time.monotonic(), str(found).strip().splitlines()[-1]))
                continue
            try:
                trained = answered(found)
            except RuntimeError as error:
                raise EngineError(f"{PREFIX}backend=slurm: job {number} cannot train ({error})") from None
            if len(trained) == len(pack.jobs):
                news.append((pack.jobs, parcels.unwrap(pack.jobs, trained)))
                self._forget(number)
            else:
                how = f"results of Slurm job {number} do not come into sight"
                self._ended_at.setdefault(number, (time.monotonic(), how))
        return news

    def _forget(self, number: str) -> None:
        pack = self._running.pop(number)
        self._ended_at.pop(number, None)
        for file in pack.end.parent.glob(f"{number}_*"):
            file.unlink(missing_ok=True)

    def _deaths(self) -> list[Ended]:
        """What is missing of jobs that have ended a while ago."""
        now = time.monotonic()
        if self._running and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            states = _states(list(self._running))
            for number in self._running if states is not None else ():
                state = states.get(number, "gone")  # type: ignore[union-attr]
                if state not in UNDER_WAY:
                    self._ended_at.setdefault(number, (now, f"Slurm job {number}: {state}"))
        if self._ended_at and self._folder:
            list((self._folder / "jobs").iterdir())  # which makes NFS look again
        news: list[Ended] = []
        for number, (ended, how) in list(self._ended_at.items()):
            if now - ended > GRACE_SECONDS:
                pack = self._running[number]
                news.append((pack.jobs, Death(how, pack.stack)))
                self._forget(number)
        return news

    def close(self) -> None:
        if self._running:
            _cancel(self._running)
            self._running.clear()
        if self._folder is not None:
            remove(self._folder)
        for lock in self._alive:
            lock.release()


def _cancel(numbers: Iterable[str]) -> None:
    """First those that run, without the half minute that Slurm gives them; then those that wait."""
    for how in (["--signal=KILL", "--full"], []):
        command = ["scancel", f"--name={NAME}", *how, *numbers]
        subprocess.run(command, capture_output=True, check=False)


def _sweep_up(place: Path) -> Leftovers:
    """Cancels the jobs of sweeps whose main process was killed; what they have left."""
    left = Leftovers()
    for folder in place.glob("*/"):
        lock = FileLock(folder / "lock")
        with contextlib.suppress(Timeout, OSError):
            lock.acquire(timeout=0)
            # submitit's own files are beside the jobs'
            numbers = {path.name.partition("_")[0] for path in (folder / "jobs").glob("*_*")}
            if numbers := {number for number in numbers if number.isdigit()}:
                _cancel(numbers)
            lock.release()  # a file that is open cannot be removed everywhere
            left.add(folder)
    return left


def _states(numbers: list[str]) -> dict[str, str] | None:
    """States of jobs as squeue tells them; None where it tells nothing, which is no death."""
    command = ["squeue", "--noheader", "--states=all", "--format=%i %T", f"--jobs={','.join(numbers)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip())


def _answer(call: bytes) -> bytes:
    """In the job."""
    # the warning of the time limit, at which submitit would raise: the run at hand would count as failed
    signal.signal(JobEnvironment._usr_sig(), signal.SIG_IGN)
    return answer(call, _nothing)


def _nothing() -> bytes:
    raise EOFError


def _train(parcel: Parcel, data: str, results: str) -> list[Trained]:
    """In the job; the data set is read from the shared disk where this node has none.

    Returns:
        The last results; those before are put into files, `results` and a number.
    """
    supply: Callable[[], bytes] | None = Path(data).read_bytes if Path(data).exists() else None
    left = len(parcel.jobs)
    for number, trained in enumerate(parcels.train(parcel, supply)):
        left -= len(trained)
        if not left:
            return trained
        store.write_whole(Path(f"{results}-{number}"), pickle.dumps(trained))
    return []
