"""Where Fashion-MNIST comes from, and that only intact files are used.

All on a data set of 30 images of 2x2 in the same four files.
"""

from __future__ import annotations

import gzip
import hashlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from src import data
from src.data import _torchvision
from src.data import fashion_mnist as fashion
from src.data.__main__ import main

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = fashion.FILES

Content = dict[str, bytes]


def idx(values: np.ndarray) -> bytes:
    """`values` in the IDX format of bytes."""
    return bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes() + values.tobytes()


def tiny_content() -> Content:
    """The four files of a data set of 20 training and 10 test images of 2x2."""
    pixels = np.arange(120, dtype=np.uint8).reshape(30, 2, 2)
    labels = (np.arange(30) % 10).astype(np.uint8)
    return {
        IMAGES: idx(pixels[:20]),
        LABELS: idx(labels[:20]),
        TEST_IMAGES: idx(pixels[20:]),
        TEST_LABELS: idx(labels[20:]),
    }


def table_of(content: Content) -> dict[str, tuple[int, str]]:
    return {name: (len(it), hashlib.sha256(it).hexdigest()) for name, it in content.items()}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Content:
    """The tiny data set takes Fashion-MNIST's place, and no source has it."""
    content = tiny_content()
    monkeypatch.setattr(fashion, "FILES", table_of(content))
    monkeypatch.setattr(fashion, "SYSTEM", tmp_path / "system")
    only(monkeypatch, "data.root", "the system's copy")
    return content


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(fashion, "SOURCES", {name: fashion.SOURCES[name] for name in names})


def put(folder: Path, content: Content, compressed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, it in content.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(it))
        else:
            (folder / name).write_bytes(it)


