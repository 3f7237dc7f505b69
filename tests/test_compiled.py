"""The library of `compiled.c` gives numpy's and torch's numbers to the last bit, or is not used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from configs import REPOSITORY, Compose
from hypothesis import example, given
from hypothesis import strategies as st

from src.config import parse
from src.data import Dataset
from src.kernels import compiled, sum_in_order, sum_lanes, sum_rows
from src.noise import Site, make
from src.streams import Draws
from src.streams.memory import AT_ONCE
from src.training.images import Images
from src.training.trainer import train

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="this machine has no C compiler")

KEYS = st.integers(0, 2**128 - 1)
STEPS = st.integers(0, 2**50)
LARGEST = torch.finfo(torch.float32).max
NUMBERS = st.floats(width=32, allow_subnormal=True) | st.sampled_from(
    [float("nan"), float("inf"), -0.0, LARGEST, -LARGEST]
)


def without_library(compute: Callable[[], Any]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("passes", "descent"):
            patch.setattr(compiled, name, lambda: None)
        return compute()


def rows_of_training(compose: Compose, digits: Dataset, *overrides: str) -> list[Any]:
    """Metrics of two epochs, without the time that they took."""
    reported: list[Any] = []
    run = parse(compose("data=digits", "epochs=2", *overrides))
    train([run], Images(digits, CPU), 10, reported.extend)
    return [{key: value for key, value in row.items() if key != "seconds"} for row in reported]


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """Of float32, with one NaN and one 0: only torch adds a 0 to the product, and a NaN's bits are any."""
    return torch.where(tensor.isnan(), torch.nan, tensor + 0.0).view(torch.int32)


def test_this_machines_compiler_is_used() -> None:
    assert compiled.passes() is not None


needs_descent = pytest.mark.skipif(
    compiled.descent() is None, reason="torch rounds otherwise than the pass here"
)


@given(
    KEYS, STEPS, st.integers(1, 3 * AT_ONCE), st.sampled_from([0.0, 1e-9, 1 / 65536, 0.2, 0.5, 1 - 1e-9, 1.0])
)
def test_masks_and_numbers(key: int, step: int, count: int, rate: float) -> None:
    def drawn() -> list[torch.Tensor]:
        draws = Draws([key], step, CPU)
        values = [
            draws.keep((count, 1), rate),
            draws.factor((count, 1), rate),
            draws.keep_bytes((count, 1), rate),  # goes on where the mask before it stopped
            draws.uniform((count, 1)),
            draws.normal((count, 1)),
            Draws([key, key ^ 1], step, CPU).keep((2, count, 1), torch.tensor([rate, 0.3]).view(2, 1, 1)),
        ]
        return [value.clone() for value in values]

    for ours, right in zip(drawn(), without_library(drawn), strict=True):
        assert torch.equal(ours, right)


