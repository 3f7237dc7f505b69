"""Fashion-MNIST: four files, found or fetched, and checked against SHA-256 sums each time they are read.

Looked for in `data.root`, the system's copy, torchvision's download and Debian's package, in this order.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import shutil
import subprocess
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from src.data import Arrays, DataError, _torchvision

log = logging.getLogger(__name__)

LAYOUT = Path("FashionMNIST", "raw")
"""torchvision's place for the files within its root."""

PACKAGE, IN_PACKAGE = "dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"
"""The package of Debian and Ubuntu that holds Fashion-MNIST, and its folder there."""

SYSTEM = Path("/", IN_PACKAGE)

REMEDY = "delete the file, and it is fetched anew, or give another folder"

SILENCE_S, APT_S = 15, 300
"""Longest wait for a mirror's next byte, and for one apt command; seconds."""

FILES = {
    "train-images-idx3-ubyte": (47040016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    "train-labels-idx1-ubyte": (60008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte": (7840016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "t10k-labels-idx1-ubyte": (10008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}
"""The files, decompressed: length and SHA-256."""


class SourceError(Exception):
    """Why one source does not give the data set; the next one is tried."""


class DamagedError(SourceError):
    """A file that is not what its name says: truncated, altered or swapped."""


def read(options: dict[str, Any]) -> Arrays:
    """60,000 training and 10,000 test images (n, 1, 28, 28) of bytes, and labels from 0 to 9.

    Source: Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747.
    """
    location, mnist = folder(options["root"]), _torchvision.mnist()
    images = [mnist.read_image_file(str(location / name)).unsqueeze(1) for name in FILES if "images" in name]
    labels = [mnist.read_label_file(str(location / name)) for name in FILES if "labels" in name]
    return Arrays(images[0], labels[0], images[1], labels[1], scale=255, classes=10)


def origin(options: dict[str, Any]) -> str:
    """Where it is and comes from, as a part of a sentence."""
    location = folder(options["root"])
    note = location / "SOURCE"
    source = note.read_text(encoding="utf-8").strip() if note.is_file() else "files found in data.root"
    return f" in {location}, SHA-256 sums verified; source: {source}"


def folder(root: Path) -> Path:
    """Folder of the four verified, decompressed IDX files, got from the first source that has them.

    If `root` holds them decompressed they stay where they are. Else they are put into it, in torchvision's
    layout, or, where it may not be written to, into the user's cache.

    Raises:
        DataError: if `root` cannot be used, holds a damaged file, or no source has the files.
    """
    try:
        target = complete(root) or _fetched(root)
        verify(target)
    except DamagedError as damage:
        raise DataError(f"data.root: {damage}; {REMEDY}") from None
    except OSError as error:
        raise DataError(f"data.root={root}: {_one_line(error)}; give one you may read and write") from error
    return target


def verify(folder: Path) -> None:
    """Raises a DamagedError if a decompressed file in a folder does not hold what its name says."""
    for name in FILES:
        content(folder / name, name)


def complete(root: Path) -> Path | None:
    """The folder at or in `root` that has all files, decompressed; None if none has."""
    candidates = (root / LAYOUT, root)
    return next((path for path in candidates if all((path / name).is_file() for name in FILES)), None)


def _fetched(root: Path) -> Path:
    """Folder that holds the four files, put there from the first source that gives them all intact.

    An interrupted fetch leaves no half file in it, but a private folder whose archives the next one goes on from.
    """
    target, reasons = _target(root), []
    private = target.parent / ".fetch"
    # A lock of the operating system: a process that dies gives it back.
    with FileLock(target.parent / ".lock"):
        if complete(target):  # another process may have been here while we waited
            return target
        for source, give in SOURCES.items():
            log.info("Fashion-MNIST: trying %s", source)
            private.mkdir(exist_ok=True)
            try:
                folders, note = give(root, private)
                files = {**_contents(folders), "SOURCE": f"{note}\n".encode()}
            except (SourceError, OSError) as error:
                damaged = isinstance(error, DamagedError)
                log.log(logging.WARNING if damaged else logging.INFO, "  %s", _one_line(error))
                reasons.append(f"{source}: {_one_line(error)}")
                if damaged and give is from_root:  # the user's own file: no other source makes up for it
                    shutil.rmtree(private)
                    raise
                continue
            target.mkdir(exist_ok=True)
            for name, payload in files.items():
                if name == "SOURCE" or not (target / name).exists():
                    (private / name).write_bytes(payload)
                    (private / name).replace(target / name)
            shutil.rmtree(private)
            return target
        shutil.rmtree(private)
    raise DataError(
        f"no source gives Fashion-MNIST ({'; '.join(reasons)}). Any of these helps: "
        f"install Debian's package {PACKAGE}; put {', '.join(f'{name}.gz' for name in FILES)} into {root}; "
        "name a folder that holds them by data.root; use data=digits, which needs nothing from outside"
    )


def _target(root: Path) -> Path:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"data.root={root}: must be a folder, or allow one ({error.strerror})") from None
    target = root / LAYOUT
    there = filter(Path.exists, (root, target.parent, target))
    if not all(os.access(path, os.W_OK | os.X_OK) for path in there):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        target = cache / "dropout-sweeps" / LAYOUT
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


# Sources: each gives the folders that hold the files, compressed or not, and a note of where they came from. It may
# put them into the private folder that it is handed. Where it cannot, it raises SourceError.

Given = tuple[Sequence[Path], str]


def from_root(root: Path, private: Path) -> Given:
    """What the user put into `data.root` in another form than the one we read: compressed, or scattered."""
    return (root / LAYOUT, root), f"files in {root}"


def from_system(root: Path, private: Path) -> Given:
    """The folder in which Debian's package puts Fashion-MNIST."""
    return (SYSTEM,), f"the system's copy in {SYSTEM}"


def from_torchvision(root: Path, private: Path) -> Given:
    """The archives and mirrors that torchvision names; its own download would wait for a silent mirror for ever."""
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    download = pooch.HTTPDownloader(timeout=SILENCE_S, chunk_size=2**16)
    known, location, reasons = _torchvision.mnist().FashionMNIST, private / "torchvision", []
    for mirror in known.mirrors:
        try:
            for archive, md5 in known.resources:
                pooch.retrieve(mirror + archive, f"md5:{md5}", archive, location, downloader=download)
            return (location,), f"torchvision's download from {mirror}"
        except (requests.ConnectionError, requests.Timeout):
            reasons.append(f"{mirror} cannot be reached, or is silent for {SILENCE_S} s")
        except (requests.RequestException, ValueError) as error:
            reasons.append(_one_line(error))
    raise SourceError("; ".join(reasons))


def from_apt(root: Path, private: Path) -> Given:
    """Debian's package, downloaded and unpacked without being installed: this needs no rights of root's."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise SourceError("apt-get is not on this machine")
    location = private / "apt"
    shutil.rmtree(location, ignore_errors=True)
    for part in ("lists/partial", "cache/archives/partial"):
        (location / part).mkdir(parents=True)
    (location / "apt.conf").write_text(_APT_OPTIONS.format(location=location), encoding="utf-8")
    apt_get: list[str | Path] = ["apt-get", "-q", "-c", location / "apt.conf"]
    # Its status is no verdict: a foreign source that is out of reach fails it, too.
    _run([*apt_get, "update"], location, check=False)
    _run([*apt_get, "download", PACKAGE], location)
    if not (package := next(location.glob(f"{PACKAGE}_*.deb"), None)):
        raise SourceError("apt-get reported success and left no package")
    _run(["dpkg-deb", "-x", package, location], location)
    return (location / IN_PACKAGE,), f"the Debian package {package.name}, by apt-get download"


SOURCES: dict[str, Callable[[Path, Path], Given]] = {
    "data.root": from_root,
    "the system's copy": from_system,
    "torchvision's download": from_torchvision,
    "apt-get": from_apt,
}
"""Where Fashion-MNIST is looked for, in order."""

# Lists of our own, since many machines have none, and none of the system's chores after an update: they would want
# root's rights. The sandbox's user could not enter our folder; Debian's signature and our sums guard what comes.
_APT_OPTIONS = """\
Acquire::http::Timeout "15";
Acquire::https::Timeout "15";
Acquire::Retries "1";
Acquire::Languages "none";
APT::Sandbox::User "root";
Dir::State::lists "{location}/lists";
Dir::Cache "{location}/cache";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


def _run(command: list[str | Path], location: Path, check: bool = True) -> None:
    options: Any = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": APT_S}
    try:
        done = subprocess.run(command, cwd=location, env={**os.environ, "LC_ALL": "C"}, **options)
    except subprocess.TimeoutExpired:
        raise SourceError(f"{command[0]} was not done within {APT_S} s") from None
    if check and done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg"))]
        raise SourceError(errors[0] if errors else f"{command[0]} failed with status {done.returncode}")


def _contents(folders: Sequence[Path]) -> dict[str, bytes]:
    """The four files, decompressed and checked, each from the first of `folders` that has it.

    A damaged file is told before a missing one.
    """
    candidates = {name: [path / f"{name}{end}" for path in folders for end in ("", ".gz")] for name in FILES}
    paths = {name: next(filter(Path.is_file, places), None) for name, places in candidates.items()}
    contents = {name: content(path, name) for name, path in paths.items() if path is not None}
    if missing := [name for name in FILES if name not in contents]:
        what = "none of the files" if len(missing) == len(FILES) else f"no {', '.join(missing)}"
        raise SourceError(f"{what} in {' or '.join(str(location) for location in folders)}")
    return contents


def content(path: Path, name: str) -> bytes:
    """Content of the file called `name`, decompressed and checked, from `path`, which may be compressed.

    Raises:
        DamagedError: if it is not what its name says.
    """
    right_length, right_digest = FILES[name]
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            payload = file.read(right_length + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DamagedError(f"{path} is damaged: {_one_line(error)}") from None
    digest = hashlib.sha256(payload).hexdigest()
    if digest == right_digest:
        return payload
    twin = next((other for other, (_, known) in FILES.items() if known == digest), None)
    if twin is not None:
        problem = f"is swapped: it holds {twin}"
    elif len(payload) < right_length:
        problem = f"is truncated: {len(payload)} of {right_length} bytes"
    elif len(payload) > right_length:
        problem = f"is damaged: longer than {right_length} bytes"
    else:
        problem = f"is damaged: its SHA-256 is {digest[:12]}…, not {right_digest[:12]}…"
    raise DamagedError(f"{path} {problem}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
