"""What Triton computes is what torch and numpy compute: on a GPU, or on a CPU by Triton's interpreter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from configs import Compose, make_run
from hypothesis import given, settings
from hypothesis import strategies as st

from src.config import Run, parse
from src.data import Dataset
from src.kernels import gpu
from src.streams import Draws
from src.training.images import Images
from src.training.trainer import Trained, train

CPU = torch.device("cpu")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="module")
def fused() -> Iterator[ModuleType]:
    """The kernels, in use for `DEVICE`."""
    with pytest.MonkeyPatch.context() as patch:
        pytest.importorskip("triton")
        from src.kernels import fused

        patch.setattr(gpu, "fused", lambda device: fused if device.type == DEVICE.type else None)
        yield fused


@pytest.fixture(scope="module")
def few(digits: Dataset) -> Dataset:
    """Few images: the interpreter takes milliseconds for what a GPU does in microseconds."""
    parts = {
        f"{part}_{what}": 60 if part == "train" else 20
        for part in ("train", "test")
        for what in ("images", "labels")
    }
    return replace(digits, **{name: getattr(digits, name)[:count] for name, count in parts.items()})


@pytest.fixture
def without_triton(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on torch alone computes."""
    return lambda: monkeypatch.setattr(gpu, "fused", lambda device: None)


@pytest.mark.skipif(DEVICE == CPU, reason="this machine has no GPU")
def test_a_gpu_uses_triton() -> None:
    assert gpu.fused(DEVICE) is not None


def column(numbers: torch.Tensor) -> torch.Tensor:
    """The same numbers in memory with gaps, as the rates of a step lie among those of all steps."""
    return torch.stack([numbers, numbers + 7], -1)[..., 0]


@settings(max_examples=10)
@given(
    st.lists(st.integers(0, 2**128 - 1), min_size=1, max_size=3),
    st.integers(0, 2**50),
    st.integers(1, 300),
    st.sampled_from([0.0, 1e-7, 0.2, 0.5, 1.0]),
)
def test_draws(fused: ModuleType, keys: list[int], step: int, units: int, rate: float) -> None:
    by_triton, by_numpy = Draws(keys, step, DEVICE), Draws(keys, step, CPU)
    by_numpy._fused = None
    many = len(keys) > 1
    shape = (*((len(keys),) if many else ()), 3, units)
    rates: Any = column(torch.linspace(0, rate, len(keys))).view(-1, 1, 1) if many else rate
    for _ in range(2):  # the second draw goes on where the first one stopped
        there = rates.to(DEVICE) if many else rates
        assert torch.equal(by_triton.keep(shape, there).cpu(), by_numpy.keep(shape, rates))
        assert torch.equal(by_triton.uniform(shape).cpu(), by_numpy.uniform(shape))
        assert torch.equal(by_triton.normal(shape).cpu(), by_numpy.normal(shape))
        h = torch.randn(shape)
        dropped = h.to(DEVICE, copy=True)
        scale = torch.as_tensor(by_triton.drop_(dropped, there))
        assert torch.equal(scale.cpu(), torch.as_tensor(by_numpy.drop_(h, rates)))
        assert torch.equal(dropped.cpu(), h)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(5,), (3, 7)])
