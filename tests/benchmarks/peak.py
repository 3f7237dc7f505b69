"""Runs a module as `python -m` would and leaves this process's peak memory in a file.

    python -m tests.benchmarks.peak FILE MODULE [ARGUMENTS]

The file holds the largest size of the resident set in bytes, without the processes that the module starts.
"""

from __future__ import annotations

import atexit
import resource
import runpy
import sys
from pathlib import Path


def main() -> None:
    file, module = Path(sys.argv[1]), sys.argv[2]
    unit = 1 if sys.platform == "darwin" else 1024

    def leave() -> None:
        file.write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit), encoding="utf-8")

    atexit.register(leave)
    sys.argv[:] = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