@given(
    KEYS,
    STEPS,
    st.integers(1, 70),
    st.integers(1, 40),
    st.sampled_from([0.0, 1e-9, 1 / 65536, 0.2, 1 - 1e-9]),
)
def test_masks_as_bits(key: int, step: int, images: int, counters: int, rate: float) -> None:
    draws, others, shape = Draws([key], step, CPU), Draws([key], step, CPU), (images, counters, 16)
    for _ in range(2):  # the second goes on where the first stopped
        bits = draws.keep_bits(shape, rate)
        assert bits is not None
        by_image = torch.stack([bits[i // 32] >> i % 32 & 1 for i in range(images)])
        assert torch.equal(by_image.view(shape), others.keep_bytes(shape, rate).int())


@pytest.mark.parametrize(
    ("shape", "rate", "keys"),
    [((3, 4, 5), 0.2, 1), ((3, 4, 8), 1.0, 1), ((2, 3, 4, 8), torch.full((2, 1, 1, 1), 0.2), 2)],
)
def test_what_is_not_drawn_as_bits_leaves_the_stream_alone(
    shape: tuple[int, ...], rate: float | torch.Tensor, keys: int
) -> None:
    draws, others = Draws([*range(keys)], 0, CPU), Draws([*range(keys)], 0, CPU)
    assert draws.keep_bits(shape, rate) is None
    assert without_library(lambda: others.keep_bits((3, 4, 8), 0.2)) is None
    assert torch.equal(draws.keep(shape, rate), others.keep(shape, rate))


@example(n=70, units=16, features=40, first=False, rate=0.3)  # three words, and a sum's end
@given(
    n=st.integers(1, 70),
    units=st.integers(1, 3).map(lambda of_16: 16 * of_16),
    features=st.integers(1, 100),
    first=st.booleans(),
    rate=st.sampled_from([1e-9, 0.3, 0.9]),
)
def test_masked_weights(n: int, units: int, features: int, first: bool, rate: float) -> None:
    generator = torch.Generator().manual_seed(n)
    shapes = ((n, features), (units, features), (units,), (n, units))
    x, W, b, delta = (torch.randn(shape, generator=generator) for shape in shapes)

    def computed() -> list[Any]:
        site = Site(1, Draws([1], 2, CPU), first=first)
        z, backward = make({"name": "dropconnect_example"}).product(x, W, b, rate, site)
        return [z, *backward(delta)]

    for ours, right in zip(computed(), without_library(computed), strict=True):
        assert (ours is right is None) or torch.equal(bits(ours), bits(right))


@example(key=0, step=0, values=[3e38] * 100, rate=0.999)  # times the scale it is infinite
@given(KEYS, STEPS, st.lists(NUMBERS, min_size=1, max_size=600), st.sampled_from([1e-9, 0.2, 0.5, 0.999]))
def test_dropping(key: int, step: int, values: list[float], rate: float) -> None:
    def dropped() -> tuple[torch.Tensor, Any]:
        h = torch.tensor(values).view(1, -1)
        return h, Draws([key], step, CPU).drop_(h, rate)

    (ours, scale), (right, right_scale) = dropped(), without_library(dropped)
    assert scale == right_scale
    assert torch.equal(bits(ours), bits(right))


@given(st.data())
def test_a_hidden_layer(data: st.DataObject) -> None:
    """Into it and back, beside torch, with the biases' gradients of `sum_rows`."""
    n, m = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    z, delta, b = (torch.randn(shape, generator=generator) for shape in ((n, m), (n, m), (m,)))
    for tensor in (z, delta):
        row, column = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, m - 1))
        tensor[row, column] = data.draw(NUMBERS)
    activations = (z + b).relu()
    gradient, sums, passes = torch.where(activations <= 0, 0.0, delta), torch.empty(m), compiled.passes()
    assert passes is not None
    passes.add_relu_(z, b)
    assert torch.equal(bits(z), bits(activations))
    passes.relu_backward_(delta, z, sums)
    assert torch.equal(bits(delta), bits(gradient))
    assert torch.equal(bits(sums), bits(sum_rows(gradient, torch.empty(m))))


@given(st.data())
def test_the_gradient_at_the_logits(data: st.DataObject) -> None:
    """Beside torch, with the sums of `sum_rows`."""
    n, classes = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 12))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    p = torch.rand(classes, n, generator=generator)
    p[data.draw(st.integers(0, classes - 1)), data.draw(st.integers(0, n - 1))] = data.draw(NUMBERS)
    labels, scale = (
        torch.randint(0, classes, (n,), generator=generator),
        data.draw(st.floats(-2, 2, width=32)),
    )
    right = p.clone().scatter_add_(0, labels.unsqueeze(0), torch.full((1, n), -1.0)).mul_(scale)
    sums, passes = torch.empty(classes), compiled.passes()
    assert passes is not None
    passes.at_labels_(p, labels, sums, scale)
    assert torch.equal(bits(p), bits(right))
    assert torch.equal(bits(sums), bits(sum_rows(right.mT, torch.empty(classes))))


@given(st.integers(1, 300), st.integers(1, 12), st.booleans())
def test_sums_go_from_row_to_row(n: int, units: int, turned: bool) -> None:
    """However the rows lie in memory."""
    rows = torch.randn(n, units, generator=torch.Generator().manual_seed(n))
    if turned:
        rows = rows.mT.contiguous().mT
    sums = torch.zeros(units)
    for row in rows:
        sums += row
    assert torch.equal(sum_rows(rows, torch.empty(units)), sums)


@given(st.integers(1, 3), st.integers(1, 70), st.integers(1, 5))
def test_sums_of_each_matrix_go_from_row_to_row(matrices: int, n: int, units: int) -> None:
    rows = torch.randn(matrices, n, units, generator=torch.Generator().manual_seed(n))
    sums = torch.zeros(matrices, units)
    for row in range(n):
        sums += rows[:, row]
    assert torch.equal(sum_in_order(rows), sums)


