"""Components of a user's own that would give wrong numbers, or none: one line names the file and what is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from configs import DIGITS, make_job, make_run
from torch import Tensor, nn

from src import components, data, noise
from src.errors import InputError, messages
from src.runs import declared
from src.runs.job import ready
from src.runs.pack import train_jobs
from src.stacks.injector import Injector
from src.training import places

Make = Callable[[str, str, str], None]

NOISE = """
import torch
from src.noise import Noise
OPTIONS = {{}}
class Own(Noise):
    {}
"""
FACTOR = "def factor(self, h, rate, site): "
MASK = "site.keep(h.shape, rate) / (1 - rate)"
PAIR = "def activation(self, h, rate, site): mask = site.keep(h.shape, rate); return h * mask, "

NOISES = {
    "def factor(h, rate, site): return " + MASK:
        r"must define factor\(self, h, rate, site\), and not factor\(h, rate, site\)$",
    "def activation(self, h, rate): return h * rate": r"must define activation\(self, h, rate, site\), and",
    "def product(self, x, W, rate, site): return x @ W.mT": r"must define product\(self, x, W, b, rate, site\), ",
    FACTOR + "return " + MASK + "\n    def merge(self): return 0": r"must define merge\(self, log_p\), and not ",
    "def __init__(self, options): self.x = 1": r"its __init__ must call super\(\).__init__\(options\)",
    "def __init__(self): pass": "TypeError: .*; its __init__ must take the options alone",
    "def __init__(self, options): options['strength']": "line 6: KeyError: 'strength'; its __init__ must take",
    "def __init__(self, options): exit(0)": "line 6: SystemExit: 0; its __init__ must take",
    FACTOR + "return h.mul_(" + MASK + ")": "factor changes what it is given, in place",
    "def activation(self, h, rate, site): return h.mul_(" + MASK + ")": "activation changes what it is given",
    "def weight(self, W, rate, site): return W.mul_(site.keep(W.shape, rate)), None": "weight changes what it is",
    FACTOR + "return (" + MASK + ").double()": "factor gave torch.float64 on cpu and must give torch.float32",
    FACTOR + "return site.keep(h.shape, rate) > 0": "factor gave torch.bool on cpu and must give torch.float32",
    FACTOR + "return (" + MASK + ").to('meta')": "factor gave torch.float32 on meta and must give torch.float32 on",
    FACTOR + "return site.keep(h.shape, rate) / 0": "factor gave numbers that are not finite at rate 0.25",
    FACTOR + "torch.manual_seed(0); return (torch.rand(h.shape) > rate) / (1 - rate)": "sets or moves torch's gen",
    FACTOR + "self.n = getattr(self, 'n', 0) + 1; return site.keep(h.shape, rate) * self.n":
        "factor gives other values after 16 steps; what it keeps between them belongs in site.state",
    FACTOR + "self.mask = getattr(self, 'mask', " + MASK + "); return self.mask": "other values after 16 steps",
    FACTOR + "g = torch.Generator().manual_seed(0); return (torch.rand(h.shape, generator=g) > rate) / (1 - rate)":
        "factor treats each image in another way, and in each step alike; site.keep, uniform and normal give those",
    "fixed = {}\n    " + FACTOR + "return self.fixed.setdefault(h.shape, " + MASK + ")": "and in each step alike",
    "def activation(self, h, rate, site): return h * (1 + rate * torch.arange(float(len(h)))[:, None])":
        "activation treats each image in another way, and in each step alike",
    FACTOR + "return " + MASK + "\n    def penality(self, W, rate, site): return 0":
        "defines `penality`, which nothing calls; is it meant to be `penalty`",
    FACTOR + "return " + MASK + "\n    def parameter(self, shape): return {}":
        "defines `parameter`, which nothing calls; is it meant to be `parameters`",
    "def activation(self, h, rate, site): return h.detach() * " + MASK: "activation gives h no gradient",
    "def product(self, x, W, b, rate, site): return x @ W.detach().mT * (1 - rate) + b": "gives W no gradient",
    PAIR + "mask": "activation gave Tensor beside its tensor, and must give a function of the gradient",
    PAIR + "lambda delta: delta[:1]": "activation's gradient by hand must be of the shape of h, and is not",
    PAIR + "lambda delta: None": "activation's gradient by hand must be of the shape of h, and is not",
    PAIR + "lambda delta: delta.clamp(-0.1, 0.1) * mask": "activation's gradient by hand must be linear",
    "def product(self, x, W, b, rate, site): return x @ W.mT * (1 - rate) + b, None": "must give a function",
}  # fmt: skip


@pytest.mark.parametrize("body", NOISES)
def test_a_noise_whose_numbers_would_be_wrong(body: str, component: Make) -> None:
    factor = (
        "" if "activation" in body or "weight" in body or "product" in body or "factor" in body else FACTOR
    )
    component("noise", "own", NOISE.format(body + ("\n    " + factor + "return " + MASK if factor else "")))
    with pytest.raises(InputError, match=NOISES[body]) as caught:
        places.check([make_run(noise={"name": "own"}, data=DIGITS)], (64,), 10)
    assert "own.py" in str(caught.value) and str(caught.value).startswith("noise=own: ")


FINE = [
    "factor = lambda self, h, rate, site: " + MASK,
    FACTOR + "return (site.keep((1, h.shape[-1]), rate) / (1 - rate)).expand(h.shape)",
    FACTOR + "return (site.keep(h.shape[::-1], rate) / (1 - rate)).T",
    FACTOR + "site.state['n'] = site.state.get('n', 0) + 1; return " + MASK,
    PAIR + "None",
    "@staticmethod\n    def factor(h, rate, site, scale=1.0): return scale * " + MASK,
    "def factor(self, *given): h, rate, site = given; return " + MASK,
]


@pytest.mark.parametrize("body", FINE)
def test_a_noise_that_is_unusual_trains(body: str, component: Make, tmp_path: Path) -> None:
    component("noise", "own", NOISE.format(body))
    sizes = {"hidden1": 8, "hidden2": 8}
    job = make_job(noise={"name": "own"}, data=DIGITS, model=sizes, epochs=1, output=str(tmp_path))
    ready([job.run])
    assert train_jobs([job])[0]["error"] is None


NET = "import random, torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"
LAYERS = "nn.Sequential(nn.Linear(features, 4), nn.Dropout(), nn.Linear(4, classes))"
CHILD = "nn.Sequential({}, nn.Dropout(), nn.Linear(4, classes))"

MODELS = {
    f"net = None\ndef build(features, classes):\n    global net\n    net = net or {LAYERS}\n    return net":
        "gives one net to all runs; build must make a new one each time",
    f"def build(features, classes):\n    net = {LAYERS}\n    net[0].weight.data *= random.random()\n    return net":
        "builds other weights each time; draw them from torch's generator",
    "width = 4\ndef build(features, classes):\n    global width\n    width += 1\n"
    "    return nn.Sequential(nn.Linear(features, width), nn.Dropout(), nn.Linear(width, classes))":
        "builds other weights each time",
    "def build(features): return nn.Linear(features, 10)": "TypeError: .*; build.features, classes. must give",
    "def build(features, classes): exit(0)": "line 4: SystemExit: 0; build.features, classes. must give the net",
    f"def build(features, classes): return nn.Sequential(*{LAYERS}, nn.Softmax(-1))":
        "must give logits, not probabilities: leave out the softmax at its end",
    f"def build(features, classes): return nn.Sequential(*{LAYERS}, nn.Sigmoid())":
        "gives numbers from 0 to 1: leave out the sigmoid at its end",
    f"def build(features, classes):\n    torch.manual_seed(0)\n    return {LAYERS}":
        "seeds torch's generator, so that all seeds would begin with the same weights",
    f"def build(features, classes): return {LAYERS}.double()": "has 0.weight as torch.float64; it must build",
    # weights that nothing would train: in a list, made in a pass, no parameter
    "class Net(nn.Sequential):\n    def forward(self, x): return self.listed[0](super().forward(x))\n"
    "def build(features, classes):\n    net = Net(nn.Linear(features, 9))\n"
    "    net.listed = [nn.Linear(9, classes)]\n    return net":
        r"reads a weight of shape \(10, 9\) that nothing would train, .*; make all layers as it is built",
    "class Net(nn.Sequential):\n    def forward(self, x):\n        x = super().forward(x)\n"
    "        self.last = getattr(self, 'last', None) or nn.Linear(9, 10)\n        return self.last(x)\n"
    "def build(features, classes): return Net(nn.Linear(features, 9))": ".* that nothing would train",
    "class Net(nn.Sequential):\n    def forward(self, x): return super().forward(x) * self.gain\n"
    "def build(features, classes):\n    net = Net(nn.Linear(features, classes))\n"
    "    net.gain = torch.ones(1, requires_grad=True)\n    return net": ".* that nothing would train",
    "class Net(nn.Sequential):\n    def forward(self, x): return super().forward(x) * random.random()\n"
    "def build(features, classes): return Net(nn.Linear(features, classes))":
        "gives other logits each time; draw from torch's generator",
    "class Net(nn.Sequential):\n    def forward(self, x):\n        return super().forward(x) + "
    "(not self.training) * random.random()\n"
    "def build(features, classes): return Net(nn.Linear(features, classes))": "gives other logits each time",
    # the images of the test set come again each epoch
    **{
        f"class Net(nn.Sequential):\n    def forward(self, x):\n        {change}\n"
        "        return super().forward(x)\ndef build(features, classes): return Net(nn.Linear(features, classes))":
            "changes the images that it is given, which come again; it must change a copy"
        for change in ("x -= 0.5", "x.mul_(2)", "x[:, 0] = 0")
    },
    **{
        f"class Net(nn.Sequential):\n    def forward(self, x): return super().forward(x){squeezed}\n"
        "def build(features, classes): return Net(nn.Linear(features, classes))":
            r"must give logits of shape \(1, 10\), not \(10,\), where a batch is a single image"
        for squeezed in (".squeeze()", "[0 if len(x) == 1 else slice(None)]")
    },
    "class Net(nn.Sequential):\n    def forward(self, x): return super().forward(x).detach()\n"
    "def build(features, classes): return Net(nn.Linear(features, classes))": "not depend on its parameters",
    f"def build(features, classes): return {CHILD.format('torch.jit.script(nn.Linear(features, 4))')}":
        "no noise reaches into a compiled one",
    f"def build(features, classes): return {LAYERS}.to(torch.device('meta'))":
        "has 0.weight on meta; it must build the net on the CPU",
    "class Late(nn.Dropout):\n    def forward(self, x): return x if self.training else F.dropout(x)\n"
    f"def build(features, classes): return {LAYERS.replace('nn.Dropout()', 'Late(0)')}": "drops units by dropout",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("text", MODELS)
def test_a_model_whose_numbers_would_be_wrong(text: str, component: Make) -> None:
    component("model", "own", NET + text)
    with pytest.raises(InputError, match=MODELS[text]) as caught:
        places.check([make_run(model={"name": "own"}, dropout1=0.0, dropout2=0.0)], (64,), 10)
    assert str(caught.value).startswith("model=own: src/models/own.py")


class Counting(nn.Module):
    """A net that keeps count in plain attributes, whatever mode it is in."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.passes, self.mean = nn.Linear(3, 2), 0, torch.zeros(3)

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        self.mean.lerp_(x.mean(0), 0.5)
        self.last = x
        logits: Tensor = self.out(x - self.mean)
        return logits


