"""Noises that learn: parameters of their own and terms of the loss, in both kinds of stack."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from configs import BOOK, DIGITS, make_run
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from src import models, optimizers
from src.data import load_bytes
from src.errors import InputError
from src.noise import Noise, Site, initial_parameters, make
from src.stacks import OF_NOISE
from src.stacks.mlp import MLP
from src.stacks.modules import Modules
from src.stacks.objective import Objective
from src.streams import Draws, Rate
from src.training import places
from src.training.trainer import Images, train

CPU = torch.device("cpu")
N = 50
OPTIONS: dict[str, dict[str, Any]] = {
    "concrete": {"name": "concrete", "input_rate": 0.1, "temperature": 0.1, "length": 0.1},
    "variational": {"name": "variational", "input_rate": 0.1, "kl": 1.0},
    "advanced": {"name": "advanced", "input_rate": 0.1},
}


class Affine(Noise):
    """On activations: h·(1 + p·a·ε) + p·b by unit; loss Σ a² + Σ b."""

    def parameters(self, shape: Sequence[int]) -> Mapping[str, Tensor]:
        return {"a": torch.ones(1, 1), "b": torch.rand(1, shape[-1])}

    def activation(self, h: Tensor, rate: Rate, site: Site) -> Tensor:
        own = site.parameters
        return h * (1 + rate * own["a"] * site.normal(h.shape)) + rate * own["b"]

    def penalty(self, W: Tensor | None, rate: Rate, site: Site) -> Tensor:
        assert W is None
        own = site.parameters
        return own["a"].square().sum((-2, -1)) + own["b"].sum((-2, -1))


def noise(name: str) -> Noise:
    return Affine({}) if name == "affine" else make(OPTIONS[name])


def draws(place: int, run: int = 0) -> Draws:
    return Draws([place + 10 * run], 3, CPU)


def batch(n: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.rand(n, 7, generator=generator), torch.randint(4, (n,), generator=generator)


def learned(which: Noise, seed: int) -> dict[tuple[int, str], Tensor]:
    """Of a net 7-6-5-4, whose layers are read from places 0, 1 and 2."""
    shapes = {0: (6, 7), 1: (5, 6), 2: (4, 5)} if which.reads else {0: (9, 7), 1: (9, 6), 2: (9, 5)}
    return {
        (place, name): value + 0.1 * (seed + 1)
        for place, shape in shapes.items()
        for name, value in initial_parameters(which, shape, seed).items()
    }


NET = {"name": "scratch", "hidden1": 6, "hidden2": 5}
RATES = [0.1, 0.3, 0.2]


def expected(
    which: Noise, net: Any, own: dict[tuple[int, str], Tensor], rates: list[float], run: int = 0
) -> tuple[Tensor, list[Tensor | None]]:
    """Loss and gradients of the same function in one graph of autograd's."""
    x, y = batch()
    leaves = {key: value.clone().requires_grad_() for key, value in own.items()}
    loss: Any = 0.0

    def site(place: int) -> Site:
        here = Site(place, draws(place, run))
        here.parameters = {name: value for (where, name), value in leaves.items() if where == place}
        return here

    h = x
    for layer, linear in enumerate((net.lin1, net.lin2, net.lin3)):
        rate = rates[layer]
        if which.reads and rate:
            z = which.product(h, linear.weight, linear.bias, rate, here := site(layer))
            loss = loss + which.penalty(linear.weight, rate, here) / N
        elif rate:
            h = which.activation(h, rate, here := site(layer))
            loss = loss + (which.penalty(None, rate, here) / N if which.has("penalty") else 0)
            z = linear(h)
        else:
            z = linear(h)
        h = F.relu(z) if layer < 2 else z
    loss = loss + F.cross_entropy(h, y)
    parameters = [*net.parameters(), *leaves.values()]
    return loss, list(torch.autograd.grad(loss, parameters, allow_unused=True))


