"""Kernels of products: each gives float32's own digits, and the rule takes the right one."""

from __future__ import annotations

import pytest
import torch
from configs import DIGITS, make_run
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from src import config, kernels
from src.data import load_bytes
from src.engines import queue
from src.errors import InputError
from src.runs.job import Job, ready
from src.training.trainer import Images, train

CPU = torch.device("cpu")
THERE = [kernel for kernel in kernels.KERNELS if not kernels.missing(kernel)]
EPS = torch.finfo(torch.float32).eps
SIZES = st.integers(1, 40)


def matrix(rows: int, columns: int, layout: str, seed: int) -> torch.Tensor:
    """Normal entries, in rows, in columns, or as a part of something larger."""
    generator = torch.Generator().manual_seed(seed)
    if layout == "columns":
        return torch.randn(columns, rows, generator=generator).mT
    if layout == "part":
        return torch.randn(rows + 2, columns + 3, generator=generator)[1:-1, 2:-1]
    return torch.randn(rows, columns, generator=generator)


LAYOUTS = st.sampled_from(("rows", "columns", "part"))


@pytest.mark.parametrize("kernel", THERE)
@given(
    n=SIZES, k=SIZES, m=SIZES, layouts=st.tuples(LAYOUTS, LAYOUTS, LAYOUTS),
    beta=st.sampled_from((0.0, 1.0, 0.5)), alpha=st.sampled_from((1.0, -0.25)),
)  # fmt: skip
def test_a_product_in_place_whatever_the_layout(
    kernel: str, n: int, k: int, m: int, layouts: tuple[str, str, str], beta: float, alpha: float
) -> None:
    left, right, out = (
        matrix(rows, columns, layout, seed)
        for seed, (rows, columns, layout) in enumerate(zip((n, k, n), (k, m, m), layouts, strict=True))
    )
    exact = beta * out.double() + alpha * left.double() @ right.double()
    # each of an entry's k + 1 additions and k + 2 products is off by at most eps/2 of its size
    bound = (
        (k + 2)
        * EPS
        * (abs(beta) * out.double().abs() + abs(alpha) * left.double().abs() @ right.double().abs())
    )
    if not beta:
        out.fill_(float("nan"))
    with kernels.using(kernel):
        product = kernels.multiply(out, left, right, beta, alpha)
    assert product is out
    assert ((out - exact).abs() <= bound).all()


@pytest.mark.parametrize("kernel", THERE)
def test_stacks_of_matrices(kernel: str) -> None:
    left, right = torch.randn(3, 4, 5), torch.randn(3, 5, 2)
    with kernels.using(kernel):
        product = kernels.multiply(torch.ones(3, 4, 2), left, right, beta=1)
    torch.testing.assert_close(product, 1 + left @ right)


@pytest.mark.parametrize("kernel", THERE)
def test_every_kernel_at_hand_has_float32s_digits(kernel: str) -> None:
    assert kernels._error(kernel) < kernels.LARGEST_ERROR