@given(st.integers(1, 4), st.integers(1, 9))
def test_sums_by_lanes(n: int, parts: int) -> None:
    products = torch.randn(n, 32 * parts, generator=torch.Generator().manual_seed(n))
    lanes = [sum_in_order(products[:, lane::32].mT.contiguous()) for lane in range(32)]
    for half in (16, 8, 4, 2, 1):
        lanes = [lanes[lane] + lanes[lane + half] for lane in range(half)]
    assert torch.equal(sum_lanes(products), lanes[0])


@needs_descent
@given(st.data())
def test_a_step_with_momentum(data: st.DataObject) -> None:
    """Beside torch."""
    n = data.draw(st.integers(1, 5000))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    w, v, gradients = torch.randn(3, n, generator=generator)
    for tensor in (w, v, gradients):
        tensor[data.draw(st.integers(0, n - 1))] = data.draw(NUMBERS)
    momentum, decay, lr = (data.draw(st.floats(least, 1)) for least in (0.0, 1e-9, -1.0))
    decay = data.draw(st.sampled_from([0.0, decay]))
    decayed = gradients.add(w, alpha=decay) if decay else gradients
    velocity = v.mul(momentum).add_(decayed)
    right = w.add(velocity, alpha=-lr)
    descend = compiled.descent()
    assert descend is not None
    descend(w, v, gradients.clone(), momentum, decay, lr)
    assert torch.equal(bits(v), bits(velocity)) and torch.equal(bits(w), bits(right))
    for wrong in (w[:-1], w.double(), torch.stack([w, w], -1)[:, 0]):
        if n > 1:
            with pytest.raises(ValueError, match="and not"):
                descend(w, v, wrong, momentum, decay, lr)


@pytest.mark.parametrize(
    "options",
    [
        ("optimizer.momentum=0.9",),
        ("optimizer.momentum=0.5", "optimizer.weight_decay=1e-3", "optimizer.max_norm=1"),
        ("optimizer.momentum=0.9", "optimizer.weight_decay=1e-3", "optimizer.decay_biases=false"),
        ("optimizer.momentum=0.9", "optimizer.nesterov=true"),
    ],
    ids=" ".join,
)
def test_momentum_is_the_same_with_and_without_the_library(
    compose: Compose, digits: Dataset, options: Sequence[str]
) -> None:
    rows = rows_of_training(compose, digits, "optimizer.lr=0.1", *options)
    assert rows == without_library(lambda: rows_of_training(compose, digits, "optimizer.lr=0.1", *options))


@given(st.data())
def test_batches(data: st.DataObject) -> None:
    features, images = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 20))
    index = torch.tensor(data.draw(st.lists(st.integers(0, images - 1), min_size=1, max_size=30)))
    scale = data.draw(st.sampled_from([255.0, 16.0, 0.3]))
    raw = torch.randint(0, 256, (images, features), dtype=torch.uint8, generator=torch.manual_seed(0))
    out, passes = torch.empty(len(index), features), compiled.passes()
    assert passes is not None
    passes.batch(out, raw, index, scale)
    assert torch.equal(out, raw[index].to(torch.float32) / scale)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_images_with_gaps_and_of_another_type(digits: Dataset, kind: torch.dtype) -> None:
    gaps = torch.stack([digits.train_images, digits.train_images], -1).to(kind)[..., 0]
    images = Images(replace(digits, train_images=gaps), CPU)
    index = torch.tensor([5, 0, 5, 17])
    assert torch.equal(images.batch(index), digits.train_images[index].to(torch.float32) / digits.scale)


@pytest.mark.parametrize("units", [32, 1])
@pytest.mark.parametrize("noise", ["dropout", "gaussian", "dropconnect", "dropconnect_example", "tangent"])
def test_a_run_is_the_same_with_and_without_the_library(
    compose: Compose, digits: Dataset, noise: str, units: int
) -> None:
    def rows() -> list[Any]:
        return rows_of_training(compose, digits, f"noise={noise}", f"model.hidden1={units}")

    assert repr(rows()) == repr(without_library(rows))  # as text, where a NaN equals itself


@pytest.mark.parametrize(
    "wrong", [torch.zeros(4, 6).mT, torch.zeros(6, dtype=torch.float64), torch.zeros(9)[::2]]
)
def test_memory_that_the_library_would_misread_is_refused(wrong: torch.Tensor) -> None:
    passes = compiled.passes()
    assert passes is not None
    with pytest.raises(ValueError, match="without gaps"):
        passes.drop_(wrong, (1, 2, 3), 30_000, 2.0)


