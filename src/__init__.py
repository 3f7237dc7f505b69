"""Dropout sweeps: run as `python -m src.train` from the repository's root. Users import `dropout_sweeps`."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """For many imports: they make no garbage, and looking for it, then or later, takes a tenth of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
