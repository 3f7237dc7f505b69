"""The page "Bring your own noise", done as it is written."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from configs import REPOSITORY

PAGE = REPOSITORY / "src" / "noise" / "README.md"


def test_the_page_works_as_written(tmp_path: Path) -> None:
    for name in ("src", "conf", "sweeps", "analysis"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    page = PAGE.read_text()
    files = re.findall(r"^`(\S+)`\n\n```\w+\n(.*?)^```", page, flags=re.M | re.S)
    assert len(files) == 2
    assert len(files[0][1].split("class")[1].splitlines()) < 15
    for name, text in files:
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(text)
    (commands,) = re.findall(r"^```sh\n(.*?)^```", page, flags=re.M | re.S)
    for line in commands.splitlines():
        _, *arguments = shlex.split(line)
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    report = next(tmp_path.glob("outputs/sweeps/*/report.md")).read_text()
    assert "dropout" in report and "flip" in report
    assert "index.html" in done.stdout