def files_below(folder: Path) -> dict[str, bytes]:
    """All files below, but for the lock, which stays."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def assert_holds(folder: Path, content: Content, source: str) -> None:
    """`folder` holds the four files, the note of their origin, and nothing is left beside it."""
    assert {name: (folder / name).read_bytes() for name in content} == content
    assert source in (folder / "SOURCE").read_text()
    assert [path.name for path in folder.parent.iterdir() if path.name != ".lock"] == ["raw"]


def refused(root: Path) -> str:
    """The one line with which `root` is refused."""
    with pytest.raises(data.DataError) as caught:
        fashion.folder(root)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# data.root


@pytest.mark.parametrize("place", ["FashionMNIST/raw", "."])
def test_intact_files_in_root_are_read_where_they_are(tiny: Content, tmp_path: Path, place: str) -> None:
    root = tmp_path / "root"
    put(root / place, tiny)
    before = files_below(root)
    assert fashion.folder(root) == root / place
    assert files_below(root) == before

    held = data.load_bytes("fashion_mnist", root)
    assert torch.equal(held.train_images, torch.arange(80, dtype=torch.uint8).reshape(20, 4))
    assert torch.equal(held.test_images, torch.arange(80, 120, dtype=torch.uint8).reshape(10, 4))
    assert torch.equal(held.test_labels, torch.arange(10))


@pytest.mark.parametrize("place", ["FashionMNIST/raw", "."])
def test_compressed_files_in_root_are_unpacked_once(tiny: Content, tmp_path: Path, place: str) -> None:
    root = tmp_path / "root"
    put(root / place, tiny, compressed=True)
    folder = fashion.folder(root)
    assert folder == root / "FashionMNIST" / "raw"
    assert_holds(folder, tiny, str(root))
    written = (folder / IMAGES).stat().st_mtime_ns
    assert fashion.folder(root) == folder
    assert (folder / IMAGES).stat().st_mtime_ns == written


def test_root_may_mix_forms_and_places(tiny: Content, tmp_path: Path) -> None:
    put(tmp_path / "root", {name: tiny[name] for name in (IMAGES, LABELS)}, compressed=True)
    put(tmp_path / "root" / fashion.LAYOUT, {name: tiny[name] for name in (TEST_IMAGES, TEST_LABELS)})
    assert_holds(fashion.folder(tmp_path / "root"), tiny, "root")


def test_only_what_is_missing_is_added_to_a_root(tiny: Content, tmp_path: Path) -> None:
    raw = tmp_path / "root" / fashion.LAYOUT
    put(raw, {name: it for name, it in tiny.items() if name != LABELS})
    put(fashion.SYSTEM, tiny)
    inode, written = (raw / IMAGES).stat().st_ino, (raw / IMAGES).stat().st_mtime_ns
    assert_holds(fashion.folder(tmp_path / "root"), tiny, "system")
    assert ((raw / IMAGES).stat().st_ino, (raw / IMAGES).stat().st_mtime_ns) == (inode, written)


def test_unwritable_root_is_unpacked_into_the_users_cache(
    tiny: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = tmp_path / "root", tmp_path / "cache"
    put(root, tiny, compressed=True)
    before = files_below(root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    access = os.access  # root may write everywhere, so a folder that may not be written to is played
    monkeypatch.setattr(
        os, "access", lambda path, mode: not Path(path).is_relative_to(root) and access(path, mode)
    )
    folder = fashion.folder(root)
    assert folder == cache / "dropout-sweeps" / "FashionMNIST" / "raw"
    assert_holds(folder, tiny, str(root))
    assert files_below(root) == before
    for path in root.iterdir():
        path.unlink()
    assert fashion.folder(root) == folder, "the cache is found again"


def test_relative_root_is_taken_from_the_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert data.resolve("here") == REPOSITORY / "here"
    assert data.resolve(None) == REPOSITORY / ".data"
    assert data.resolve(tmp_path) == tmp_path


@pytest.mark.parametrize("below", ["", "folder"])
def test_root_that_is_a_file_is_refused(tiny: Content, tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    message = refused(tmp_path / "file" / below)
    assert "data.root" in message and "file" in message
    assert (tmp_path / "file").read_text() == "mine"


# Damage

DAMAGE: dict[str, tuple[Callable[[Content], bytes], str]] = {
    "empty": (lambda content: b"", "truncated"),
    "truncated": (lambda content: content[IMAGES][:-1], "truncated"),
    "lengthened": (lambda content: content[IMAGES] + b"\0", "longer"),
    "altered": (lambda content: content[IMAGES][:-1] + b"\xff", "SHA-256"),
    "swapped": (lambda content: content[TEST_IMAGES], f"swapped: it holds {TEST_IMAGES}"),
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("whole", [False, True])
def test_damaged_file_in_root_is_named_refused_and_kept(
    tiny: Content, tmp_path: Path, kind: str, compressed: bool, whole: bool
) -> None:
    root = tmp_path / "root"
    alter, said = DAMAGE[kind]
    wrong = {**tiny, IMAGES: alter(tiny)}
    put(root, wrong if whole else {IMAGES: wrong[IMAGES]}, compressed)
    put(fashion.SYSTEM, tiny)  # an intact copy next door does not excuse it
    before = files_below(root)
    message = refused(root)
    assert str(root / IMAGES) in message and said in message and "delete" in message
    assert files_below(root) == before
    with pytest.raises(data.DataError, match=IMAGES):
        data.load_bytes("fashion_mnist", root)


@pytest.mark.parametrize("keep", [5, -4])
def test_truncated_archive_is_named(tiny: Content, tmp_path: Path, keep: int) -> None:
    put(tmp_path / "root", tiny, compressed=True)
    archive = tmp_path / "root" / f"{LABELS}.gz"
    archive.write_bytes(archive.read_bytes()[:keep])
    assert f"{archive} is damaged" in refused(tmp_path / "root")


def test_file_that_is_no_archive_is_named(tiny: Content, tmp_path: Path) -> None:
    put(tmp_path / "root", tiny, compressed=True)
    (tmp_path / "root" / f"{LABELS}.gz").write_text("<html>404</html>")
    assert f"{LABELS}.gz is damaged" in refused(tmp_path / "root")


def test_files_that_rot_after_the_fetch_are_refused(tiny: Content, tmp_path: Path) -> None:
    put(fashion.SYSTEM, tiny, compressed=True)
    folder = fashion.folder(tmp_path / "root")
    (folder / TEST_LABELS).write_bytes(tiny[TEST_LABELS][:-1] + b"\7")
    assert str(folder / TEST_LABELS) in refused(tmp_path / "root")
    (folder / TEST_LABELS).unlink()
    assert_holds(fashion.folder(tmp_path / "root"), tiny, "system")


def test_old_processed_folder_of_torchvision_is_not_read(tiny: Content, tmp_path: Path) -> None:
    put(tmp_path / "root", tiny)
    processed = tmp_path / "root" / "FashionMNIST" / "processed"
    processed.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(1, 2, 2, dtype=torch.uint8), torch.zeros(1).long()), processed / name)
    assert len(data.load_bytes("fashion_mnist", tmp_path / "root").train_labels) == 20


# The system's copy


@pytest.mark.parametrize("compressed", [False, True])
def test_system_copy(tiny: Content, tmp_path: Path, compressed: bool) -> None:
    put(fashion.SYSTEM, tiny, compressed)
    folder = fashion.folder(tmp_path / "root")
    assert folder == tmp_path / "root" / "FashionMNIST" / "raw"
    assert_holds(folder, tiny, str(fashion.SYSTEM))


def test_damaged_system_copy_is_passed_over(
    tiny: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(fashion.SYSTEM, {**tiny, TEST_LABELS: b"no"}, compressed=True)
    assert str(fashion.SYSTEM / f"{TEST_LABELS}.gz") in refused(tmp_path / "root")
    assert files_below(tmp_path / "root") == {}

    def give(root: Path, private: Path) -> fashion.Given:
        put(private, tiny)
        return (private,), "elsewhere"

    monkeypatch.setitem(fashion.SOURCES, "another", give)
    assert_holds(fashion.folder(tmp_path / "root"), tiny, "elsewhere")


# Order


def test_sources_are_tried_in_order_and_the_failure_lists_them(
    tiny: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    names = ["data.root", "the system's copy", "torchvision's download", "apt-get"]
    assert list(fashion.SOURCES.items()) == list(
        zip(
            names,
            (fashion.from_root, fashion.from_system, fashion.from_torchvision, fashion.from_apt),
            strict=True,
        )
    )
    tried: list[str] = []

    def failing(name: str) -> Callable[[Path, Path], str]:
        def give(root: Path, private: Path) -> fashion.Given:
            tried.append(name)
            (private / IMAGES).write_bytes(b"half")
            raise fashion.SourceError(f"reason\nof {len(tried)}")

        return give

    monkeypatch.setattr(fashion, "SOURCES", {name: failing(name) for name in names})
    message = refused(tmp_path / "root")
    assert tried == names
    for number, name in enumerate(names, start=1):
        assert f"{name}: reason of {number}" in message
    for way in (fashion.PACKAGE, f"{IMAGES}.gz", str(tmp_path / "root"), "data.root", "data=digits"):
        assert way in message
    assert files_below(tmp_path / "root") == {}


@pytest.mark.parametrize("wrong", [{}, {IMAGES: b"wrong"}])
def test_source_that_gives_less_than_it_says_is_passed_over(
    tiny: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Content
) -> None:
    def give(root: Path, private: Path) -> fashion.Given:
        put(private, {LABELS: tiny[LABELS], **wrong})
        return (private,), "liar"

    monkeypatch.setattr(fashion, "SOURCES", {"liar": give, **fashion.SOURCES})
    put(fashion.SYSTEM, tiny, compressed=True)
    assert_holds(fashion.folder(tmp_path / "root"), tiny, "system")


# torchvision's download, from a mirror of our own


@pytest.fixture
def mirror(tiny: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of the archives that a local mirror serves to torchvision's class."""
    served = tmp_path / "mirror"
    put(served, tiny, compressed=True)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(served))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    point_at(monkeypatch, served, server.server_port)
    yield served
    server.shutdown()
    server.server_close()