def test_looking_at_a_net_leaves_its_attributes_as_they_were() -> None:
    net = Counting()
    injector = Injector(net, noise.make({"name": "none"}))
    injector.eval_pass(torch.ones(4, 3))
    assert (net.passes, net.mean.tolist(), hasattr(net, "last")) == (0, [0.0, 0.0, 0.0], False)


OPTIMIZER = """
from src.optimizers import COMMON, Optimizer
OPTIONS = {{**COMMON}}
class Own(Optimizer):
    {}
"""
UPDATE = "def update(self, gradients, lr): "
OPTIMIZERS = {
    "pass": "an optimizer must define update",
    UPDATE + "pass": "moves no parameter; its update must write to self.parameters, in place",
    UPDATE + "self.parameters = self.parameters - lr * gradients": "moves no parameter",
    UPDATE + "self.parameters.sub_(0.1 * gradients)": "does the same at the learning rates 0.1 and 0.05",
    "seen = 0\n    "
    + UPDATE
    + "Own.seen += 1; self.parameters.sub_(lr * Own.seen)": "something else each time",
    "plain = True\n    " + UPDATE + "self.parameters.sub_(lr * gradients.sign())": "says that it is plain",
    "def __init__(self, *given): pass\n    " + UPDATE + "pass": "AttributeError",
    UPDATE + "exit(0)": "line 5: SystemExit: 0",
}


