"""What a GPU computes equals what a CPU does. Skipped where there is no GPU."""

from __future__ import annotations

import pytest
import torch
from configs import Compose
from hypothesis import given, settings
from hypothesis import strategies as st

from src import gpu
from src.config import parse
from src.data import Dataset
from src.streams import Draws
from src.training.images import Images
from src.training.trainer import train

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


@pytest.fixture(scope="module")
def device() -> torch.device:
    return torch.device("cuda")


def test_triton_is_used(device: torch.device) -> None:
    assert gpu.fuses(device)


@pytest.mark.parametrize("fused", [True, False])
@settings(max_examples=20)
@given(
    st.lists(st.integers(0, 2**128 - 1), min_size=1, max_size=3),
    st.integers(0, 2**50),
    st.integers(1, 300),
    st.sampled_from([0.0, 1e-7, 0.2, 0.5, 1.0]),
)
def test_draws(
    device: torch.device, fused: bool, keys: list[int], step: int, units: int, rate: float
) -> None:
    on_cpu, on_gpu = Draws(keys, step, CPU), Draws(keys, step, device)
    on_gpu._fused = fused
    shape = (*((len(keys),) if len(keys) > 1 else ()), 3, units)
    rates = torch.linspace(0, 1, len(keys)).view(-1, 1, 1) if len(keys) > 1 else rate
    for _ in range(2):  # the second draw goes on where the first one stopped
        assert torch.equal(on_gpu.keep(shape, rate).cpu(), on_cpu.keep(shape, rate))
        assert torch.equal(on_gpu.uniform(shape).cpu(), on_cpu.uniform(shape))
        assert torch.equal(on_gpu.normal(shape).cpu(), on_cpu.normal(shape))
        h = torch.randn(shape)
        dropped = h.to(device)
        scale = on_gpu.drop_(dropped, rates.to(device) if isinstance(rates, torch.Tensor) else rates)
        assert torch.equal(torch.as_tensor(scale).cpu(), torch.as_tensor(on_cpu.drop_(h, rates)))
        assert torch.equal(dropped.cpu(), h)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(5,), (3, 7)])
def test_batch(device: torch.device, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    images = torch.randint(0, 256, (50, 30)).to(dtype)
    index = torch.randint(0, 50, shape)
    expected = images[index].to(torch.float32).div(255)
    for there in (index, index.to(torch.int32)):
        assert torch.equal(gpu.batch(images.to(device), there.to(device), 255.0).cpu(), expected)


def test_relu_backward(device: torch.device) -> None:
    gradient, active = torch.randn(3, 7, 11), torch.randn(3, 7, 11).relu()
    active[0, 0, 0] = torch.nan
    scales = torch.tensor([0.0, 1.5, 2.0]).view(3, 1, 1)
    expected = torch.where(active <= 0, 0.0, gradient * scales)
    computed = gpu.relu_backward_(gradient.to(device), active.to(device), scales.to(device))
    assert torch.equal(computed.cpu(), expected)


@pytest.mark.parametrize("lead", [(), (3,)])
def test_add_relu(device: torch.device, lead: tuple[int, ...]) -> None:
    z, b = torch.randn(*lead, 7, 11), torch.randn(*lead, 11)
    z[..., 0, 0] = torch.nan
    expected = (z + b.unsqueeze(-2)).relu()
    # a view, as of flat parameters
    there = torch.empty(*lead, 13, device=device)[..., :11].copy_(b)
    computed = gpu.add_relu_(z.to(device), there).cpu()
    assert torch.equal(computed.nan_to_num(), expected.nan_to_num())
    assert torch.equal(computed.isnan(), expected.isnan())


@pytest.mark.parametrize("noise", ["dropout", "gaussian", "dropconnect", "shakeout", "none"])
def test_a_step_with_triton_is_one_without(
    device: torch.device, noise: str, compose: Compose, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same stack, batch and draws: weights after a step agree to what rounding leaves of 64 terms."""
    values = compose(f"noise={noise}", "data=digits", "device=cuda", "epochs=1", "batch_size=1437")
    stack = [parse({**values, "seed": seed, "dropout1": 0.1 + seed / 10}) for seed in range(3)]
    weights = []
    for fused in (True, False):
        if not fused:
            monkeypatch.setattr(gpu, "fuses", lambda device: False)
        trained = train(stack, Images(digits, device), 10, lambda rows: None)
        weights.append([trained.state(run) for run in range(3)])
    for with_triton, without in zip(*weights, strict=True):
        for name, tensor in with_triton.items():
            torch.testing.assert_close(tensor, without[name], rtol=1e-4, atol=1e-5)