def point_at(monkeypatch: pytest.MonkeyPatch, served: Path, *ports: int) -> None:
    """The mirrors that torchvision names are on these ports, and `served` is what they hold."""
    sums = [
        (path.name, hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest())
        for path in sorted(served.glob("*.gz"))
    ]
    local = SimpleNamespace(mirrors=[f"http://127.0.0.1:{port}/" for port in ports], resources=sums)
    readers = _torchvision.mnist()
    module = SimpleNamespace(
        FashionMNIST=local, read_image_file=readers.read_image_file, read_label_file=readers.read_label_file
    )
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(_torchvision, "mnist", lambda: module)
    monkeypatch.setattr(fashion, "SOURCES", {"torchvision's download": fashion.from_torchvision})


def test_torchvision_names_what_is_downloaded() -> None:
    known = _torchvision.mnist().FashionMNIST
    assert [archive.removesuffix(".gz") for archive, _ in known.resources] == list(fashion.FILES)
    assert known.mirrors and all(
        mirror.startswith("http") and mirror.endswith("/") for mirror in known.mirrors
    )


def test_torchvision_download(mirror: Path, tiny: Content, tmp_path: Path) -> None:
    folder = fashion.folder(tmp_path / "root")
    assert_holds(folder, tiny, "torchvision's download from http://127.0.0.1")
    assert not list(folder.glob("*.gz"))


