"""A process that trains for one that does not import us: `python -m src.engines.child FD`.

It reads packs from a connection and answers each. It ends with its parent, and after a while without packs.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

IDLE_SECONDS = 20.0
"""A sweep whose main process was killed asks for nothing any more."""

NO_DATA = b"no data"
"""In place of an answer: send the data set first."""


def die_with(parent: int) -> None:
    """Ends this process when its parent is gone, even by kill -9: no orphan goes on training."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    from src.engines import parcels

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(os.getppid())
    connection: Connection = Connection(int(sys.argv[1]))

    def supply() -> bytes:
        connection.send_bytes(NO_DATA)
        return connection.recv_bytes()

    while connection.poll(IDLE_SECONDS):
        answer: tuple[Any, str | None]
        try:
            jobs, shared = pickle.loads(connection.recv_bytes())
            answer = parcels.train(jobs, shared, supply), None
        except EOFError:
            return
        except Exception as error:
            answer = None, f"{type(error).__name__}: {error}"
        connection.send_bytes(pickle.dumps(answer))


if __name__ == "__main__":
    main()
