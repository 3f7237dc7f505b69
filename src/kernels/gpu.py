"""Whether a device can use `fused`, which Triton compiles for it."""

from __future__ import annotations

import logging
from functools import cache
from types import ModuleType

import torch

log = logging.getLogger(__name__)


@cache
def fused(device: torch.device) -> ModuleType | None:
    """The module `fused` where it runs, which is tried once; None where torch alone has to do.

    Triton comes with torch's builds for CUDA on Linux, and needs a C compiler.
    """
    if device.type != "cuda":
        return None
    try:
        from src.kernels import fused

        fused.levels(torch.zeros(1, 2, dtype=torch.int64, device=device), 0, 0, 1)
    except Exception as error:  # it is not installed, finds no compiler, or has no code for this GPU
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        log.warning("this GPU trains more slowly than it could, as Triton cannot be used: %s", reason)
        return None
    return fused