def flat(gradients: list[Tensor | None], like: list[Tensor]) -> Tensor:
    return torch.cat(
        [
            torch.zeros_like(value).flatten() if gradient is None else gradient.flatten()
            for gradient, value in zip(gradients, like, strict=True)
        ]
    )


@pytest.mark.parametrize("rates", [RATES, [0.0, 0.3, 0.0]])
@pytest.mark.parametrize("name", ["affine", *OPTIONS])
def test_gradients_are_autograds(name: str, rates: list[float]) -> None:
    which, net = noise(name), models.build(NET, 7, 4, seed=1)
    own = learned(which, 1)
    stack = MLP([net], which, CPU, Objective(images=N), [own])
    x, y = batch()
    before = stack.parameters.clone()
    stack.differentiate(x, y, list(rates), draws)
    _, gradients = expected(which, net, own, rates)
    values = [*net.parameters(), *own.values()]
    torch.testing.assert_close(stack.gradients, flat(gradients, values), rtol=1e-4, atol=1e-6)
    assert any(g is not None and g.any() for g in gradients[6:]), "the noise learns"
    assert torch.equal(stack.parameters, before)
    stack.descend(x, y, list(rates), draws, 0.25)
    torch.testing.assert_close(
        stack.parameters, before - 0.25 * flat(gradients, values), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", ["affine", *OPTIONS])
def test_a_stack_has_the_gradients_of_its_runs_alone(name: str) -> None:
    which = noise(name)
    nets = [models.build(NET, 7, 4, seed) for seed in range(3)]
    own = [learned(which, seed) for seed in range(3)]
    rates = [0.3, 0.0, 0.1]  # a run whose rate is 0 has neither noise nor penalty
    if name == "affine":
        rates[1] = 0.2  # a penalty that ignores the rate would count there
    stack = MLP(nets, which, CPU, Objective(images=N), own)
    x, y = batch()
    by_run = torch.tensor(rates).reshape(3, 1, 1)
    stack.differentiate(
        x.expand(3, -1, -1), y.expand(3, -1), [by_run] * 3,
        lambda place: Draws([place + 10 * run for run in range(3)], 3, CPU),
    )  # fmt: skip
    for run in range(3):
        _, gradients = expected(which, nets[run], own[run], [rates[run]] * 3, run)
        values = [*nets[run].parameters(), *own[run].values()]
        torch.testing.assert_close(stack.gradients[run], flat(gradients, values), rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["affine", *OPTIONS])
def test_any_module_learns_the_same(name: str) -> None:
    which = noise(name)
    scratch = models.build(NET, 7, 4, seed=1)
    concise = models.build({**NET, "name": "concise"}, 7, 4, seed=1)
    for layer, linear in zip((concise[1], concise[4], concise[7]), scratch.children(), strict=True):
        layer.load_state_dict(linear.state_dict())
    own = {key: value for key, value in learned(which, 1).items() if key[0] > 0}
    stack = Modules([copy.deepcopy(concise)], which, CPU, Objective(images=N), [own])
    rates = [0.0, *RATES[1:]]
    x, y = batch()
    for _ in range(2):  # nothing is left from the step before
        stack.differentiate(x, y, rates, draws)
    _, gradients = expected(which, scratch, own, rates)
    values = [*scratch.parameters(), *own.values()]
    torch.testing.assert_close(stack.gradients, flat(gradients, values), rtol=1e-4, atol=1e-6)
    stack.hidden(x, rates, draws)


TINY: dict[str, Any] = {
    "epochs": 2, "batch_size": 300, "data": DIGITS, "dropout1": 0.2, "dropout2": 0.3,
    "model": {"name": "scratch", "hidden1": 8, "hidden2": 8},
}  # fmt: skip


def trained(**changes: Any) -> tuple[list[Any], Any]:
    run = make_run(**{**TINY, **changes})
    rows: list[Any] = []
    return rows, train([run], Images(load_bytes(**run.data), CPU), 10, lambda row: rows.append(row[0]))


@pytest.mark.parametrize("model", ["scratch", "concise"])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_trains_saves_and_spares_what_is_learned(name: str, model: str) -> None:
    options = {**OPTIONS[name], "input_rate": 0.0 if model == "concise" else 0.1}
    shape = {"name": model, "hidden1": 8, "hidden2": 8}
    rows, plain = trained(noise=options, model=shape, optimizer={"lr": 0.1})
    _, still = trained(noise=options, model=shape, optimizer={"lr": 1e-20})
    _, again = trained(noise=options, model=shape, optimizer={"lr": 0.1})
    assert all(math.isfinite(row["test_loss"]) and math.isfinite(row["noisy_var2"]) for row in rows)
    if name != "advanced":  # where the configured rate is, and somewhat on
        word = {"concrete": "learned_rate", "variational": "learned_alpha"}[name]
        first_value = {"concrete": 0.2, "variational": 0.25}[name]
        assert 0 < abs(rows[0][f"{word}1"] - first_value) < 0.2
        assert (rows[0][f"{word}0"] is None) == (model == "concise")
    state, first, repeated = plain.state(0), still.state(0), again.state(0)
    own = [key for key in state if key.startswith(OF_NOISE)]
    assert {key.split("/")[1] for key in own} == ({"0", "1", "2"} if model == "scratch" else {"1", "2"})
    assert all(torch.equal(state[key], repeated[key]) for key in state)
    for place in {key.split("/")[1] for key in own}:
        assert any(not torch.equal(state[k], first[k]) for k in own if k.split("/")[1] == place), "it learns"


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("decay_biases", [False, True])
def test_what_is_learned_neither_decays_nor_is_capped(runs: int, decay_biases: bool) -> None:
    shapes, own = [torch.Size((3, 4)), torch.Size((3,))], 8
    lead = (runs,) if runs > 1 else ()
    parameters = torch.full((*lead, 15 + own), 5.0)
    options = {**BOOK["optimizer"], "weight_decay": 0.1, "max_norm": 1.0, "decay_biases": decay_biases}
    optimizer = optimizers.make(parameters, [options] * runs, shapes)
    optimizer.step(torch.zeros_like(parameters), 0.5 if runs == 1 else torch.full((runs, 1), 0.5))
    assert torch.equal(parameters[..., 15:], torch.full((*lead, own), 5.0))
    torch.testing.assert_close(parameters[..., :12].unflatten(-1, (3, 4)).norm(dim=-1), torch.ones(*lead, 3))
    torch.testing.assert_close(parameters[..., 12:15], torch.full((*lead, 3), 4.75 if decay_biases else 5.0))


def test_a_noise_that_learns_is_refused_where_it_would_not(component: Any) -> None:
    head = "import torch\nfrom src.noise import Noise\nclass Own(Noise):\n"
    learns = "    def parameters(self, shape): return {'a': torch.ones(1, 1)}\n"
    component("noise", "own", head + learns + "    def factor(self, h, rate, site): return h\n")
    with pytest.raises(InputError, match=r"noise=own: .*define activation, weight or product: no gradient"):
        make_run(noise={"name": "own"})
    by_hand = "    def activation(self, h, rate, site): return h * site.normal(h.shape) * rate, None\n"
    component("noise", "own", head + learns + by_hand)
    with pytest.raises(InputError, match=r"own\.py: activation gave a gradient by hand; with parameters"):
        places.check([make_run(**{**TINY, "noise": {"name": "own"}})], (64,), 10)


# Formulas


@settings(max_examples=20, deadline=None)
@given(rate=st.sampled_from([0.05, 0.3, 0.5]), moved=st.floats(-1, 1))
def test_concretes_penalty_is_the_papers(rate: float, moved: float) -> None:
    which, here = make(OPTIONS["concrete"]), Site(1)
    here.parameters = {"logit": torch.full((1, 1), moved)}
    W = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    p = 1 / (1 + math.exp(-(math.log(rate / (1 - rate)) + moved)))
    M = W / (1 - p)
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    kl = 0.1**2 * (1 - p) / 2 * float(M.square().sum()) - 5 * entropy
    assert float(which.penalty(W, rate, here)) == pytest.approx(kl, rel=1e-4)


def test_cold_concrete_dropout_is_dropout() -> None:
    which, here = make({**OPTIONS["concrete"], "temperature": 1e-6}), Site(1, draws(1))
    here.parameters = {"logit": torch.zeros(1, 1)}
    x, W, b = torch.rand(4000, 6), torch.eye(6), torch.zeros(6)
    factor = (which.product(x, W, b, 0.25, here) / x).round(decimals=3)
    torch.testing.assert_close(factor.unique(), torch.tensor([0.0, 1.333]))
    assert float((factor == 0).double().mean()) == pytest.approx(0.25, abs=0.015)


def test_concretes_rate_grows_where_the_data_do_not_mind() -> None:
    which, here = make(OPTIONS["concrete"]), Site(1)
    logit = torch.zeros(1, 1, requires_grad=True)
    here.parameters = {"logit": logit}
    (gradient,) = torch.autograd.grad(which.penalty(torch.zeros(3, 4), 0.1, here), logit)
    p = 0.1  # dH/dlogit = p(1 - p)·ln((1 - p)/p)
    assert float(gradient) == pytest.approx(-4 * p * (1 - p) * math.log((1 - p) / p), rel=1e-4)


@settings(max_examples=10, deadline=None)
@given(rate=st.sampled_from([0.1, 0.25, 0.45]))
def test_variationals_product_and_penalty_are_the_papers(rate: float) -> None:
    which, gaussian = make(OPTIONS["variational"]), make({"name": "dropconnect_gaussian"})
    x, W, b = torch.rand(9, 5), torch.randn(4, 5), torch.randn(4)
    here = Site(1, draws(1))
    here.parameters = {"logit": torch.zeros(1, 1)}
    z = which.product(x, W, b, rate, here)
    torch.testing.assert_close(z, gaussian.product(x, W, b, rate, Site(1, draws(1)))[0], rtol=1e-4, atol=1e-5)
    a = rate / (1 - rate)
    kl = -(0.5 * math.log(a) + 1.16145124 * a - 1.50204118 * a**2 + 0.58629921 * a**3)
    assert float(which.penalty(W, rate, here)) == pytest.approx(20 * kl, rel=1e-4)


def test_advanced_at_a_half_is_the_authors_formula() -> None:
    which, here = make(OPTIONS["advanced"]), Site(1, draws(1))
    own = initial_parameters(which, (20, 32), seed=3)
    assert {name: tuple(value.shape) for name, value in own.items()} == {
        "A": (2, 32), "a": (1, 1), "v": (1, 2), "c": (1, 1), "w": (1, 2), "d": (1, 1),
    }  # fmt: skip
    here.parameters = own
    h = torch.rand(20, 32)
    g = F.linear(h, own["A"]) + own["a"]
    mu, sigma = F.linear(g, own["v"]).mean(), F.softplus(F.linear(g, own["w"]) + 1.2).mean()
    mask = torch.sigmoid(mu + sigma * draws(1).normal(h.shape))
    expected_h = h * mask / torch.sigmoid(mu / (1 + math.pi / 8 * sigma**2) ** 0.5)
    torch.testing.assert_close(which.activation(h, 0.5, here), expected_h)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_advanced_begins_with_the_mean_mask_of_its_rate(rate: float) -> None:
    which, here = make(OPTIONS["advanced"]), Site(1, draws(1))
    h = torch.full((4000, 16), 1e-6)
    here.parameters = {**initial_parameters(which, h.shape, 0), "a": torch.zeros(1, 1)}
    noised = which.activation(h, rate, here) / h
    assert float(noised.mean()) == pytest.approx(1, abs=0.03), "the approximation of the logit-normal's mean"
