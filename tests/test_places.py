"""No rate above 0 moves nothing: models, noises and rates that do not fit together are refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from configs import DIGITS, make_run

from src.config import Run
from src.errors import InputError
from src.training import places
from src.training.trainer import Images, train

Make = Callable[[str, str, str], None]

NET = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.first, self.second = nn.Linear(features, 16), nn.Linear(16, 16)
        self.out = nn.Linear(16, classes)
        self.drop, self.drop2d, self.other = nn.Dropout(0.3), nn.Dropout2d(0.3), nn.Dropout(0.3)
        self.odd, self.alpha = 0, nn.AlphaDropout(0.3)
        self.attention = nn.MultiheadAttention(16, 2, dropout=0.3, batch_first=True)
        self.lstm = nn.LSTM(16, 16, 2, dropout=0.3, batch_first=True)
        {init}

    def forward(self, x):
        h = F.relu(self.first(x))
        {body}
        return self.out(h)

def build(features, classes):
    return Net(features, classes)
"""


def net(body: str, init: str = "del self.lstm") -> str:
    return NET.replace("{init}", init).replace("{body}", body.replace("\n", "\n        "))


def checked(*runs: Run) -> None:
    places.check(runs, (64,), 10)


ACTIVATION = """
from src.noise import Noise

class Mine(Noise):
    def activation(self, h, rate, site):
        return BODY
"""


def test_a_noise_or_model_that_is_made_anew_is_tried_anew(component: Make) -> None:
    component("model", "mine", net("h = self.drop(h)"))
    component("noise", "mine", ACTIVATION.replace("BODY", "h"))
    with pytest.raises(InputError, match="noise=mine"):
        checked(run("mine", "mine"))
    component("noise", "mine", ACTIVATION.replace("BODY", "h * site.keep(h.shape, rate)"))
    checked(run("mine", "mine"))
    component("model", "mine", net("h = h"))
    with pytest.raises(InputError, match="model=mine has no place"):
        checked(run("mine", "mine"))


def run(model: str, noise: Any = "dropout", rates: tuple[float, ...] = (0.2,), **changes: Any) -> Run:
    options = {"name": noise} if isinstance(noise, str) else noise
    if model in ("scratch", "concise"):
        changes = {"model": {"name": model, "hidden1": 8, "hidden2": 8}, **changes}
    if options["name"] == "dropout":
        options = {"input_rate": 0.0, **options}
    numbered = {
        f"dropout{place}": (*rates, 0.0, 0.0)[place - 1] for place in range(1, max(len(rates), 2) + 1)
    }
    return make_run(**{"model": {"name": model}, "noise": options, "data": DIGITS, **numbered, **changes})


ONE, TWICE = "h = self.drop(h)", "h = self.drop(h)\nh = self.drop(F.relu(self.second(h)))"

