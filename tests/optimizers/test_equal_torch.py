"""Every optimizer against torch.optim's own over a hundred steps, alone and in a stack of differing runs."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from configs import REPOSITORY, documented
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from src import components, optimizers
from src.errors import InputError
from src.stacks import views

SHAPES = [torch.Size(shape) for shape in ((4, 3), (4,), (2, 4), (2,))]
P = sum(shape.numel() for shape in SHAPES)
STEPS, STEPS_PER_EPOCH = 100, 20
NAMES = sorted(documented("optimizer"))
"""All but those of the user's own, beside which the tests pass."""
TORCHS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, str]]] = {
    "sgd": (torch.optim.SGD, {"momentum": "momentum", "nesterov": "nesterov"}),
    "adam": (torch.optim.Adam, {"beta1": "betas", "beta2": "betas", "eps": "eps"}),
    "adamw": (torch.optim.AdamW, {"beta1": "betas", "beta2": "betas", "eps": "eps"}),
    "rmsprop": (torch.optim.RMSprop, {"alpha": "alpha", "eps": "eps", "momentum": "momentum"}),
}
"""torch's class, and what it calls our options beside lr and weight_decay."""

MOMENTUM = st.just(0.0) | st.floats(0.1, 0.95)
EPS = st.sampled_from([1e-8, 1e-3])
BETAS = {
    "beta1": st.just(0.0) | st.floats(0.1, 0.95),
    "beta2": st.floats(0.9, 0.9999),  # much less, and a step divides by one gradient, which may be next to 0
    "eps": EPS,
}
OWN: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "sgd": {"lr": st.floats(1e-3, 0.5), "momentum": MOMENTUM, "nesterov": st.booleans()},
    "adam": {"lr": st.floats(1e-3, 0.1), **BETAS},
    "adamw": {"lr": st.floats(1e-3, 0.1), **BETAS},
    "rmsprop": {
        "lr": st.floats(1e-4, 0.02),
        "alpha": st.floats(0.9, 0.999),
        "eps": EPS,
        "momentum": MOMENTUM,
    },
}
COMMON = {
    "weight_decay": st.just(0.0) | st.floats(1e-3, 0.1),
    "decay_biases": st.booleans(),
    "decay": st.sampled_from(["constant", "linear", "cosine"]),
    "warmup": st.sampled_from([0.0, 0.5, 2.0]),
    "max_norm": st.none() | st.floats(0.5, 2),
}


def options_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    def checked(values: dict[str, Any]) -> dict[str, Any]:
        values = {"name": name, **values}
        if not values.get("momentum") and "nesterov" in values:
            values["nesterov"] = False
        return components.check_options("optimizer", values)

    return st.fixed_dictionaries({**COMMON, **OWN[name]}).map(checked)


def defaults(name: str, **changes: Any) -> dict[str, Any]:
    """The optimizer's YAML with some options changed."""
    text = (REPOSITORY / "conf" / "optimizer" / f"{name}.yaml").read_text(encoding="utf-8")
    return components.check_options("optimizer", {**yaml.safe_load(text), **changes})


def start(run: int) -> Tensor:
    return torch.randn(P, generator=torch.Generator().manual_seed(run))


SLOPES = torch.linspace(0.1, 1, P)
SHIFTS = 0.3 * torch.sin(torch.arange(P) + torch.arange(STEPS).unsqueeze(-1))


def gradient(w: Tensor, step: int) -> Tensor:
    """Of bowls that shift in each step, so that there is something to remember: (P,) or (R, P), as w."""
    return SLOPES * w - SHIFTS[step]


def torchs(options: dict[str, Any], run: int) -> Tensor:
    """Weights (P,) after the steps of torch's own optimizer, learning rate set anew in each."""
    return _torchs(tuple(options.items()), run)


@cache
def _torchs(items: tuple[tuple[str, Any], ...], run: int) -> Tensor:
    options, flat = dict(items), start(run)
    parameters = views(flat, SHAPES)
    weights, biases = parameters[0::2], parameters[1::2]
    kind, names = TORCHS[options["name"]]
    arguments: dict[str, Any] = {}
    for ours, theirs in names.items():
        arguments[theirs] = (
            (*arguments.get("betas", ()), options[ours]) if theirs == "betas" else options[ours]
        )
    decay = options["weight_decay"]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": decay},
        {"params": biases, "weight_decay": decay if options["decay_biases"] else 0.0},
    ]
    optimizer = kind(groups, lr=options["lr"], **arguments)  # type: ignore[call-arg]
    for step, lr in enumerate(optimizers.learning_rates(options, STEPS, STEPS_PER_EPOCH)):
        for group in optimizer.param_groups:
            group["lr"] = float(lr)
        for parameter, value in zip(parameters, views(gradient(flat, step), SHAPES), strict=True):
            parameter.grad = value.clone()
        optimizer.step()
        if options["max_norm"] is not None:
            for weight in weights:
                weight.copy_(torch.renorm(weight, 2, 0, options["max_norm"]))
    return flat