@pytest.mark.parametrize("body", OPTIMIZERS)
def test_an_optimizer_that_would_do_nothing(body: str, component: Make) -> None:
    component("optimizer", "own", OPTIMIZER.format(body))
    sgd = {key: value for key, value in make_run().optimizer.items() if key not in ("momentum", "nesterov")}
    with pytest.raises(InputError, match=f"optimizer=own: src/optimizers/own.py.*{OPTIMIZERS[body]}"):
        places.check([make_run(optimizer={**sgd, "name": "own"})], (64,), 10)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("0.3 * (configured > 0) + 0 * progress", "gives the same rates for 0.2 and 0.1; they must follow"),
        ("exit(0)", "line 1: SystemExit: 0"),
        ("None", "gave None; its rate must return a number, or one for each of the 16 steps"),
        ("'half'", "gave 'half'; its rate must return a number"),
        ("progress[1:]", r"gave float64 of shape \(15,\); its rate must return a number"),
    ],
)
def test_a_schedule_that_heeds_no_rate(body: str, said: str, component: Make) -> None:
    component("schedule", "own", f"def rate(progress, configured): return {body}")
    with pytest.raises(InputError, match=f"schedule=own: src/schedules/own.py.*{said}"):
        places.check([make_run(schedule={"name": "own"})], (64,), 10)