REFUSED: dict[str, tuple[str, tuple[float, ...], str]] = {
    "none": ("", (0.1, 0.9), "dropout1=0.1: model=own has no place; add dropout1=0 dropout2=0"),
    "one": (ONE, (0.2, 0.5), "dropout2=0.5: model=own has 1 place; add dropout2=0"),
    "twice": (TWICE, (0.1, 0.1, 0.2), "dropout3=0.2: model=own has 2 places; add dropout3=0"),
    "functional": ("h = F.dropout(h, 0.5, self.training)", (0, 0), "drops units by dropout, .*make it an nn"),
    "torch": ("h = torch.dropout(h, 0.5, self.training)", (0, 0), "drops units by dropout, .*make it an nn"),
    "channels": ("h = F.dropout2d(h[..., None, None], 0.5).flatten(1)", (0, 0), "drops units by dropout2d, "),
    "feature": ("h = F.feature_alpha_dropout(h, 0.5, True)", (0, 0), "drops units by feature_alpha_dropout, "),
    "alpha": ("h = self.alpha(h)", (0, 0), "drops units by alpha_dropout, .*make it an nn.Dropout"),
    "attention": ("h = self.attention(h, h, h)[0]", (0, 0), "drops units by an nn.MultiheadAttention's dropout"),
    "scaled": ("h = F.scaled_dot_product_attention(h, h, h, None, 0.5)", (0, 0), "attention's dropout_p"),
    "scripted": ("h = torch.jit.script(nn.Dropout(0.5).train(self.training))(h)", (0, 0), "in a scripted part"),
    "scripted function": ("h = torch.jit.script(F.rrelu)(h, training=True)", (0, 0), "scripted part"),
    "random": ("if torch.rand(()) < 0.5: h = self.drop(h)", (0.2,), "calls in one pass . dropouts and in another"),
    "training": ("if self.training: h = self.drop(h)", (0.2,), "calls in one pass . dropouts and in another"),
    "by size": ("for _ in range(len(h) // 4): h = self.drop(h)", (0.2,), "calls in one pass . dropouts and in"),
    "discarded": ("self.drop(h)", (0.2,), "dropout1=0.2: what place 1, an nn.Dropout, gives has no effect"),
    "no channels": ("h = self.drop2d(h)", (0.2,), "dropout1=0.2: place 1 is an nn.Dropout2d called with"),
    "eleven": ("for _ in range(11): h = self.drop(h)", (0.2,), "calls 11 dropouts, and there are rates for 9"),
    "classes": ("return h", (0, 0), r"must give logits of shape \(8, 10\), not \(8, 16\)"),
    "tuple": ("return h, h", (0, 0), r"must give logits of shape \(8, 10\), not tuple"),
    "wrong": ("h = h @ h", (0, 0), r"cannot take an image of shape \(64,\): RuntimeError: mat1 and mat2 shapes"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # scripts are on their way out
@pytest.mark.parametrize("case", REFUSED)
def test_a_net_that_does_not_fit_is_refused_in_one_line(case: str, component: Make) -> None:
    body, rates, said = REFUSED[case]
    component("model", "own", net(body))
    with pytest.raises(InputError, match=said) as caught:
        checked(run("own", rates=rates))
    assert "\n" not in str(caught.value)


BUILDS = {
    "lambda x: x": "must build an nn.Module, not function",
    "None": "must build an nn.Module, not NoneType",
    "nn.Flatten()": "has no parameters, so that nothing would be trained",
    "nn.LazyLinear(classes)": "must know the shape of weight as it builds the net",
    "nn.Linear(features, classes).requires_grad_(False)": "freezes weight, which weight decay would move",
    "torch.jit.script(nn.Linear(features, classes))": "no noise reaches into a compiled one",
    "torch.compile(nn.Linear(features, classes))": "no noise reaches into a compiled one",
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("built", BUILDS)
def test_what_is_no_net_to_be_trained_is_refused(built: str, component: Make) -> None:
    component(
        "model", "own", f"import torch\nfrom torch import nn\ndef build(features, classes): return {built}\n"
    )
    with pytest.raises(InputError, match=f"model=own: .*own.py .*{BUILDS[built]}"):
        checked(run("own", rates=(0.0, 0.0)))


SCHEDULES = {
    "progress * float('nan')": "gave nan for the configured rate 0.2; it must give rates from 0 to 1",
    "None": "gave None; its rate must return a number, or one for each of the 16 steps",
    "configured + 2 * progress": "gave 1.07.* for the configured rate 0.2; it must give rates from 0 to 1",
    "configured - progress": "gave -0.05 for the configured rate 0.2",
    "0.5 + 0 * progress": "gave 0.5 for the configured rate 0; it must give 0 throughout",
    "progress[:3]": r"gave float64 of shape \(3,\); its rate must return a number",
    "'a'": "gave 'a'; its rate must return a number",
    "configured + 1j * progress": r"gave complex128 of shape \(16,\); its rate must return a number",
    "configured * np.random.random()": "gives other rates each time it is asked",
    "progress.nope": "line 2: AttributeError",
}


@pytest.mark.parametrize("body", SCHEDULES)
def test_a_schedule_that_gives_no_rates_is_refused_before_anything_trains(body: str, component: Make) -> None:
    component("schedule", "own", f"import numpy as np\ndef rate(progress, configured): return {body}\n")
    with pytest.raises(InputError, match=f"schedule=own: src/schedules/own.py.*{SCHEDULES[body]}"):
        checked(run("scratch", rates=(0.2, 0.0), schedule={"name": "own"}))


def test_a_schedule_may_miss_a_rate_by_rounding(component: Make) -> None:
    text = "def rate(progress, configured): return configured * (progress - 1e-17) if configured else 0\n"
    component("schedule", "own", text)
    checked(run("concise", rates=(0.2, 0.0), schedule={"name": "own"}))


def test_dropout_inside_an_lstm_is_refused(component: Make) -> None:
    component("model", "own", net("h = self.lstm(h[:, None])[0].flatten(1)", "pass"))
    with pytest.raises(InputError, match=r"drops units inside an nn\.LSTM, .*give it dropout=0"):
        checked(run("own", rates=(0.0, 0.0)))


FINE: dict[str, tuple[str, tuple[float, ...]]] = {
    "one": (ONE, (0.2, 0.0)),
    "twice": (TWICE, (0.2, 0.5)),
    "functional at 0": ("h = self.drop(F.dropout(h, 0.0, self.training))", (0.2,)),
    "functional, off": ("h = self.drop(F.dropout(h, 0.5, False))", (0.2,)),
    "channels": ("h = self.drop2d(h[..., None, None]).flatten(1)", (0.2,)),
    "frozen": ("with torch.no_grad(): h = self.drop(h)", (0.2,)),
    "head of zeros": (ONE + "\nwith torch.no_grad(): self.out.weight.zero_()", (0.2,)),
    "by keyword": ("h = self.drop(input=h)", (0.2,)),
    "layers by keyword": ("h = self.drop(self.second(input=h))", (0.2,)),
    "random numbers of torch's": ("h = self.drop(h * torch.rand_like(h))", (0.2,)),
    "dead units": ("h = self.drop(h * 0)", (0.2,)),
    "a discarded place without a rate": ("h = self.drop(h)\nself.other(h)", (0.2, 0.0)),
}


@pytest.mark.parametrize("case", FINE)
def test_a_net_that_fits_is_not(case: str, component: Make) -> None:
    body, rates = FINE[case]
    component("model", "own", net(body))
    checked(run("own", rates=rates))


def test_the_book_nets_have_two_places() -> None:
    for model in ("scratch", "concise"):
        shape = {"name": model, "hidden1": 8, "hidden2": 8}
        checked(make_run(model=shape))
        with pytest.raises(InputError, match=f"dropout3=0.1: model={model} has 2 places; add dropout3=0"):
            checked(make_run(model=shape, dropout3=0.1))
        checked(make_run(model=shape, dropout3=0.1, noise={"name": "none"}))


def test_an_input_rate_where_it_would_do_nothing() -> None:
    concise = {"name": "concise", "hidden1": 8, "hidden2": 8}
    input_rate = {"name": "dropout", "input_rate": 0.9}
    with pytest.raises(InputError, match=r"noise.input_rate=0.9: a plain module has no place at its input; "):
        checked(make_run(model=concise, noise=input_rate))
    checked(make_run(noise=input_rate))


NOISE = """
import torch
from src.checks import real
from src.noise import Noise
from src.noise.dropout import Dropout
OPTIONS = {{"input_rate": real(0, 1)}}
class Own({base}):
{body}
"""
FACTOR = "return site.keep(h.shape, rate) / (1 - rate)"

IDLE: dict[str, tuple[str, str]] = {
    "typo": (f"    def factr(self, h, rate, site): {FACTOR}", "is `factr` meant to be `factor`"),
    "nothing": ("    pass", "must define one of factor, activation, weight, product, or it does nothing"),
    "none": ("    def factor(self, h, rate, site): site.keep(h.shape, rate)", "factor gave None at rate 0.25"),
    "none by autograd": ("    def activation(self, h, rate, site): h * 2", "activation gave None at rate 0.25"),
    "none of weights": ("    def weight(self, W, rate, site): W * 2", "weight gave None at rate 0.25"),
    "none of products": ("    def product(self, x, W, b, rate, site): x @ W.mT", "product gave None at rate 0.25"),
    "identity": ("    def activation(self, h, rate, site): return h", "activation changes nothing at rate 0.25"),
    "identity by hand": ("    def weight(self, W, rate, site): return W, None", "weight changes nothing at rate"),
    "plain": ("    def product(self, x, W, b, rate, site): return x @ W.mT + b", "product changes nothing at rate"),
    "ones": ("    def factor(self, h, rate, site): return torch.ones_like(h)", "factor changes nothing at rate"),
    "shape": ("    def factor(self, h, rate, site): return site.keep((len(h), 1), rate)",
              r"factor gave \(8, 1\) and must give h's shape, here \(8, 256\)"),
    "kind": ("    def activation(self, h, rate, site): return 'h'", "activation gave str at rate 0.25; it must"),
    "two": (f"    def factor(self, h, rate, site): {FACTOR}\n    def weight(self, W, rate, site): return W * 2",
            "must define one of factor, activation, weight, product, not factor and weight"),
    "torch.rand": ("    def factor(self, h, rate, site): return (torch.rand(h.shape) > rate) / (1 - rate)",
                   "factor gives other values each time; site.keep, uniform and normal give those of the run"),
    "no rate": ("    def factor(self, h, rate, site): return site.keep(h.shape, 0.5) * 2.0",
                "factor does the same at the rates 0.25 and 0.5"),
    "no rate in weights": ("    def weight(self, W, rate, site): return W * site.keep(W.shape, 0.5), None",
                           "weight does the same at the rates 0.25 and 0.5"),
    "drop alone": ("    def drop(self, h, rate, site): return site.drop_(h, rate)", "define factor beside drop"),
    "drop gives None": (f"    def drop(self, h, rate, site): site.drop_(h, rate)\n"
                        f"    def factor(self, h, rate, site): {FACTOR}", "drop gave None; it must give the"),
    "drop differs": (f"    def drop(self, h, rate, site): return site.drop_(h, rate / 2)\n"
                     f"    def factor(self, h, rate, site): {FACTOR}", "drop and factor must do the same"),
    "drop's number": (f"    def drop(self, h, rate, site): return 1 + 0 * site.drop_(h, rate)\n"
                      f"    def factor(self, h, rate, site): {FACTOR}", "and gave another"),
}  # fmt: skip


@pytest.mark.parametrize("case", IDLE)
def test_a_noise_that_does_nothing_is_refused_with_its_file(case: str, component: Make) -> None:
    body, said = IDLE[case]
    component("noise", "own", NOISE.format(base="Noise", body=body))
    with pytest.raises(InputError, match=said) as caught:
        checked(make_run(noise={"name": "own", "input_rate": 0.0}, data=DIGITS))
    assert "own.py" in str(caught.value) and str(caught.value).startswith("noise=own: ")
    assert "\n" not in str(caught.value)


def test_an_inherited_fast_form_does_not_hide_a_factor_of_ones_own(component: Make) -> None:
    """`drop` of the base would be called, and the own factor never."""
    body = "    def factor(self, h, rate, site): return 2 * super().factor(h, rate, site)"
    component("noise", "own", NOISE.format(base="Dropout", body=body))
    with pytest.raises(InputError, match="drop and factor must do the same"):
        checked(make_run(noise={"name": "own", "input_rate": 0.0}))


def test_a_noise_that_acts_now_and_then_is_not_refused(component: Make) -> None:
    lines = (
        "    def factor(self, h, rate, site):",
        "if float(site.uniform((1, 1))) < 0.7: return None",
        FACTOR,
    )
    body = "\n        ".join(lines)
    component("noise", "own", NOISE.format(base="Noise", body=body))
    checked(make_run(noise={"name": "own", "input_rate": 0.0}))


def test_a_noise_of_the_weights_that_make_a_place_has_no_input(component: Make) -> None:
    component(
        "noise", "own", NOISE.format(base="Noise", body="    def weight(self, W, rate, site): return W * 2")
    )
    with pytest.raises(InputError, match=r"noise.input_rate=0.1: a noise in the layers that make a place"):
        checked(make_run(noise={"name": "own", "input_rate": 0.1}))


def test_options_that_leave_nothing_of_a_noise_are_refused() -> None:
    idle = {"name": "jumpout", "input_rate": 0.0, "highest": 0.0, "power": 0.75}
    with pytest.raises(InputError, match=r"factor changes nothing at rate 0\.25 in 16 steps"):
        checked(make_run(noise=idle))
    checked(make_run(noise=idle, dropout1=0.0, dropout2=0.0))


def test_a_noise_that_raises_is_left_to_its_runs(component: Make) -> None:
    component(
        "noise", "own", NOISE.format(base="Noise", body="    def factor(self, h, rate, site): raise KeyError")
    )
    checked(make_run(noise={"name": "own", "input_rate": 0.0}))


def test_a_net_that_raises_stops_no_other(component: Make) -> None:
    component("model", "own", net("h = h @ h"))
    broken = run("own")
    checked(broken, make_run(data=DIGITS))
    with pytest.raises(InputError, match="cannot take an image"):
        checked(broken, broken)


CONVOLUTIONS = """
from torch import nn
def build(features, classes):
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Dropout2d(),
        nn.Flatten(), nn.Linear(108, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, classes),
    )
"""


def test_noises_where_their_formula_is_not_defined(component: Make) -> None:
    component("model", "own", CONVOLUTIONS)
    additive = {"name": "additive", "input_rate": 0.0, "momentum": 0.1}
    cases: list[tuple[Any, tuple[float, ...], str | None]] = [
        (additive, (0.2, 0.2), "dropout1=0.2: place 1 is an nn.Dropout2d, and only a noise with a factor"),
        (additive, (0.0, 0.2), None),
        ("dropconnect", (0.2, 0.2), None),
        ("dropconnect", (0.2, 0.2, 0.2), "dropout3=0.2: model=own has 2 places in its layers for noise="),
        ("dropconnect_gaussian", (0.2, 0.2), "dropout1=0.2: layer 1 is an nn.Conv2d, whose positions share"),
        ("dropconnect_gaussian", (0.0, 0.2), None),
    ]  # fmt: skip
    for noise, rates, said in cases:
        if said is None:
            checked(run("own", noise, rates))
            continue
        with pytest.raises(InputError, match=said):
            checked(run("own", noise, rates))


def test_the_trial_draws_nothing_of_the_runs(component: Make) -> None:
    component("model", "own", net(TWICE))
    before = torch.random.get_rng_state()
    checked(run("own"))
    assert torch.equal(before, torch.random.get_rng_state())


def test_training_refuses_as_well(component: Make, digit_images: Images) -> None:
    component("model", "own", net(ONE))
    with pytest.raises(InputError, match=r"dropout2=0\.5: model=own has 1 place; add dropout2=0"):
        train([run("own", rates=(0.2, 0.5))], digit_images, 10, lambda rows: None)


@pytest.mark.parametrize("rates", [(0.3, 0.4), (0.3, 0.4, 0.0, 0.2)])
def test_metrics_have_a_column_for_each_place(
    rates: tuple[float, ...], component: Make, digit_images: Images
) -> None:
    component("model", "own", net("\n".join(["h = self.drop(h)"] * len(rates))))
    rows: list[Any] = []
    train([run("own", rates=rates, epochs=1)], digit_images, 10, rows.extend)
    used = {key: value for key, value in rows[0].items() if key.startswith("dropout")}
    assert used == {f"dropout{place}": rate for place, rate in enumerate(rates, 1)}
    assert (f"var{len(rates)}" in rows[0]) and (f"noisy_var{len(rates) + 1}" not in rows[0])
