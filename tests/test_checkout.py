"""`run.json` names the commit, and whether files differ from it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src import provenance

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], dict[str, object]]]:
    """The function itself, asked anew each time, of an empty folder."""
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)

    def asked() -> dict[str, object]:
        provenance.checkout.cache_clear()
        return dict(provenance.checkout())

    yield asked
    provenance.checkout.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@needs_git
def test_commit_and_whether_files_differ(
    tmp_path: Path, checkout: Callable[[], dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkout() == {}, "no checkout"
    git(tmp_path, "init", "-q")
    assert checkout() == {}, "no commit"
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("x = 1\n")
    (tmp_path / "README.md").write_text("a\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    clean = {"commit": git(tmp_path, "rev-parse", "HEAD").strip(), "dirty": False}
    assert checkout() == clean
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "runs.csv").write_text("id\n")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert checkout() == clean, "results are no code, and a hook's variables do not matter"
    (tmp_path / "src" / "b.py").write_text("x = 1\n")
    assert checkout() == {**clean, "dirty": True}, "a new component"
    (tmp_path / "src" / "b.py").unlink()
    (tmp_path / "README.md").write_text("b\n")
    assert checkout() == {**clean, "dirty": True}


def test_without_git_there_is_none(
    tmp_path: Path, checkout: Callable[[], dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout() == {}
