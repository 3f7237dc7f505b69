"""A fork of the tests' template is what a process of its own is: output, exit code, folder, environment."""

from __future__ import annotations

from pathlib import Path

import forks
import pytest

MODULE = """
import os, sys
print(os.getcwd(), os.environ["WORD"], len(os.environ), sys.argv, __name__, sys.path[0])
sys.stderr.write("é\\n")
if sys.argv[1] == "raises":
    raise OSError("why")
sys.exit(int(sys.argv[1]) if sys.argv[1].isdigit() else sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["0", "7", "a b", "raises"])
def test_a_fork_is_what_a_process_is(tmp_path: Path, argument: str) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    fork, process = (
        run("mine", argument, cwd=tmp_path, WORD="x") for run in (forks.python, forks.fresh_python)
    )
    assert (fork.returncode, fork.stdout) == (process.returncode, process.stdout)
    assert fork.stdout.startswith(f"{tmp_path} x ")
    lines = [done.stderr.splitlines() for done in (fork, process)]
    assert (lines[0][0], lines[0][-1]) == (lines[1][0], lines[1][-1])
    assert (len(lines[0]) > 2) == (argument == "raises")
