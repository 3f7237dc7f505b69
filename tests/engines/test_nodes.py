"""What a node is sent: the code as it is here, the data set where there is none, once and whole."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from configs import DIGITS, REPOSITORY, make_run, plain

from src.data import fashion_mnist as fashion
from src.engines import nodes
from src.runs import job as jobs_module
from src.runs.job import Job

CONTENT = {name: name.encode() * 3 for name in fashion.FILES}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of small files that pass for Fashion-MNIST; the node's cache is empty."""
    sums = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in CONTENT.items()}
    monkeypatch.setattr(fashion, "FILES", sums)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(nodes, "_held", {})
    folder = tmp_path / "root" / fashion.LAYOUT
    folder.mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    return tmp_path / "root"


def never() -> bytes:
    return pytest.fail("nothing is to be sent")


def test_a_nodes_own_files_are_used(root: Path) -> None:
    assert nodes.held_data(str(root), never) == str(root)


def test_a_node_without_files_gets_them_once(root: Path, tmp_path: Path) -> None:
    files, elsewhere = nodes.data_files(str(root)), str(tmp_path / "elsewhere")
    cache = tmp_path / "cache" / "dropout-sweeps"
    assert nodes.held_data(elsewhere, lambda: files) == str(cache)
    nodes._held.clear()  # as another process
    assert nodes.held_data(elsewhere, never) == str(cache)
    kept = cache / fashion.LAYOUT
    assert {name: (kept / name).read_bytes() for name in CONTENT} == CONTENT
    assert fashion.folder(cache) == kept
    assert not list(kept.parent.glob(".fetch-*"))


def test_damaged_files_are_replaced_and_never_kept(root: Path, tmp_path: Path) -> None:
    name = next(iter(CONTENT))
    (root / fashion.LAYOUT / name).write_bytes(b"damaged")
    with pytest.raises(fashion.DamagedError):
        nodes.held_data(str(root), lambda: pickle.dumps({**CONTENT, name: b"damaged"}))
    assert not (tmp_path / "cache" / "dropout-sweeps" / fashion.LAYOUT).exists()
    cache = str(tmp_path / "cache" / "dropout-sweeps")
    assert nodes.held_data(str(root), lambda: pickle.dumps(CONTENT)) == cache


def test_many_may_ask_at_once_and_it_is_sent_once(root: Path) -> None:
    files, asked = nodes.data_files(str(root)), []

    def supply() -> bytes:
        asked.append(1)
        return files

    with ThreadPoolExecutor(8) as threads:
        folders = set(threads.map(lambda number: nodes.held_data(f"/nowhere/{number}", supply), range(8)))
    assert len(folders) == len(asked) == 1


def test_digits_are_on_every_node() -> None:
    digits, fashion = plain(data=DIGITS), plain()
    assert nodes.data_root([Job(make_run(data=DIGITS), digits, [], {}, 0)]) is None
    assert nodes.data_root([Job(make_run(), fashion, [], {}, 0)]) == str(REPOSITORY / ".data")


def test_the_code_is_sent_whole_and_alike(tmp_path: Path) -> None:
    code = nodes.code()
    assert code == nodes.code()
    names = zipfile.ZipFile(io.BytesIO(code)).namelist()
    assert {"src/runs/job.py", "src/engines/child.py", "src/noise/dropout.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]
    nodes.unpack_code(tmp_path)
    assert (tmp_path / "src" / "runs" / "job.py").read_bytes() == Path(jobs_module.__file__).read_bytes()
