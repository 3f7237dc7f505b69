"""`python _child.py ARGUMENTS`: `python -m src.train` for a call from Python. It ends with the caller's process."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

# in front: the caller's folder may hold packages named src or analysis, too
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))


def _end_with_caller() -> None:
    os.read(0, 1)  # the caller holds the other end of the pipe, and writes nothing
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_caller, daemon=True).start()
    from src import train
    from src.errors import events

    events.is_call = True
    sys.exit(train.main())