def test_torchvision_download_of_a_changed_archive(mirror: Path, tmp_path: Path) -> None:
    (mirror / f"{LABELS}.gz").write_bytes(gzip.compress(b"something else"))
    assert f"({LABELS}.gz) does not match the known hash" in refused(tmp_path / "root")
    assert files_below(tmp_path / "root") == {}


def test_torchvision_download_of_intact_archives_with_wrong_content(
    mirror: Path, tiny: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of({**tiny, LABELS: idx(np.zeros(20, np.uint8))})
    monkeypatch.setattr(fashion, "FILES", table)
    assert LABELS in refused(tmp_path / "root")
    assert files_below(tmp_path / "root") == {}


def test_missing_mirror(mirror: Path, tmp_path: Path) -> None:
    for path in mirror.iterdir():
        path.unlink()
    assert "404" in refused(tmp_path / "root")


def test_next_mirror_is_tried_where_one_is_out_of_reach(
    mirror: Path, tiny: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = int(_torchvision.mnist().FashionMNIST.mirrors[0].split(":")[2].strip("/"))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    point_at(monkeypatch, mirror, port, working)
    assert_holds(
        fashion.folder(tmp_path / "root"), tiny, f"torchvision's download from http://127.0.0.1:{working}"
    )
    point_at(monkeypatch, mirror, port)
    assert f"http://127.0.0.1:{port}/ cannot be reached" in refused(tmp_path / "other")


def test_archives_of_an_interrupted_download_are_not_fetched_again(
    mirror: Path, tiny: Content, tmp_path: Path
) -> None:
    private = tmp_path / "root" / "FashionMNIST" / ".fetch" / "torchvision"
    private.mkdir(parents=True)
    (mirror / f"{IMAGES}.gz").rename(private / f"{IMAGES}.gz")
    (private / f"{LABELS}.gz").write_bytes(b"half")
    (private.parent / TEST_LABELS).write_bytes(b"half")  # as it was being moved into place
    assert_holds(fashion.folder(tmp_path / "root"), tiny, "torchvision's download")


@pytest.mark.parametrize("said", [b"", b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"])
def test_silent_mirror_does_not_hold_us(
    tiny: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(fashion, "SILENCE_S", 0.2)
    put(tmp_path / "served", tiny, compressed=True)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answers: list[socket.socket] = []

        def answer() -> None:
            answers.append(silent.accept()[0])
            answers[0].sendall(said)

        threading.Thread(target=answer, daemon=True).start()
        point_at(monkeypatch, tmp_path / "served", silent.getsockname()[1])
        began = time.monotonic()
        assert "silent for 0.2 s" in refused(tmp_path / "root")
        assert time.monotonic() - began < 2
        answers[0].close()


# Debian's package, by an apt-get and a dpkg-deb of our own


@pytest.fixture
def apt(tiny: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder in front of PATH with an apt-get that knows the package; `calls` there notes what was asked."""
    tools, archives = tmp_path / "tools", tmp_path / "archives"
    put(archives, tiny, compressed=True)
    tools.mkdir()
    script(tools / "apt-get", DOWNLOAD)
    script(
        tools / "dpkg-deb",
        f'mkdir -p "$3/{fashion.IN_PACKAGE}"; cp "{archives}"/*.gz "$3/{fashion.IN_PACKAGE}"',
    )
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tools / "calls"))
    only(monkeypatch, "data.root")
    monkeypatch.setitem(fashion.SOURCES, "apt-get", fashion.from_apt)
    return tools


DOWNLOAD = "touch dataset-fashion-mnist_1-1_all.deb"
UNKNOWN = 'echo "W: sources" >&2; echo "E: Unable to locate package dataset-fashion-mnist" >&2; exit 100'


def script(path: Path, body: str) -> None:
    path.write_text(f'#!/bin/sh\nset -e\nprintf "%s\\n" "$*" >> "$CALLS"\n{body}\n')
    path.chmod(0o755)


def test_apt_package_by_lists_of_its_own(apt: Path, tiny: Content, tmp_path: Path) -> None:
    script(
        apt / "apt-get",
        f"""
        case "$*" in
        *update) grep -q "^Dir::State::lists \\"$PWD/lists\\"" "$3"; test -d lists/partial; touch lists/known
            grep -q "^Dir::Cache \\"$PWD/cache\\"" "$3"
            echo "E: a foreign source is out of reach" >&2; exit 100;;
        *) if test -e lists/known; then {DOWNLOAD}; else {UNKNOWN}; fi;;
        esac""",
    )
    source = "the Debian package dataset-fashion-mnist_1-1_all.deb"
    assert_holds(fashion.folder(tmp_path / "root"), tiny, source)
    calls = [line.split()[-1] for line in (apt / "calls").read_text().splitlines()]
    assert calls[:2] == ["update", fashion.PACKAGE]


def test_apt_without_the_package_or_network(apt: Path, tmp_path: Path) -> None:
    script(apt / "apt-get", UNKNOWN)
    assert "apt-get: E: Unable to locate package" in refused(tmp_path / "root")


def test_apt_that_lies(apt: Path, tmp_path: Path) -> None:
    script(apt / "apt-get", "true")
    assert "left no package" in refused(tmp_path / "root")


def test_package_with_other_files(apt: Path, tmp_path: Path) -> None:
    (tmp_path / "archives" / f"{LABELS}.gz").write_bytes(gzip.compress(b"other"))
    assert f"{LABELS}.gz is truncated" in refused(tmp_path / "root")
    assert files_below(tmp_path / "root") == {}


def test_apt_that_hangs(apt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion, "APT_S", 0.2)
    script(apt / "apt-get", "exec sleep 30")
    began = time.monotonic()
    assert "not done within" in refused(tmp_path / "root")
    assert time.monotonic() - began < 3


def test_machine_without_apt(apt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get is not on this machine" in refused(tmp_path / "root")


# Interruption and company: real processes, in which one slow source is all there is

CHILD = f"""
import hashlib, shutil, sys, time
from pathlib import Path
sys.path.insert(0, {str(REPOSITORY)!r})
from src.data import fashion_mnist as fashion

root, intact, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])

def entry(path):
    return (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())

def slow(root, private):
    first, second, third, fourth = fashion.FILES
    shutil.copy(intact / first, private)
    (private / second).write_bytes(b"half")
    with (root / "fetches").open("a") as notes:
        notes.write("one\\n")
    time.sleep(seconds)
    return (intact,), "the slow source"

fashion.FILES = {{name: entry(intact / name) for name in fashion.FILES}}
fashion.SOURCES = {{"slow": slow}}
print(fashion.folder(root))
"""


def child_in_mid_fetch(root: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that has written half a fetch into `root` and needs `seconds` for the rest."""
    root.mkdir(exist_ok=True)
    put(root.parent / "intact", tiny_content())
    command = [sys.executable, "-c", CHILD, str(root), str(root.parent / "intact"), str(seconds)]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while not (root / "fetches").exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.02)
    return process


def test_nothing_of_a_killed_fetch_is_trusted(tiny: Content, tmp_path: Path) -> None:
    root = tmp_path / "root"
    with child_in_mid_fetch(root, 60) as process:
        process.send_signal(signal.SIGKILL)
    assert (root / "FashionMNIST" / ".fetch" / LABELS).read_bytes() == b"half"
    assert not (root / fashion.LAYOUT).exists()

    assert "none of the files" in refused(root)
    put(fashion.SYSTEM, tiny, compressed=True)
    assert_holds(fashion.folder(root), tiny, "system")


def test_fetch_interrupted_from_the_keyboard_can_be_repeated(
    tiny: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(root: Path, private: Path) -> fashion.Given:
        put(private, {**tiny, LABELS: b"half"})
        raise KeyboardInterrupt

    monkeypatch.setattr(fashion, "SOURCES", {"interrupted": interrupted, **fashion.SOURCES})
    with pytest.raises(KeyboardInterrupt):
        fashion.folder(tmp_path / "root")
    assert not (tmp_path / "root" / fashion.LAYOUT).exists()
    only(monkeypatch, "the system's copy")
    put(fashion.SYSTEM, tiny)
    assert_holds(fashion.folder(tmp_path / "root"), tiny, "system")


@pytest.mark.parametrize("written", range(5))
def test_fetch_killed_between_its_files_goes_on(
    tiny: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Each file is put into place in one step; whatever is there when the process dies is whole."""
    put(fashion.SYSTEM, tiny)
    replace, replaced = Path.replace, list[Path]()

    def dying(self: Path, target: Path) -> Path:
        if len(replaced) == written:
            raise KeyboardInterrupt
        replaced.append(target)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", dying)
    with pytest.raises(KeyboardInterrupt):
        fashion.folder(tmp_path / "root")
    monkeypatch.setattr(Path, "replace", replace)
    put(
        fashion.SYSTEM,
        {name: held for name, held in tiny.items() if name not in {path.name for path in replaced}},
    )
    folder = fashion.folder(tmp_path / "root")
    assert {name: (folder / name).read_bytes() for name in tiny} == tiny


def test_second_process_waits_for_the_first_ones_fetch(tiny: Content, tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(fashion.SYSTEM, tiny)  # the second one's source, should it not wait
    with child_in_mid_fetch(root, 0.5) as process:
        assert fashion.folder(root) == root / fashion.LAYOUT
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert out.strip() == str(root / fashion.LAYOUT)
    assert (root / "fetches").read_text() == "one\n"
    assert_holds(root / fashion.LAYOUT, tiny, "the slow source")


# Command line


def test_command_says_where_and_whence(
    tiny: Content, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(fashion.SYSTEM, tiny, compressed=True)
    assert main(["--root", str(tmp_path / "root")]) == 0
    said = capsys.readouterr().out
    assert str(tmp_path / "root" / fashion.LAYOUT) in said and str(fashion.SYSTEM) in said
    assert "20 training and 10 test images" in said


def test_command_without_a_source(
    tiny: Content, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert main(["--root", str(tmp_path / "root")]) == 2
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1 and "no source gives Fashion-MNIST" in errors
