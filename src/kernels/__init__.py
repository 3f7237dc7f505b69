"""Matrix products: the fastest kernel of float32's own accuracy that is at hand, by the kind of processor.

`torch.mm` is MKL in torch's wheels for x86. On processors of other makers than Intel, MKL takes its code for AVX2
also where there is AVX-512: half the rate of oneDNN, which is in the same wheel, or of the OpenBLAS in scipy's.
The rule reads the processor and what is installed and times nothing, so that every process on one kind of
processor answers alike and a run's numbers stay the same to the byte.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_info, threadpool_limits
from torch import Tensor

from src.errors import InputError

LANES = 32
"""See `sum_lanes`."""

KERNELS = ("torch", "onednn", "openblas")
ONEDNN: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
"""Torch's setting of the products that it may hand to oneDNN."""

CUDA: Any = torch.backends.cuda.matmul
PRECISIONS = ("float32", "tf32")
"""Of products on a GPU. TF32 rounds what is multiplied to 10 bits behind the point and adds up in float32; weights
and all else stay float32."""

LARGEST_ERROR = 1e-6
"""In the Frobenius norm, relative to the exact product. At inner size 784 float32 leaves 2e-7 to 3e-7, TF32 3e-4
and bfloat16 2e-3."""


@cache
def processor() -> dict[str, str]:
    """Maker, model and instruction set of this processor, as far as the system tells.

    Runs are the same to the byte on processors of one maker and instruction set that take the same kernel.
    """
    maker, model = platform.processor() or platform.machine(), ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        named = dict(
            re.findall(r"^(vendor_id|model name)\s*: (.+)$", cpuinfo.read_text(errors="replace"), re.M)
        )
        maker, model = named.get("vendor_id", maker), named.get("model name", "")
    return {"maker": maker, "model": model, "instructions": torch.backends.cpu.get_cpu_capability()}


def missing(kernel: str) -> str | None:
    """Why this process cannot use a kernel; None if it can."""
    if kernel == "onednn":
        if not torch.backends.mkldnn.is_available():
            return "this build of torch has no oneDNN"
        if processor()["instructions"] != "AVX512":
            return "torch hands products of float32 to oneDNN only where the processor has AVX-512"
    if kernel == "openblas" and "openblas" not in _blas():
        return f"scipy's products are not OpenBLAS's here but {' and '.join(sorted(_blas())) or 'unknown'}"
    error = _error(kernel)
    if error > LARGEST_ERROR:
        return f"it rounds to fewer digits than float32 on this processor (relative error {error:.0e})"
    return None


@cache
def fastest() -> str:
    """The kernel that `matmul=auto` stands for on this processor."""
    intel = "Intel" in processor()["maker"]
    if intel or processor()["instructions"] != "AVX512" or not torch.backends.mkl.is_available():
        return "torch"
    return next(kernel for kernel in ("onednn", "openblas", "torch") if not missing(kernel))


def resolve(matmul: str) -> str:
    """The kernel that the config's `matmul` stands for here.

    Raises:
        InputError: if this process cannot use it.
    """
    if matmul == "auto":
        return fastest()
    if reason := missing(matmul):
        there = [kernel for kernel in KERNELS if not missing(kernel)]
        raise InputError("matmul", matmul, f"{reason}; choose auto or {' or '.join(there)}")
    return matmul


def check_precision(precision: str, device: str) -> None:
    """That a device can multiply so.

    Raises:
        InputError: if it cannot.
    """
    if precision == "tf32" and (device != "cuda" or torch.cuda.get_device_capability() < (8, 0)):
        right = "needs a GPU with TF32 (compute capability 8.0 or later); take float32"
        raise InputError("precision", precision, right)


@contextmanager
def using(kernel: str, precision: str = "float32") -> Iterator[None]:
    """Within it `multiply` takes one kernel (see `resolve`), on one thread; without it torch's, as torch is set.

    Products that autograd differentiates, and those of a user's own module, stay torch's under `openblas`.

    Args:
        precision: of products on a GPU; see `PRECISIONS`.
    """
    global _on_cpu
    before = _on_cpu, ONEDNN.fp32_precision, CUDA.fp32_precision
    CUDA.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    # the setting lets torch take oneDNN's kernels, which round to bfloat16 only where the processor multiplies such
    # numbers by itself (AMX); `missing` sees that
    ONEDNN.fp32_precision = "bf16" if kernel == "onednn" else "ieee"
    try:
        if kernel == "openblas":
            _on_cpu = _by_openblas
            with threadpool_limits(1, user_api="blas"):
                yield
        else:
            _on_cpu = _by_torch
            yield
    finally:
        _on_cpu, ONEDNN.fp32_precision, CUDA.fp32_precision = before


