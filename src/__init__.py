"""Dropout sweeps: run as `python -m src.train` from the repository's root. Users import `dropout_sweeps`."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """While much is imported: that makes no garbage, and to look for it, now or later, takes a tenth of it."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