# How it is compiled, and where it cannot be used


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the source in a folder of its own, where it was not compiled yet."""
    copy = Path(shutil.copy(compiled.SOURCE, tmp_path))
    monkeypatch.setattr(compiled, "SOURCE", copy)
    return copy


def load() -> compiled.Passes | None:
    return compiled.passes.__wrapped__()


def libraries(source: Path) -> list[Path]:
    """What lies where libraries are kept."""
    return list((source.parent / "__pycache__").iterdir())


def test_it_is_compiled_once(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load() is not None
    kept = libraries(source)
    monkeypatch.setenv("CC", "no-such-compiler")
    assert load() is not None
    assert len(kept) == 1 and libraries(source) == kept


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false", "true", "cc -DBATCH='", "cc -w -E"])
def test_a_compiler_that_makes_no_library_leaves_nothing(
    source: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    assert load() is None
    monkeypatch.delenv("CC")
    assert libraries(source) == [] and load() is not None


@pytest.mark.parametrize("kept", [0, 0.3, 0.7])  # a library that lacks its end would end the process: SIGBUS
def test_a_library_that_is_not_whole_is_compiled_anew(source: Path, kept: float) -> None:
    assert load() is not None
    (library,) = libraries(source)
    whole = library.read_bytes()
    library.unlink()  # this process has it in memory
    library.write_bytes(whole[: int(kept * len(whole))])
    assert load() is not None
    assert libraries(source) == [library] and library.read_bytes() == whole


def test_arguments_of_the_compiler_leave_the_smallest_numbers_alone(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "cc -ffast-math -w")
    assert load() is not None
    assert float(torch.tensor([1e-40]).mul(0.5)) > 0


def test_a_folder_that_cannot_be_written_to(source: Path) -> None:
    (source.parent / "__pycache__").write_text("a file in its place")
    assert load() is None


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("round < 10", "round < 9"),
        ("? scale : 0", "? scale + 1e-6f : 0"),
        ("(labels[i] == (int64_t)j)", "(labels[i] > (int64_t)j)"),
        ("sums[j] += p[i]", "sums[j] += p[i] * 1.0000001f"),
        ("/ scale", "* (1 / scale)"),
        ("< threshold", "<= threshold"),
        ("void factors(", "void factor("),
        ("table[drawn.numbers[i]]", "table[drawn.numbers[i] | 1]"),
        ("sum < 0 ? 0", "sum < -1 ? 0"),
        ("active[j] <= 0", "active[j] < 0"),
        ("sums[j] += passed", "sums[j] += delta[j] * 1.0000001f"),
        ("<= highest", "< highest"),
        ("halves[1][at] << 16", "halves[1][at] << 15"),
        ("first < images; first += BITS", "first < BITS; first += BITS"),
        ("l + LANES / 4]", "l]"),
        ("(sums[0] + sums[2]) + (sums[1] + sums[3])", "(sums[0] + sums[1]) + (sums[2] + sums[3])"),
        ("into_w[j] += mask * pixels[j] * d", "into_w[j] += pixels[j] * d"),
        ("into_x[j] += mask * w[j] * d", "into_x[j] += w[j] * d"),
        ("(words[j] & bit ? 1.0f : 0.0f) * pixels[j] * d", "pixels[j] * d"),
    ],
)
def test_other_numbers_are_not_taken(source: Path, part: str, other: str) -> None:
    text = source.read_text()
    assert part in text
    source.write_text(text.replace(part, other))
    assert load() is None
    assert libraries(source) == []


@needs_descent
@pytest.mark.parametrize("part", ["part, decay)", "part, momentum)", "part, -lr)"])
def test_a_step_with_other_numbers_than_torchs_is_left_to_torch(source: Path, part: str) -> None:
    text = source.read_text()
    assert text.count(part) == 1
    library = load()
    assert library is not None and compiled._descends(library)
    source.write_text(text.replace(part, part.replace(")", " * 1.0000002f)")))
    library = load()
    assert library is not None and not compiled._descends(library)


def test_random_bits_without_avx512_are_the_same(source: Path) -> None:
    text, asked = source.read_text(), '__builtin_cpu_supports("avx512f")'
    assert asked in text
    source.write_text(text.replace(asked, "0"))
    assert load() is not None


def test_processes_that_compile_at_once(source: Path) -> None:
    code = f"""
from pathlib import Path
from src.kernels import compiled
compiled.SOURCE = Path({str(source)!r})
assert compiled.passes() is not None
"""
    started = [subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert len(libraries(source)) == 1