READ = """
import random, time
import numpy as np
from src.data import Arrays
draw = random.Random({seed})
def read(options):
    images = np.full((8, 2), {value})
    return Arrays(images, [0, 1] * 4, images, [0, 1] * 4, scale=1, classes=2)
"""


@pytest.fixture
def forgotten() -> Any:
    caches: Sequence[Any] = (data._read, data._checksum, data._split)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize(
    ("seed", "value"), [("", "draw.random()"), (1, "time.time() % 1"), (1, "random.random()")]
)
def test_data_that_are_other_ones_at_each_start_are_refused(seed: Any, value: str, component: Make) -> None:
    component("data", "own", READ.format(seed=seed, value=value))
    with pytest.raises(InputError, match=r"data=own: src/data/own\.py gives other arrays at each start"):
        data.arrays_checksum({**DIGITS, "name": "own"})


@pytest.mark.usefixtures("forgotten")
def test_a_generator_with_a_seed_may_be_the_modules(component: Make) -> None:
    component("data", "own", READ.format(seed=1, value="draw.random()"))
    assert data.arrays_checksum({**DIGITS, "name": "own"})


@pytest.mark.usefixtures("forgotten")
def test_what_takes_long_to_read_is_read_once(component: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "QUICK", 0.0)
    component("data", "own", READ.format(seed="", value="draw.random()"))
    assert data.arrays_checksum({**DIGITS, "name": "own"})


@pytest.mark.usefixtures("forgotten")
def test_a_component_that_exits_ends_its_run_alone(component: Make, tmp_path: Path) -> None:
    component("data", "own", READ.format(seed=1, value="exit(0)"))
    with pytest.raises(InputError, match=r"data=own: src/data/own\.py, line 7: SystemExit: 0"):
        data.arrays_checksum({**DIGITS, "name": "own"})
    component("noise", "own", NOISE.format(FACTOR + "exit(0)"))
    job = make_job(noise={"name": "own"}, data=DIGITS, epochs=1, output=str(tmp_path))
    ready([job.run])
    (record,) = train_jobs([job])
    assert (record["state"], record["error"]) == (
        "failed",
        "src/noise/own.py, line 6, in factor: SystemExit: 0",
    )


MASKS = """
import torch
from src.noise import Noise
{globals}
class Mine(Noise):
    masks = 2
    def factor(self, h, rate, site):
        return site.keep(h.shape, rate) / (1 - rate)
    {body}
"""
OF_MASKS = {
    "masks = 2.5": "masks gave 2.5; a whole number of at least 1 is right",
    "masks = 0": "masks gave 0; ",
    "def merge(self, log_p): return None": "merge gave NoneType of log_p",
    "def merge(self, log_p): return log_p": "merge gave .* is right",
    "def merge(self, log_p): return log_p.detach().mean(-3)": "merge gives no gradient",
    "def merge(self, log_p): return torch.logsumexp(log_p, -3)": "shares is not the derivative of merge",
    "def shares(self, log_p): return log_p.softmax(-3) * 3": "shares is not the derivative of merge",
    "def shares(self, log_p): return 0.5": "shares is not the derivative of merge",
}


