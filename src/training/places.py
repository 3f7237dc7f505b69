"""Whether a model, a noise and the rates fit together: no rate above 0 may move nothing.

A model is tried once with each noise: a few passes over images of random numbers tell where the noise may act, and
the noise is tried on tensors of the shapes that it meets there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from src import components, models, optimizers, schedules
from src import noise as noises
from src.config import RATES, Run
from src.errors import InputError
from src.noise import Noise, _trial
from src.stacks import trial
from src.stacks.injector import Call
from src.stacks.modules import Modules


class Misfit(InputError):
    """The model, or the noise, raises an exception when it is tried: no run of it can train."""


@dataclass(frozen=True)
class Places:
    """Where a noise may act in a model."""

    count: int = 0
    """Places beside the input, 0."""
    counted: str = "place"
    """What the noise calls them, in the singular."""
    problems: Mapping[int, InputError | str] = field(default_factory=dict)
    """Why there may be no rate above 0 at some of them."""
    shapes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """What the noise is handed at those where it may act: activations (n, units), or a layer's weights (out,
    in)."""


_known: dict[tuple[ModuleType, ModuleType, str], Places | InputError] = {}
"""By the modules of model and noise, as a module that is made anew may have other code."""


def check(runs: Sequence[Run], shape: Sequence[int], classes: int) -> None:
    """Refuses rates that would move nothing, and models that cannot train with any run.

    Args:
        runs: of one data set.
        shape: of an image in it.

    Raises:
        InputError: naming the key, its value and what would be right. A model or noise that raises an exception is
            refused where all runs are of such: otherwise the others train, and its own runs fail.
    """
    misfits = []
    tried = set[Any]()
    for run in runs:
        if (options := repr(run.optimizer)) not in tried:
            tried.add(options)
            optimizers.check(run.optimizer)
        for rate in set(run.rates.values()):
            if (key := (repr(run.schedule), rate)) not in tried:
                tried.add(key)
                schedules.check(run.schedule, rate)
        try:
            of_run(run, shape, classes)
        except Misfit as misfit:
            misfits.append(misfit)
    if misfits and len(misfits) == len(runs):
        raise misfits[0]


def of_run(run: Run, shape: Sequence[int], classes: int) -> Places:
    """The places of the run's model and noise.

    Raises:
        InputError: for a rate above 0 where it would move nothing.
    """
    modules = components.find("model", run.model.name), components.find("noise", run.noise.name)
    key = (*modules, repr((run.model, run.noise, tuple(shape), classes)))
    if key not in _known:
        try:
            # a run may be in inference mode, in which nothing is differentiated
            with torch.inference_mode(False):
                _known[key] = _places(run, shape, classes)
        except InputError as error:
            _known[key] = error
    places = _known[key]
    if isinstance(places, InputError):
        raise places
    _check_rates(run, places)
    return places


def _check_rates(run: Run, places: Places) -> None:
    model, noise = run.model.name, run.noise.name
    beyond = {key: rate for key, rate in list(run.rates.items())[places.count :] if rate > 0}
    if beyond:
        key, rate = next(iter(beyond.items()))
        many = "no" if places.count == 0 else places.count
        counted = places.counted if places.count <= 1 else places.counted.replace("place", "places", 1)
        cure = " ".join(f"{key}=0" for key in beyond)
        raise InputError(key, rate, f"model={model} has {many} {counted}; add {cure}")
    rates = [("noise.input_rate", run.noise.get("input_rate", 0.0)), *run.rates.items()]
    for place, (key, rate) in enumerate(rates):
        problem = places.problems.get(place)
        if rate > 0 and isinstance(problem, InputError):
            raise problem
        if rate > 0 and problem:
            raise InputError(key, rate, f"{problem} (model={model}, noise={noise}); or add {key}=0")


def _places(run: Run, shape: Sequence[int], classes: int) -> Places:
    noise, name = noises.make(run.noise), run.model.name
    file = components.shown_path("model", name)
    try:
        problem = _trial.problem_of_masks(noise)
    except components.RAISED as error:
        raised = components.in_hook(error, {"noise": run.noise.name})
        raise Misfit("noise", run.noise.name, raised) from error
    if problem:
        raise InputError(
            "noise", run.noise.name, f"{components.shown_path('noise', run.noise.name)}: {problem}"
        )
    try:
        net, again = (models.build(run.model, math.prod(shape), classes, seed=0) for _ in range(2))
    except InputError:
        raise
    except components.RAISED as error:
        right = "build(features, classes) must give the net"
        raise Misfit("model", name, f"{components.located(error, file)}; {right}") from error
    if problem := _problem_of_net(net) or _difference(net, again):
        raise InputError("model", name, f"{file} {problem}")
    try:
        stack = models.stack_class(name)
        if stack is not Modules:
            return _of_stack(run, stack, net, noise, math.prod(shape))
        return _of_module(run, net, again, noise, shape, classes)
    except InputError:
        raise
    except components.RAISED as error:
        right = f"{file} cannot take an image of shape {tuple(shape)}: {components.in_words(error)}"
        raise Misfit("model", name, right) from error


def _problem_of_net(net: Any) -> str | None:
    """Why what a model's file builds cannot be trained here: the end of a sentence."""
    if not isinstance(net, nn.Module):
        return f"must build an nn.Module, not {type(net).__name__}"
    for module in net.modules():
        if isinstance(module, torch.jit.ScriptModule) or type(module).__name__ == "OptimizedModule":
            return "must build a plain nn.Module: no noise reaches into a compiled one"
    for key, parameter in net.named_parameters():
        if nn.parameter.is_lazy(parameter):
            return f"must know the shape of {key} as it builds the net: a lazy module has none yet"
        if parameter.device.type != "cpu":
            return f"has {key} on {parameter.device}; it must build the net on the CPU, and training moves it"
        if parameter.dtype != torch.float32:
            return f"has {key} as {parameter.dtype}; it must build the net in torch.float32"
        if not parameter.requires_grad:
            return f"freezes {key}, which weight decay would move; make it a buffer (register_buffer)"
    return None if list(net.parameters()) else "has no parameters, so that nothing would be trained"