def test_batch(fused: ModuleType, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    images, index = torch.randint(0, 256, (50, 30)).to(dtype), torch.randint(0, 50, shape)
    expected = images[index].to(torch.float32).div(255)
    for there in (index, index.to(torch.int32)):
        assert torch.equal(fused.batch(images.to(DEVICE), there.to(DEVICE), 255.0).cpu(), expected)


def test_relu_backward(fused: ModuleType) -> None:
    gradient, active = torch.randn(3, 7, 11), torch.randn(3, 7, 11).relu()
    active[0, 0, 0] = torch.nan
    scales = torch.tensor([0.0, 1.5, 2.0]).view(3, 1, 1)
    expected = torch.where(active <= 0, 0.0, gradient * scales)
    computed = fused.relu_backward_(gradient.to(DEVICE), active.to(DEVICE), scales.to(DEVICE))
    assert torch.equal(computed.cpu(), expected)


@pytest.mark.parametrize("lead", [(), (3,)])
def test_add_relu(fused: ModuleType, lead: tuple[int, ...]) -> None:
    z, flat = torch.randn(*lead, 7, 11), torch.randn(*lead, 13)
    b = flat[..., :11]  # a view, as of a run's parameters
    z[..., 0, 0] = torch.nan
    expected = (z + b.unsqueeze(-2)).relu()
    computed = fused.add_relu_(z.to(DEVICE), flat.to(DEVICE)[..., :11]).cpu()
    assert torch.equal(computed.nan_to_num(), expected.nan_to_num())
    assert torch.equal(computed.isnan(), expected.isnan())


def test_a_tensor_with_gaps_is_refused(fused: ModuleType) -> None:
    whole, gaps = torch.randn(3, 4, device=DEVICE), column(torch.randn(3, 4, device=DEVICE))
    keys = torch.zeros(3, 2, dtype=torch.int64, device=DEVICE)
    for call in (
        lambda: fused.relu_backward_(whole, gaps, whole[:, 0].contiguous()),
        lambda: fused.relu_backward_(whole, whole, gaps[:, 0]),
        lambda: fused.add_relu_(gaps, whole[0]),
        lambda: fused.keep(keys, 0, 0, 4, gaps[:, 0]),
        lambda: fused.drop_(gaps, keys, 0, 0, whole[:, 0].contiguous()),
        lambda: fused.batch(gaps, torch.zeros(2, dtype=torch.int64, device=DEVICE), 1.0),
    ):
        with pytest.raises(ValueError, match="gaps"):
            call()


@pytest.mark.parametrize("noise", ["dropout", "gaussian", "dropconnect", "shakeout", "none"])
def test_a_stack_by_triton_is_one_by_torch(
    fused: ModuleType, noise: str, compose: Compose, few: Dataset, without_triton: Callable[[], None]
) -> None:
    """Runs of different seeds, rates and schedules: their weights after two steps agree up to rounding."""
    values = compose(f"noise={noise}", "data=digits", "epochs=1", "batch_size=40", "schedule=linear")
    small = {"model": {**values["model"], "hidden1": 16, "hidden2": 12}, "device": DEVICE.type}
    runs = [
        parse({**values, **small, "seed": s, "dropout1": 0.1 + s / 4, "dropout2": s / 5}) for s in range(3)
    ]
    by_triton = weights(runs, few)
    without_triton()
    by_torch = weights(runs, few)
    alone = [weights([run], few)[0] for run in runs]
    for triton, stack, single in zip(by_triton, by_torch, alone, strict=True):
        for name in triton:
            torch.testing.assert_close(triton[name], stack[name], rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(triton[name], single[name], rtol=1e-4, atol=1e-6)
    if noise == "dropout":
        assert not torch.allclose(by_triton[0]["lin1.weight"], by_triton[1]["lin1.weight"])


def test_a_stack_goes_on_without_the_run_that_diverged(
    fused: ModuleType, compose: Compose, few: Dataset
) -> None:
    values = compose("data=digits", "epochs=3", "batch_size=40", "schedule=linear", "optimizer.momentum=0.9")
    small = {"model": {**values["model"], "hidden1": 16, "hidden2": 12}, "device": DEVICE.type}
    runs = [parse({**values, **small, "seed": s, "dropout1": 0.1 + s / 8}) for s in range(4)]
    wild = replace(runs[1], optimizer=runs[1].optimizer.changed(lr=1e30))
    trained = train([runs[0], wild, *runs[2:]], Images(few, DEVICE), 10, lambda rows: None)
    assert trained.diverged_in == [None, 1, None, None]
    for run, whole in zip((0, 2, 3), weights([runs[0], *runs[2:]], few), strict=True):
        for name, values in trained.state(run).items():
            torch.testing.assert_close(values, whole[name], rtol=1e-4, atol=1e-6)


def weights(runs: list[Run], data: Dataset) -> list[dict[str, torch.Tensor]]:
    trained: Trained = train(runs, Images(data, DEVICE), 10, lambda rows: None)
    return [trained.state(run) for run in range(len(runs))]


def test_rates_of_one_seed_tell_runs_apart(fused: ModuleType, few: Dataset) -> None:
    """In a stack each run trains with its own rate: without noise the loss is lower than with much of it."""
    rows: list[Any] = []
    data = {"name": "digits", "root": None, "validation": 0, "split": 0, "train": None}
    model = {"hidden1": 16, "hidden2": 16}
    runs = [
        make_run(data=data, model=model, epochs=1, dropout1=rate, dropout2=rate, device=DEVICE.type)
        for rate in (0.0, 0.5, 0.9)
    ]
    train(runs, Images(few, DEVICE), 10, lambda of_epoch: rows.append(of_epoch))
    assert len({row["train_loss"] for row in rows[0]}) == 3
    noisy = [row["noisy_var2"] / row["var2"] for row in rows[0]]
    assert noisy[0] == 1 and noisy[0] < noisy[1] < noisy[2]
