"""What a node needs before it can train: the project's code, the data set. Sent once a node, never once a pack."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock

from src.data import fashion_mnist as fashion
from src.data import resolve
from src.errors import REPOSITORY
from src.runs.job import Job

SOURCE = "sent by the main process of a sweep"


def code() -> bytes:
    """`src/` as a zip: workers run what this process runs, whatever they hold."""
    package, content = REPOSITORY / "src", io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in package.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(package.parent))
    return content.getvalue()


def unpack_code(into: str | Path) -> None:
    """Puts `src/` below a folder, as a node gets it."""
    with zipfile.ZipFile(io.BytesIO(code())) as archive:
        archive.extractall(into)


def data_root(jobs: Sequence[Job]) -> str | None:
    """The folder that these jobs take files from, as every node is to look for it; None where they need none."""
    roots = {job.run.data.root for job in jobs if job.run.data.name == "fashion_mnist"}
    return str(resolve(roots.pop())) if roots else None


def data_files(root: str) -> bytes:
    """The data set's files, verified, as they are sent."""
    folder = fashion.folder(Path(root))
    return pickle.dumps({name: (folder / name).read_bytes() for name in fashion.FILES})


def held_data(root: str, supply: Callable[[], bytes]) -> str:
    """The folder of this node's files: `root`, or what was sent to the user's cache. Verified once a process.

    Args:
        supply: gives the files, as `data_files` packed them, where there are none; asked once a node.
    """
    if root not in _held:
        _held[root] = root if _verified(Path(root)) else str(_kept(supply))
    return _held[root]


_held: dict[str, str] = {}


def _kept(supply: Callable[[], bytes]) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dropout-sweeps"
    target = cache / fashion.LAYOUT
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / ".lock"):
        if not _verified(cache):
            private = target.parent / ".fetch"
            for folder in (target, private):  # damaged, or left by a process that was killed
                shutil.rmtree(folder, ignore_errors=True)
            private.mkdir()
            for name, content in pickle.loads(supply()).items():
                (private / name).write_bytes(content)
            fashion.verify(private)
            (private / "SOURCE").write_text(f"{SOURCE}\n", encoding="utf-8")
            private.rename(target)
    return cache


def gpu_memory() -> int:
    """Bytes that this process can still use of the GPU that it sees first; 0 without one."""
    import torch

    if not torch.cuda.is_available():
        return 0
    # what an earlier pack has left to torch's cache is free for the next one
    cached = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return int(torch.cuda.mem_get_info()[0] + cached)


def _verified(root: Path) -> bool:
    folder = fashion.complete(root)
    try:
        if folder:
            fashion.verify(folder)
    except (fashion.DamagedError, OSError):
        return False
    return folder is not None