@pytest.mark.parametrize("body", OF_MASKS)
def test_masks_that_become_another_loss_than_is_said_are_refused(body: str, component: Make) -> None:
    component("noise", "mine", MASKS.format(globals="", body=body))
    with pytest.raises(InputError, match=rf"^noise=mine: .*mine\.py: {OF_MASKS[body]}"):
        places.check([make_run(noise={"name": "mine"})], (64,), 10)


UNDECLARED = {
    "noise": (NOISE.format(FACTOR + "return " + MASK), "slope"),
    "optimizer": ("from src.optimizers import Optimizer\nclass Own(Optimizer): pass", "lr"),
    "schedule": ("def rate(progress, configured, power): return configured * progress ** power", "power"),
    "model": ("def build(features, classes, width): pass", "width"),
}


@pytest.mark.parametrize("group", UNDECLARED)
def test_a_key_of_a_yaml_that_the_file_does_not_declare_is_said_to_belong_there(
    group: str, component: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, key = UNDECLARED[group]
    component(group, "own", text)
    monkeypatch.setattr(components, "REPOSITORY", tmp_path)
    (tmp_path / "conf" / group).mkdir(parents=True)
    (tmp_path / "conf" / group / "own.yaml").write_text(f"name: own\n{key}: 2\n")
    said = rf"{group}\.{key}=2: conf/{group}/own\.yaml sets it, so OPTIONS in src/\w+/own\.py must have it, "
    with pytest.raises(InputError, match=f"^{said}such as OPTIONS = .'{key}': real.0..$"):
        components.check_options(group, {"name": "own", key: 2})
    with pytest.raises(InputError, match=rf"^{group}\.{key}s=2: there is no such key; known here: none$"):
        components.check_options(group, {"name": "own", f"{key}s": 2})


@pytest.mark.parametrize(
    ("check", "given"), [("real", "a function"), ("complex", "complex"), ("lambda value: {value}", "set")]
)
def test_a_check_that_gives_what_no_file_can_hold_is_named(check: str, given: str, component: Make) -> None:
    globals_ = f"from src.checks import real\nOPTIONS = {{'slope': {check}}}"
    component("noise", "mine", MASKS.format(globals=globals_, body=""))
    said = rf"its check in src/noise/mine\.py gives {given}; one such as real.0, 1. is right"
    with pytest.raises(InputError, match=rf"^noise\.slope=1: {said}$"):
        make_run(noise={"name": "mine", "slope": 1})


@pytest.mark.parametrize("group", components.PACKAGES)
def test_a_yaml_that_still_has_the_name_it_was_copied_with_is_refused(
    group: str, component: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    component(group, "mine", "")
    monkeypatch.setattr(components, "REPOSITORY", tmp_path)
    (yaml := tmp_path / "conf" / group / "mine.yaml").parent.mkdir(parents=True)
    run = make_run(data=DIGITS)
    name = getattr(run, group).name
    yaml.write_text(f"name: {name} # copied\n")
    with pytest.raises(
        InputError, match=rf"^{group}\.name={name}: must be mine in conf/{group}/mine\.yaml, or src/"
    ):
        components.check_choices({group: "mine"}, run)
    components.check_choices({group: name}, run)
    components.check_choices({group: "preset"}, run)  # a YAML of other values for a file that is there
    yaml.write_text("name: mine\n")
    components.check_choices({group: "mine"}, run)  # the name was given on the command line


def test_a_yaml_or_a_file_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("conf/noise/mine.yaml", "src/noise/yours.py", "src/schedules/yours.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    monkeypatch.setattr(components, "REPOSITORY", tmp_path)
    monkeypatch.setattr(messages, "CONF", tmp_path / "conf")
    lacks = r"\(conf/noise/mine\.yaml is there, and src/noise/mine\.py is not\); choose one of additive, "
    with pytest.raises(InputError, match=rf"^noise=mine: there is no such noise {lacks}"):
        components.find("noise", "mine")
    for group, room in (("noise", "noise"), ("schedule", "schedules")):
        error = ValueError(
            f"Could not find '{group}/yours'\n\nAvailable options in '{group}':\n\ta\n\tb\nConfig"
        )
        assert messages.sentence(error) == (
            f"{group}=yours",
            f"there is no such choice (src/{room}/yours.py is there, and conf/{group}/yours.yaml is not); "
            "choose one of a, b",
        )


RAISING = ["merge(self, log_p)", "shares(self, log_p)", "masks(self)"]


@pytest.mark.parametrize("hook", RAISING)
def test_a_hook_of_masks_that_raises_is_named_before_anything_trains(hook: str, component: Make) -> None:
    line = ("@property\n    " if hook == "masks(self)" else "") + f"def {hook}: return {{}}['strength']"
    component("noise", "late", MASKS.format(globals="", body=line))
    run, other = make_run(noise={"name": "late"}), make_run()
    said = rf"^noise=late: src/noise/late\.py, line \d+, in {hook.partition('(')[0]}: KeyError: 'strength'$"
    with pytest.raises(InputError, match=said):
        places.check([run], (64,), 10)
    places.check([run, other], (64,), 10)  # its own runs fail, and the others train


LEARNS = """
import torch
from src.noise import Noise
class Mine(Noise):
    def activation(self, h, rate, site):
        return h * site.keep(h.shape, rate) / (1 - rate)
    {}
"""
LATE = {
    "def penalty(self, W, rate, site): return self.options['strength']": "penalty: KeyError: 'strength'",
    "def parameters(self, shape): raise RuntimeError('a\\nb')": "parameters: RuntimeError: a b",
    "def activation(self, h, rate, site): return h @ h": "activation: RuntimeError: mat1 and mat2",
}


@pytest.mark.parametrize("body", LATE)
@pytest.mark.parametrize("model", ["scratch", "own"])
def test_a_hook_that_raises_in_a_run_is_named(body: str, model: str, component: Make, tmp_path: Path) -> None:
    component("noise", "late", LEARNS.format(body))
    component("model", "own", f"{NET}def build(features, classes): return {LAYERS}")
    changes = {"model": {"name": "own"}, "dropout2": 0.0} if model == "own" else {}
    job = make_job(noise={"name": "late"}, data=DIGITS, epochs=1, output=str(tmp_path), **changes)
    ready([job.run])
    (record,) = train_jobs([job])
    assert record["state"] == "failed" and f"src/noise/late.py, line 7, in {LATE[body]}" in record["error"]
    assert "\n" not in record["error"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "OPTIONS = {'a': lambda value: value['b']}",
            "in <lambda>: TypeError: 'int' object is not subscriptable",
        ),
        ("def check(options): return options['b']", "in check: KeyError: 'b'"),
        ("def check(options): exit(3)", "in check: SystemExit: 3"),
    ],
)
def test_a_check_of_options_that_raises_is_named(text: str, said: str, component: Make) -> None:
    component(
        "noise",
        "mine",
        MASKS.format(globals=text if "OPTIONS" in text else f"OPTIONS = {{}}\n{text}", body=""),
    )
    given = {"name": "mine"} | ({"a": 1} if "OPTIONS" in text else {})
    with pytest.raises(InputError, match=rf"^noise=mine: src/noise/mine\.py, line [45], {said}"):
        make_run(noise=given)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("OPTIONS = ['a']", "OPTIONS must be a dict from each key to its check"),
        ("OPTIONS = {'a': 0.5}", "OPTIONS must be a dict from each key to its check"),
        ("RATE = 0.5", "RATE must be a check, such as"),
        ("from src.checks import real\nRATE = real", "RATE must be a check, such as"),
        ("METRICS = ['a']", "METRICS must be a dict, such as"),
    ],
)
def test_what_a_file_declares_in_another_form_is_refused(line: str, said: str, component: Make) -> None:
    component("noise", "mine", MASKS.format(globals=line, body=""))
    with pytest.raises(InputError, match=rf"^noise=mine: .*mine\.py: {said}"):
        declared.metrics(make_run(noise={"name": "mine"}))