def test_a_kernel_that_rounds_to_bfloat16_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As oneDNN does where the processor has AMX."""

    def rounding(
        out: torch.Tensor, left: torch.Tensor, right: torch.Tensor, beta: float, alpha: float
    ) -> torch.Tensor:
        return out.copy_((left.bfloat16() @ right.bfloat16()).float())

    monkeypatch.setattr(kernels, "_by_openblas", rounding)
    monkeypatch.setattr(kernels, "_blas", lambda: {"openblas"})
    kernels._error.cache_clear()
    try:
        reason = kernels.missing("openblas")
        assert reason is not None
        assert "fewer digits" in reason
        with pytest.raises(InputError, match=r"^matmul=openblas: it rounds to fewer digits than float32"):
            kernels.resolve("openblas")
    finally:
        kernels._error.cache_clear()


@pytest.mark.parametrize(
    ("maker", "instructions", "there", "right"),
    [
        ("GenuineIntel", "AVX512", ("torch", "onednn", "openblas"), "torch"),
        ("GenuineIntel", "AVX2", ("torch", "openblas"), "torch"),
        ("AuthenticAMD", "AVX512", ("torch", "onednn", "openblas"), "onednn"),
        ("AuthenticAMD", "AVX512", ("torch", "openblas"), "openblas"),
        ("AuthenticAMD", "AVX512", ("torch",), "torch"),
        ("AuthenticAMD", "AVX2", ("torch", "openblas"), "torch"),  # MKL's code for AVX2 is at the core's peak
        ("HygonGenuine", "AVX512", ("torch", "onednn"), "onednn"),
        ("0x41", "SVE256", ("torch", "openblas"), "torch"),
        ("arm", "DEFAULT", ("torch", "openblas"), "torch"),
    ],
)
def test_the_rule(
    maker: str, instructions: str, there: tuple[str, ...], right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        kernels, "processor", lambda: {"maker": maker, "model": "", "instructions": instructions}
    )
    monkeypatch.setattr(kernels, "missing", lambda kernel: None if kernel in there else "not here")
    monkeypatch.setattr("torch.backends.mkl.is_available", lambda: True)
    assert kernels.fastest.__wrapped__() == right


def test_a_kernel_that_is_not_there_says_why_and_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_blas", lambda: {"mkl"})
    with pytest.raises(InputError, match=r"^matmul=openblas: .* mkl; choose auto or torch"):
        kernels.resolve("openblas")
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    with pytest.raises(InputError, match=r"^matmul=onednn: .*no oneDNN; choose auto or torch$"):
        kernels.resolve("onednn")


def test_the_config_names_every_kernel() -> None:
    for kernel in ("auto", *kernels.KERNELS):
        assert make_run(matmul=kernel).matmul == kernel
    with pytest.raises(InputError, match=r"^matmul=mkl: must be one of auto, torch, onednn, openblas$"):
        make_run(matmul="mkl")


def test_no_part_of_the_id() -> None:
    assert len({str(config.result_config(make_run(matmul=kernel))) for kernel in ("auto", "torch")}) == 1


@pytest.mark.parametrize("kernel", THERE)
def test_one_thread_within_and_nothing_left_behind(kernel: str) -> None:
    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before = torch.backends.mkldnn.matmul.fp32_precision, kernels._on_cpu, threads()
    with kernels.using(kernel):
        assert kernel != "openblas" or set(threads()) == {1}
    assert (torch.backends.mkldnn.matmul.fp32_precision, kernels._on_cpu, threads()) == before


@pytest.mark.parametrize("kernel", THERE)
def test_training_goes_through_the_kernel(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every product of the book's net, in training and evaluation."""
    taken = []
    function = "_by_openblas" if kernel == "openblas" else "_by_torch"
    inner = getattr(kernels, function)

    def counted(*arguments: object) -> torch.Tensor:
        taken.append(torch.backends.mkldnn.matmul.fp32_precision)
        product: torch.Tensor = inner(*arguments)
        return product

    run = make_run(epochs=1, matmul=kernel, batch_size=1437, data=DIGITS)
    images = Images(load_bytes("digits", None, 0), torch.device("cpu"))
    kernels.resolve(kernel)  # which multiplies once to see its error
    monkeypatch.setattr(kernels, function, counted)
    train([run], images, 10, lambda rows: None)
    # a step's eight products, three of the test set's one batch, and two hidden layers in each of two probes
    assert taken == ["bf16" if kernel == "onednn" else "ieee"] * (8 + 3 + 4)


def test_precision_is_part_of_the_id_where_it_is_not_the_default() -> None:
    plain, exact, rounded = (
        config.result_config(run)
        for run in (make_run(), make_run(precision="float32"), make_run(precision="tf32"))
    )
    assert plain == exact and "precision" not in exact
    assert rounded == {**exact, "precision": "tf32"}
    with pytest.raises(InputError, match=r"^precision=fp8: must be one of float32, tf32$"):
        make_run(precision="fp8")


def test_a_cpu_refuses_tf32_before_anything_trains() -> None:
    right = r"^precision=tf32: needs a GPU with TF32 .*; take float32$"
    with pytest.raises(InputError, match=right):
        ready([make_run(data=DIGITS, precision="tf32")], writes=False)
    with pytest.raises(InputError, match=right):
        train(
            [make_run(data=DIGITS, precision="tf32")], Images(load_bytes("digits", None, 0), CPU), 10, print
        )


def test_precisions_do_not_share_a_stack() -> None:
    run = {precision: make_run(precision=precision, device="cuda") for precision in kernels.PRECISIONS}
    assert len({queue.kind(Job(r, {}, [], {})) for r in run.values()}) == 2


def test_precision_of_cuda_within_and_nothing_left_behind() -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    for precision, named in (("float32", "ieee"), ("tf32", "tf32")):
        with kernels.using("torch", precision):
            assert torch.backends.cuda.matmul.fp32_precision == named
        assert torch.backends.cuda.matmul.fp32_precision == before
