"""Fashion-MNIST's four files: found or fetched, and checked against SHA-256 sums each time they are used.

Looked for in `data.root`, the system's copy, torchvision's download and Debian's package, in this order.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from filelock import FileLock

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_ROOT = ".data"
LAYOUT = Path("FashionMNIST", "raw")
"""torchvision's place for the files within its root."""

PACKAGE, IN_PACKAGE = "dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"
"""The package of Debian and Ubuntu that holds Fashion-MNIST, and its folder there."""

SYSTEM = Path("/", IN_PACKAGE)

REMEDY = "delete the file, and it is fetched anew, or give another folder"

SILENCE_S, DOWNLOAD_S, APT_S = 15, 600, 300
"""Longest wait for a mirror's next byte, for torchvision's whole download, for one apt command; seconds."""

FILES = {
    "train-images-idx3-ubyte": (47040016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    "train-labels-idx1-ubyte": (60008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte": (7840016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "t10k-labels-idx1-ubyte": (10008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}
"""Fashion-MNIST's files, decompressed: length and SHA-256."""


class DataError(ValueError):
    """What the user can put right, in one line: a bad value, a damaged file, no source for a data set."""


class SourceError(Exception):
    """Why one source does not give the data set; the next one is tried."""


class DamagedError(SourceError):
    """A file that is not what its name says: truncated, altered or swapped."""


def resolve(root: str | Path | None) -> Path:
    """`data.root` as an absolute folder: from the repository's root, wherever the process runs."""
    return REPOSITORY / Path(root or DEFAULT_ROOT).expanduser()


def fashion_mnist_folder(root: Path) -> Path:
    """Folder of the four verified, decompressed IDX files, got from the first source that has them.

    If `root` holds them decompressed they stay where they are. Else they are put into it, in torchvision's
    layout, or, where it may not be written to, into the user's cache.

    Raises:
        DataError: if `root` cannot be used, holds a damaged file, or no source has the files.
    """
    try:
        target = _complete(root) or _fetched(root)
        for name in FILES:
            check(target / name)
    except DamagedError as damage:
        raise DataError(f"data.root: {damage}; {REMEDY}") from None
    except OSError as error:
        raise DataError(f"data.root={root}: {_one_line(error)}; give one you may read and write") from error
    return target


def _complete(root: Path) -> Path | None:
    return next((at for at in (root / LAYOUT, root) if all((at / name).is_file() for name in FILES)), None)


def _fetched(root: Path) -> Path:
    target = _target(root)
    # A lock of the operating system: a process that dies gives it back.
    with FileLock(target.parent / ".lock"):
        if not _complete(target):  # another process may have been here while we waited
            _fetch(root, target)
    return target


def _target(root: Path) -> Path:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"data.root={root}: must be a folder, or allow one ({error.strerror})") from None
    target = root / LAYOUT
    there = filter(Path.exists, (root, target.parent, target))
    if not all(os.access(folder, os.W_OK | os.X_OK) for folder in there):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        target = cache / "dropout-sweeps" / LAYOUT
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _fetch(root: Path, target: Path) -> None:
    """Fill `target` from the first source that gives all four files intact; the caller holds its lock.

    What a source put into a private folder is checked there and only then renamed into place, the note of its
    origin last: an interrupted fetch leaves at most a private folder, which the next one deletes.
    """
    for orphan in target.parent.glob(".fetch-*"):
        shutil.rmtree(orphan, ignore_errors=True)
    reasons = []
    for source, fill in SOURCES.items():
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as folder:
            private = Path(folder)
            try:
                log.info("Fashion-MNIST: trying %s", source)
                origin = fill(root, private)
                for name in FILES:
                    check(private / name)
                (private / "SOURCE").write_text(f"{origin}\n", encoding="utf-8")
            except (SourceError, OSError) as error:
                reason = _one_line(error)
                log.log(logging.WARNING if isinstance(error, DamagedError) else logging.INFO, "  %s", reason)
                reasons.append(f"{source}: {reason}")
                continue
            target.mkdir(exist_ok=True)
            for name in FILES:
                if not (target / name).exists():
                    (private / name).replace(target / name)
            (private / "SOURCE").replace(target / "SOURCE")
            return
    raise DataError(
        f"Fashion-MNIST cannot be had ({'; '.join(reasons)}). Any of these helps: "
        f"install Debian's package {PACKAGE}; put {', '.join(f'{name}.gz' for name in FILES)} into {root}; "
        "name a folder that holds them by data.root; use data=digits, which needs nothing from outside"
    )


def origin_of(folder: Path) -> str:
    """Whence the files in `folder` came."""
    note = folder / "SOURCE"
    return note.read_text(encoding="utf-8").strip() if note.is_file() else "found there, not fetched by us"


def dataset_in(folder: Path) -> Any:
    """torchvision's FashionMNIST, its files in `folder` itself."""
    from src import vision  # imports torch, which finding files can do without

    class FashionMNIST(vision.fashion_mnist()):  # type: ignore[misc]
        raw_folder = str(folder)
        # From an old `processed/` torchvision would read other files than the ones that were checked.
        processed_folder = os.devnull

    return FashionMNIST


# Sources: each fills a private folder with the four decompressed files and says whence they came, or raises
# SourceError with what is missing or damaged.


def from_root(root: Path, private: Path) -> str:
    """What the user put into `data.root` in another form than the one we read: compressed, or scattered.

    A damaged file is a DataError here: it is the user's, so we do not go past it to another source.
    """
    try:
        unpack((root / LAYOUT, root), private)
    except DamagedError as damage:
        raise DataError(f"data.root: {damage}; {REMEDY}") from None
    return f"files in {root}"


def from_system(root: Path, private: Path) -> str:
    """The folder in which Debian's package puts Fashion-MNIST."""
    unpack((SYSTEM,), private)
    return f"the system's copy in {SYSTEM}"


def from_torchvision(root: Path, private: Path) -> str:
    """torchvision's own download. It has no time limit, so it gets ours."""
    dataset = dataset_in(private)
    mirror = dataset.mirrors[0]
    probe = urllib.request.Request(mirror + dataset.resources[0][0], method="HEAD")
    _within(SILENCE_S, lambda: urllib.request.urlopen(probe, timeout=SILENCE_S).close())

    def download() -> None:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(SILENCE_S)
        try:
            dataset(private, download=True)
        finally:
            socket.setdefaulttimeout(before)

    _within(DOWNLOAD_S, download)
    return f"torchvision's download from {mirror}"


def from_apt(root: Path, private: Path) -> str:
    """Debian's package, downloaded and unpacked without being installed: this needs no rights of root's."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise SourceError("apt-get is not on this machine")
    with tempfile.TemporaryDirectory(prefix="dropout-sweeps-apt-") as folder:
        at = Path(folder)
        options = at / "apt.conf"
        options.write_text(_APT_OPTIONS, encoding="utf-8")
        try:
            _run(["apt-get", "-q", "-c", options, "download", PACKAGE], at)
        except SourceError:
            log.info("  no package by the system's lists: fetching lists of our own")
            (at / "lists" / "partial").mkdir(parents=True)
            (at / "cache" / "archives" / "partial").mkdir(parents=True)
            options.write_text(_APT_OPTIONS + _APT_PRIVATE.format(at=at), encoding="utf-8")
            # Its status is no verdict: a foreign source that is out of reach fails it, too.
            _run(["apt-get", "-q", "-c", options, "update"], at, check=False)
            _run(["apt-get", "-q", "-c", options, "download", PACKAGE], at)
        if not (package := next(at.glob(f"{PACKAGE}_*.deb"), None)):
            raise SourceError("apt-get reported success and left no package")
        _run(["dpkg-deb", "-x", package, at / "unpacked"], at)
        unpack((at / "unpacked" / IN_PACKAGE,), private)
        return f"the Debian package {package.name}, by apt-get download"


SOURCES: dict[str, Callable[[Path, Path], str]] = {
    "data.root": from_root,
    "the system's copy": from_system,
    "torchvision's download": from_torchvision,
    "apt-get": from_apt,
}
"""Where Fashion-MNIST is looked for, in order."""

# The sandbox's user could not enter our private folder; Debian's signature and our sums guard what comes.
_APT_OPTIONS = """\
Acquire::http::Timeout "15";
Acquire::https::Timeout "15";
Acquire::Retries "1";
APT::Sandbox::User "root";
"""

# Lists of our own, and none of the system's chores after an update: they would want root's rights.
_APT_PRIVATE = """\
Dir::State::lists "{at}/lists";
Dir::Cache "{at}/cache";
Acquire::Languages "none";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


def _run(command: list[str | Path], at: Path, check: bool = True) -> None:
    environment, nothing = {**os.environ, "LC_ALL": "C"}, subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, cwd=at, env=environment, timeout=APT_S, stdin=nothing, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        raise SourceError(f"{command[0]} was not done within {APT_S} s") from None
    if check and done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg"))]
        raise SourceError(said[0] if said else f"{command[0]} failed with status {done.returncode}")


def _within(seconds: float, action: Callable[[], object]) -> None:
    """Do `action`, or raise a SourceError; a socket's timeout does not cover a silent name server, this does."""
    done: Future[object] = Future()

    def act() -> None:
        try:
            done.set_result(action())
        except Exception as error:
            done.set_exception(error)

    threading.Thread(target=act, daemon=True).start()
    try:
        done.result(seconds)
    except TimeoutError:
        raise SourceError(f"no answer within {seconds} s") from None
    except Exception as error:
        raise SourceError(_one_line(error)) from error


# Files


def check(path: Path) -> None:
    """Raises a DamagedError if a decompressed file does not hold what its name says."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        _judge(path, path.name, file.tell(), digest)


def unpack(folders: Sequence[Path], into: Path) -> None:
    """Put the four files into `into`, decompressed and checked, each from the first of `folders` that has it.

    A damaged file is told before a missing one.
    """
    candidates = {name: [at / f"{name}{end}" for at in folders for end in ("", ".gz")] for name in FILES}
    found = {name: next(filter(Path.is_file, paths), None) for name, paths in candidates.items()}
    for name, path in found.items():
        if path is not None:
            (into / name).write_bytes(_content(path, name))
    if missing := [name for name, path in found.items() if path is None]:
        what = "none of the files" if len(missing) == len(FILES) else f"no {', '.join(missing)}"
        raise SourceError(f"{what} in {' or '.join(str(at) for at in folders)}")


def _content(path: Path, name: str) -> bytes:
    """Content of the file called `name`, decompressed and checked, from `path`, which may be compressed."""
    too_much = FILES[name][0] + 1
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(too_much)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DamagedError(f"{path} is damaged: {_one_line(error)}") from None
    _judge(path, name, len(content), hashlib.sha256(content).hexdigest())
    return content


def _judge(path: Path, name: str, length: int, digest: str) -> None:
    right_length, right_digest = FILES[name]
    if digest == right_digest:
        return
    twin = next((other for other, (_, known) in FILES.items() if known == digest), None)
    if twin is not None:
        problem = f"is swapped: it holds {twin}"
    elif length < right_length:
        problem = f"is truncated: {length} of {right_length} bytes"
    elif length > right_length:
        problem = f"is damaged: longer than {right_length} bytes"
    else:
        problem = f"is damaged: its SHA-256 is {digest[:12]}…, not {right_digest[:12]}…"
    raise DamagedError(f"{path} {problem}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