def multiply(out: Tensor, left: Tensor, right: Tensor, beta: float = 0.0, alpha: float = 1.0) -> Tensor:
    """out ← beta · out + alpha · left @ right, in place.

    Args:
        out: (n, m), or (R, n, m) for R pairs of matrices; what it held does not count where beta is 0.
        left: (n, k) or (R, n, k).
        right: (k, m) or (R, k, m).

    Returns:
        `out` itself.
    """
    if out.dim() == 3:
        return torch.baddbmm(out, left, right, beta=beta, alpha=alpha, out=out)
    return _on_cpu(out, left, right, beta, alpha)


def sum_rows(rows: Tensor, out: Tensor) -> Tensor:
    """out ← the sum over the rows, of one run on a CPU one after the other, as `compiled` has it: the same numbers.

    Args:
        rows: (n, m) or (R, n, m).
        out: (m,) or (R, m).
    """
    if rows.dim() == 3 or rows.device.type != "cpu":
        return torch.sum(rows, -2, out=out)
    if rows.is_contiguous() and rows.shape[1] > 1:
        np.add.reduce(rows.numpy(), axis=0, out=out.numpy())
    else:  # numpy would add up in pairs what lies side by side
        out.numpy()[:] = np.add.accumulate(rows.numpy(), axis=0)[-1]
    return out


def sum_in_order(rows: Tensor) -> Tensor:
    """The sum over the second last dimension on a CPU, beginning with 0, one row after the other."""
    if rows.shape[-1] == 1:  # as in `sum_rows`
        return torch.from_numpy(np.add.accumulate(rows.numpy(), axis=-2)[..., -1, :] + 0)
    return torch.from_numpy(np.add.reduce(rows.numpy(), axis=-2, initial=0))


def sum_lanes(products: Tensor) -> Tensor:
    """The sum over the last dimension on a CPU, as `compiled` has it: of every 32nd number, then by halves.

    Args:
        products: (..., a multiple of 32).
    """
    sums = sum_in_order(products.unflatten(-1, (-1, LANES)))
    while sums.shape[-1] > 1:
        sums = torch.add(*sums.chunk(2, -1))
    return sums.squeeze(-1)


def _by_torch(out: Tensor, left: Tensor, right: Tensor, beta: float, alpha: float) -> Tensor:
    return torch.addmm(out, left, right, beta=beta, alpha=alpha, out=out)


def _by_openblas(out: Tensor, left: Tensor, right: Tensor, beta: float, alpha: float) -> Tensor:
    if out.device.type != "cpu":
        return _by_torch(out, left, right, beta, alpha)
    target = out
    if target.is_contiguous():  # BLAS counts along columns, and outᵀ = rightᵀ leftᵀ
        target, left, right = out.mT, right.mT, left.mT
    a, b, c = _columns(left), _columns(right), target.numpy()
    product = _sgemm()(alpha, a[0], b[0], beta, c, a[1], b[1], overwrite_c=True)
    if product is not c:  # `out` has gaps, and what was multiplied is a copy
        c[...] = product
    return out


@cache
def _sgemm() -> Callable[..., np.ndarray]:
    from scipy.linalg.blas import sgemm  # a third of a second, which only this kernel is worth

    return sgemm


def _columns(matrix: Tensor) -> tuple[np.ndarray, bool]:
    """A matrix as BLAS reads it without a copy, and whether that is its transpose."""
    transpose = matrix.is_contiguous()
    return (matrix.mT if transpose else matrix).numpy(), transpose


_on_cpu = _by_torch


def _blas() -> set[str]:
    """The libraries behind the products of numpy and scipy, such as openblas or mkl."""
    _sgemm()
    return {library["internal_api"] for library in threadpool_info() if library["user_api"] == "blas"}


@cache
def _error(kernel: str) -> float:
    """Of a product of normal entries, in the Frobenius norm and relative to the product in float64."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(shape, generator=generator) for shape in ((256, 784), (784, 256)))
    exact = left.double() @ right.double()
    with using(kernel):
        product = multiply(torch.empty(256, 256), left, right)
    return float((product - exact).norm() / exact.norm())
