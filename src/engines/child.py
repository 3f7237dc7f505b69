"""A process that trains for one that does not import us: `python -m src.engines.child FD`.

It reads pickled calls from a connection and answers each. It ends with its parent, and after a while without calls.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

IDLE_SECONDS = 20.0
"""A sweep whose main process was killed asks for nothing any more."""


def die_with(parent: int) -> None:
    """Ends this process when its parent is gone, even by kill -9: no orphan goes on training."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def asked(function: Callable[..., Any], *arguments: Any, attached: int = 0) -> bytes:
    """A call as it is sent; so many messages of bytes follow it as further arguments."""
    return pickle.dumps((function, arguments, attached))


def answered(answer: bytes) -> Any:
    """What a call returned.

    Raises:
        RuntimeError: naming the exception that the call raised.
    """
    value, error = pickle.loads(answer)
    if error is not None:
        raise error
    return value


def answer(call: bytes, receive: Callable[[], bytes]) -> bytes:
    """Does what `asked` asks for, and what came of it as `answered` reads it."""
    try:
        function, arguments, attached = pickle.loads(call)
        return pickle.dumps((function(*arguments, *[receive() for _ in range(attached)]), None))
    except Exception as error:
        return pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}")))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(os.getppid())
    connection: Connection = Connection(int(sys.argv[1]))
    while connection.poll(IDLE_SECONDS):
        try:
            call = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(answer(call, connection.recv_bytes))


if __name__ == "__main__":
    main()
