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

from src.data import REPOSITORY, DataError, resolve
from src.data import fashion_mnist as fashion
from src.run import Job

Supply = Callable[[], bytes]
"""Gives the data set, as `data_files` packed it, to a node that has none."""

SOURCE = "sent by the main process of a sweep"


def code() -> bytes:
    """`src/` as a zip, the same for the same files: workers run what this process runs, whatever they hold."""
    package = REPOSITORY / "src"
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(package.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                # without the time of day: Ray tells code it has already by its bytes
                entry = zipfile.ZipInfo(str(path.relative_to(package.parent)))
                archive.writestr(entry, path.read_bytes())
    return found.getvalue()


def data_root(jobs: Sequence[Job]) -> str | None:
    """The folder that these jobs take files from, as every node is to look for it; None where they need none."""
    roots = {job.run.data["root"] for job in jobs if job.run.data["name"] == "fashion_mnist"}
    return str(resolve(roots.pop())) if roots else None


def data_files(root: str) -> bytes:
    """The data set's files, verified, as they are sent."""
    folder = fashion.folder(Path(root))
    return pickle.dumps({name: (folder / name).read_bytes() for name in fashion.FILES})


def has_data(root: str) -> bool:
    """Whether this node has the files, in `root` or because they were sent before; verified."""
    return _held(root) is not None


def held_data(root: str, supply: Supply | None = None) -> str:
    """The folder of this node's files; they are asked for if it has none.

    Raises:
        DataError: if there are none, and nobody gives any.
    """
    folder = _held(root)
    if folder is None and supply is not None:
        keep_data(supply())
        folder = _held(root)
    if folder is None:
        raise DataError(f"data.root={root}: this node has no Fashion-MNIST there, and got none sent")
    return folder


def keep_data(files: bytes) -> None:
    """Put files that were sent into this node's cache, once, whoever else is about to."""
    target = _cache() / fashion.LAYOUT
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / ".lock"):
        if _verified(_cache()):
            return
        private = target.parent / ".fetch"
        for folder in (target, private):  # damaged, or left by a process that was killed
            shutil.rmtree(folder, ignore_errors=True)
        private.mkdir()
        for name, content in pickle.loads(files).items():
            (private / name).write_bytes(content)
            fashion.verify(private / name)
        (private / "SOURCE").write_text(f"{SOURCE}\n", encoding="utf-8")
        private.rename(target)


def gpu_memory() -> int:
    """Bytes that this process can still use of the GPU that it sees first; 0 without one."""
    import torch

    if not torch.cuda.is_available():
        return 0
    # what an earlier pack has left to torch's cache is free for the next one
    cached = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return int(torch.cuda.mem_get_info()[0] + cached)


def _cache() -> Path:
    """Where the user's cache holds what `data.root` cannot."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dropout-sweeps"


_found: dict[str, str] = {}


def _held(root: str) -> str | None:
    if root not in _found:
        for folder in (Path(root), _cache()):
            if _verified(folder):
                _found[root] = str(folder)
                break
    return _found.get(root)


def _verified(root: Path) -> bool:
    folder = next(
        (at for at in (root / fashion.LAYOUT, root) if (at / "train-images-idx3-ubyte").is_file()), None
    )
    try:
        for name in fashion.FILES if folder else ():
            fashion.verify(folder / name)  # type: ignore[operator]
    except (fashion.DamagedError, OSError):
        return False
    return folder is not None