def _difference(net: nn.Module, again: nn.Module) -> str | None:
    """Why two nets that were built with one seed are not two equal ones: the end of a sentence."""
    if set(net.parameters()) & set(again.parameters()):
        return "gives one net to all runs; build must make a new one each time"
    tensors, others = (list(built.parameters()) for built in (net, again))
    if len(tensors) != len(others) or not all(map(_same, tensors, others)):
        return "builds other weights each time; draw them from torch's generator, which has the run's seed"
    return None


def _same(tensor: Tensor, other: Tensor) -> bool:
    return tensor.shape == other.shape and torch.allclose(tensor, other, rtol=0, atol=0, equal_nan=True)


def _of_stack(run: Run, stack: Any, net: nn.Module, noise: Noise, features: int) -> Places:
    """Of nets with layers in a row, whose hidden layers are the places."""
    weights = [tuple(parameter.shape) for parameter in net.parameters() if parameter.dim() == 2]
    places = range(stack.places + 1)
    problems: dict[int, InputError | str] = {}
    shapes: dict[int, tuple[int, ...]]
    if not noise.in_layers:
        widths = [features, *(out for out, _ in weights)]
        shapes = {place: (trial.BATCHES[0], widths[place]) for place in places}
    elif noise.reads:
        shapes = {place: weights[place] for place in places}
    else:
        shapes = {place: weights[place - 1] for place in places[1:]}
        problems[0] = "a noise in the layers that make a place has none to act in at the input"
    return Places(stack.places, "place", {**problems, **_problems(run, noise, shapes)}, shapes)


def _problems(run: Run, noise: Noise, shapes: Mapping[int, tuple[int, ...]]) -> dict[int, InputError]:
    """What is wrong with the noise itself, by the places whose shapes these are."""
    name, file = run.noise.name, components.shown_path("noise", run.noise.name)
    return {
        place: InputError("noise", name, f"{file}: {message}")
        for place, shape in shapes.items()
        if (message := _trial.problem(noise, shape, place))
    }


def _of_module(
    run: Run, net: nn.Module, twin: nn.Module, noise: Noise, shape: Sequence[int], classes: int
) -> Places:
    name = run.model.name
    file = components.shown_path("model", name)
    try:
        calls, unused = trial.calls(net, twin, noise, shape, classes)
    except trial.WrongModelError as error:
        raise InputError("model", name, f"{file} {error}") from None
    in_layers = noise.in_layers
    if in_layers:  # place k is made by layer k, and read by the next one
        calls = calls[1:] if noise.reads else calls[:-1]
    problems: dict[int, InputError | str] = {}
    shapes: dict[int, tuple[int, ...]] = {}
    for place, call in enumerate(calls, 1):
        number = place + (in_layers and noise.reads)
        location = f"{'layer' if in_layers else 'place'} {number}"
        kind = f"an nn.{call.kind.__name__}"
        if problem := _problem_of(call, noise):
            problems[place] = f"{location} is {kind}{problem}"
        elif number in unused:
            problems[place] = f"what {location}, {kind}, gives has no effect on the logits"
        else:
            shapes[place] = _units(call)
    problems[0] = (
        "a plain module has no place at its input; call an nn.Dropout on the images, which is place 1"
    )
    problems |= _problems(run, noise, shapes)
    count = len(calls)
    if count > len(RATES) and not in_layers and _trial.hook_of(noise):
        problem = f"{file} calls {count} dropouts, and there are rates for {len(RATES)} places"
        problems |= {place: InputError("model", name, problem) for place in range(1, count + 1)}
    counted = "place" if not in_layers else f"place in its layers for noise={run.noise.name}"
    return Places(count, counted, problems, shapes)


def _units(call: Call) -> tuple[int, int]:
    """A call's tensor as the noise is handed it: (n, units), of whole channels (n, channels); weights (out, in)."""
    return call.shape[0], call.shape[1] if call.kind in DIMENSIONS else math.prod(call.shape[1:])


DIMENSIONS: dict[type[nn.Module], tuple[int, ...]] = {
    nn.Dropout1d: (3,),
    nn.Dropout2d: (3, 4),
    nn.Dropout3d: (5,),
}


def _problem_of(call: Call, noise: Noise) -> str | None:
    """Why the noise's formula is not defined at this call: the end of a sentence."""
    dimensions = DIMENSIONS.get(call.kind)
    if dimensions and len(call.shape) not in dimensions:
        return f" called with a tensor of shape {call.shape}, in which it finds no channels; make it an nn.Dropout"
    if dimensions and not noise.has("factor"):
        return ", and only a noise with a factor can act on whole channels; make it an nn.Dropout"
    if call.kind is nn.Conv2d and noise.has("product"):
        return ", whose positions share their weights: a noise on the product x Wᵀ + b is not defined there"
    return None