def ours(options: Sequence[dict[str, Any]]) -> Tensor:
    """Weights of a run alone (P,) or of a stack (R, P)."""
    w = torch.stack([start(run) for run in range(len(options))])
    rates = np.stack([optimizers.learning_rates(of_run, STEPS, STEPS_PER_EPOCH) for of_run in options])
    alone = len(options) == 1
    w = w[0] if alone else w
    optimizer = optimizers.make(w, options, SHAPES)
    for step in range(STEPS):
        if alone:
            optimizer.step(gradient(w, step), float(rates[0, step]))
        else:
            optimizer.step(gradient(w, step), torch.from_numpy(rates[:, step, None]).float())
    return w


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=2e-4, atol=2e-5)


def test_every_optimizer_is_held_against_torch() -> None:
    assert documented("optimizer") == set(TORCHS) == set(OWN)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8)
@given(data=st.data())
def test_a_run_alone(name: str, data: st.DataObject) -> None:
    options = data.draw(options_of(name))
    close(ours([options]), torchs(options, 0))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=6)
@given(data=st.data())
def test_a_stack_of_runs_with_all_options_their_own(name: str, data: st.DataObject) -> None:
    options = data.draw(st.lists(options_of(name), min_size=2, max_size=3))
    for run, weights in enumerate(ours(options)):
        close(weights, torchs(options[run], run))


ONE_RUN_HAS: list[tuple[str, dict[str, Any]]] = [
    *((name, {"weight_decay": 0.1}) for name in NAMES),
    *((name, {"weight_decay": 0.1, "decay_biases": False}) for name in NAMES),
    *((name, {"max_norm": 0.7}) for name in NAMES),
    *((name, {"lr": 0.02}) for name in NAMES),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("rmsprop", {"momentum": 0.9}),
    ("rmsprop", {"alpha": 0.9}),
    ("adam", {"beta1": 0.5}),
    ("adam", {"beta2": 0.9}),
    ("adamw", {"eps": 0.1}),
]


@pytest.mark.parametrize(("name", "changes"), ONE_RUN_HAS)
def test_an_option_that_one_run_of_the_stack_has(name: str, changes: dict[str, Any]) -> None:
    common = {"lr": 0.05, "weight_decay": 0.0}
    options = [defaults(name, **{**common, **further}) for further in ({}, changes, {})]
    for run, weights in enumerate(ours(options)):
        close(weights, torchs(options[run], run))
    without = torchs(defaults(name, **common), 1)
    assert not torch.allclose(torchs(options[1], 1), without, rtol=1e-2), "the option matters here"


# The largest norm


@pytest.mark.parametrize("name", NAMES)
def test_no_units_incoming_weights_exceed_their_runs_norm(name: str) -> None:
    caps = [0.5, None, 1.0]
    w = torch.stack([3 * start(run) for run in range(3)])
    optimizer = optimizers.make(w, [defaults(name, max_norm=cap) for cap in caps], SHAPES)
    free = w.clone()
    unbound = optimizers.make(free, [defaults(name)] * 3, SHAPES)
    lr = torch.full((3, 1), 0.01)
    optimizer.step(torch.ones_like(w), lr)
    unbound.step(torch.ones_like(w), lr)
    for parameter, before in zip(views(w, SHAPES), views(free, SHAPES), strict=True):
        for run, cap in enumerate(caps):
            if cap is None or before[run].dim() == 1:
                assert torch.equal(parameter[run], before[run])
                continue
            lengths, now = before[run].norm(dim=1), parameter[run].norm(dim=1)
            torch.testing.assert_close(now, lengths.clamp(max=cap))
            directions = parameter[run] / now[:, None], before[run] / lengths[:, None]
            torch.testing.assert_close(*directions)
    assert (views(free, SHAPES)[0].norm(dim=-1) > 1.0).any()


