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

from src.data import DataError
from src.data import fashion_mnist as fashion
from src.engines import nodes
from src.run import Job

CONTENT = {name: name.encode() * 3 for name in fashion.FILES}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of small files that pass for Fashion-MNIST; the node's cache is empty."""
    sums = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in CONTENT.items()}
    monkeypatch.setattr(fashion, "FILES", sums)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(nodes, "_found", {})
    folder = tmp_path / "root" / fashion.LAYOUT
    folder.mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    return tmp_path / "root"


def test_a_nodes_own_files_are_used(root: Path) -> None:
    assert nodes.has_data(str(root))
    assert nodes.held_data(str(root), lambda: pytest.fail("nothing is to be sent")) == str(root)


def test_a_node_without_files_gets_them_once(root: Path, tmp_path: Path) -> None:
    files, sent = nodes.data_files(str(root)), []

    def supply() -> bytes:
        sent.append(1)
        return files

    elsewhere = str(tmp_path / "elsewhere")
    assert not nodes.has_data(elsewhere)
    folder = nodes.held_data(elsewhere, supply)
    assert folder == nodes.held_data(elsewhere, supply) == str(tmp_path / "cache" / "dropout-sweeps")
    assert len(sent) == 1 and nodes.has_data(elsewhere)
    kept = Path(folder) / fashion.LAYOUT
    assert {name: (kept / name).read_bytes() for name in CONTENT} == CONTENT
    assert fashion.folder(Path(folder)) == kept
    assert not list(kept.parent.glob(".fetch-*"))


def test_damaged_files_are_replaced_and_never_kept(root: Path, tmp_path: Path) -> None:
    name = next(iter(CONTENT))
    (root / fashion.LAYOUT / name).write_bytes(b"damaged")
    assert not nodes.has_data(str(root))
    with pytest.raises(fashion.DamagedError):
        nodes.keep_data(pickle.dumps({**CONTENT, name: b"damaged"}))
    assert not nodes.has_data(str(root))
    with pytest.raises(DataError, match="this node has no Fashion-MNIST"):
        nodes.held_data(str(root))
    nodes.keep_data(pickle.dumps(CONTENT))
    assert nodes.held_data(str(root)) == str(tmp_path / "cache" / "dropout-sweeps")


def test_many_may_keep_at_once(root: Path) -> None:
    files = nodes.data_files(str(root))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(nodes.keep_data, [files] * 8))
    assert nodes.has_data("/nowhere")


def test_digits_are_on_every_node() -> None:
    digits, fashion = plain(data=DIGITS), plain()
    assert nodes.data_root([Job(make_run(data=DIGITS), digits, [], {}, 0)]) is None
    assert nodes.data_root([Job(make_run(), fashion, [], {}, 0)]) == str(REPOSITORY / ".data")


def test_the_code_is_sent_whole_and_alike() -> None:
    code = nodes.code()
    assert code == nodes.code()
    names = zipfile.ZipFile(io.BytesIO(code)).namelist()
    assert {"src/run.py", "src/engines/child.py", "src/noise/dropout.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]