def test_a_unit_without_weights_stays_at_zero() -> None:
    for options in ([defaults("sgd", max_norm=1.0)], [defaults("sgd", max_norm=1.0), defaults("sgd")]):
        w = torch.zeros(len(options), P).squeeze(0)
        lr: Any = 0.1 if len(options) == 1 else torch.full((2, 1), 0.1)
        optimizers.make(w, options, SHAPES).step(torch.zeros_like(w), lr)
        assert not w.any()


# Runs of a stack do not touch each other


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_diverges_touches_no_other(name: str) -> None:
    extras: dict[str, Any] = {"max_norm": 1.0, "weight_decay": 0.1, "decay_biases": False}
    if "momentum" in OWN[name]:
        extras["momentum"] = 0.9
    if name == "sgd":
        extras["nesterov"] = True
    results = []
    for bad in (float("inf"), float("nan"), 1.0):
        w = torch.stack([start(0), start(1)])
        optimizer = optimizers.make(w, [defaults(name, **extras)] * 2, SHAPES)
        for _ in range(3):
            optimizer.step(torch.stack([torch.full((P,), bad), torch.ones(P)]), torch.full((2, 1), 0.1))
        results.append(w[1])
    assert results[0].isfinite().all()
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[1], results[2])


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_without_gradient_stays_finite(name: str) -> None:
    """A pixel that is black in every image."""
    w = torch.ones(P)
    optimizer = optimizers.make(w, [defaults(name, weight_decay=0.0)], SHAPES)
    for _ in range(3):
        optimizer.step(torch.zeros(P), 0.1)
    assert torch.equal(w, torch.ones(P))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("runs", [1, 2])
def test_all_tensors_are_on_the_parameters_device(name: str, runs: int) -> None:
    """On torch's device without memory, where an operation with a CPU tensor fails as it does on a GPU."""
    extras = {"max_norm": 1.0, "weight_decay": 0.1, "decay_biases": False}
    extras |= {"momentum": 0.9} if "momentum" in OWN[name] else {}
    extras |= {"nesterov": True} if name == "sgd" else {}
    w = torch.empty(*((2,) if runs == 2 else ()), P, device="meta")
    optimizer = optimizers.make(w, [defaults(name, **extras)] * runs, SHAPES)
    optimizer.step(torch.empty_like(w), torch.empty(2, 1, device="meta") if runs == 2 else 0.1)


# Speed


def test_plain_sgd_is_one_operation() -> None:
    """The book's step, alone on a core, reads weights and gradients once and writes the weights once."""
    called: list[str] = []

    class Listening(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called.append(str(func))
            return func(*args, **(kwargs or {}))

    optimizer, gradients = optimizers.make(torch.ones(P), [defaults("sgd")], SHAPES), torch.ones(P)
    with Listening():
        optimizer.step(gradients, 0.5)
    assert called == ["aten.add_.Tensor"]


# Options


@pytest.mark.parametrize("name", NAMES)
def test_the_yaml_has_torchs_defaults(name: str) -> None:
    kind, names = TORCHS[name]
    default = {key: value.default for key, value in inspect.signature(kind).parameters.items()}
    ours = defaults(name)
    for key, theirs in {**names, "weight_decay": "weight_decay"}.items():
        expected = default[theirs]
        assert ours[key] == (expected[int(key[-1]) - 1] if theirs == "betas" else expected)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("sgd", {"nesterov": True}, "optimizer.nesterov=true: needs optimizer.momentum above 0"),
    ("sgd", {"nesterov": 1, "momentum": 0.9}, "optimizer.nesterov=1: must be true or false"),
    ("sgd", {"max_norm": 0}, "optimizer.max_norm=0: must be a finite number above 0, or null"),
    ("sgd", {"warmup": -1}, "optimizer.warmup=-1: must be a finite number of at least 0"),
    ("sgd", {"decay_biases": None}, "optimizer.decay_biases=null: must be true or false"),
    ("sgd", {"beta1": 0.9}, "optimizer.beta1=0.9: there is no such key; known here: optimizer.decay, "),
    ("adam", {"eps": 0}, "optimizer.eps=0: must be a finite number of at least 1e-20"),
    ("adam", {"beta2": 1}, "optimizer.beta2=1: must be a finite number from 0 to below 1"),
    ("adamw", {"beta1": 1}, "optimizer.beta1=1: must be a finite number from 0 to below 1"),
    ("rmsprop", {"alpha": 1}, "optimizer.alpha=1: must be a finite number from 0 to below 1"),
]


@pytest.mark.parametrize(
    ("name", "changes", "said"), WRONG, ids=[said.partition(":")[0] for *_, said in WRONG]
)
def test_a_wrong_option_is_named_with_what_is_right(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        defaults(name, **changes)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
