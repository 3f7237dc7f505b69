"""A plain `nn.Module` tried on images of random numbers: which calls of its modules are places for a noise?"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from src.noise import Noise
from src.stacks.injector import Call, Injector, WrongModelError
from src.streams import Draws

BATCHES = (8, 5, 8)
"""Images in the passes in training; the last number again in those in evaluation."""


def calls(
    net: nn.Module, twin: nn.Module, noise: Noise, shape: Sequence[int], classes: int
) -> tuple[list[Call], set[int]]:
    """The calls at which the noise may act, in order, and the numbers, from 1, of those without effect.

    Args:
        net: is changed, and of no use afterwards.
        twin: another one like it.
        shape: of an image.

    Raises:
        WrongModelError: if it drops units by itself, calls now more modules and now fewer, gives no logits (n,
            classes), of a single image, too, or probabilities, or other ones each time, or changes its images, or
            reads what nothing would train.
    """
    for module in net.modules():
        if isinstance(module, nn.RNNBase) and module.dropout > 0 and module.num_layers > 1:
            name = type(module).__name__
            raise WrongModelError(
                f"drops units inside an nn.{name}, which no rate reaches; give it dropout=0"
            )
    parameters = set(net.parameters())  # of now: a pass may make some
    injector = Injector(net, noise)
    for step, n in enumerate(BATCHES):
        injector.tap = tap = _Tap()
        with torch.random.fork_rng(devices=[]), _modules_alone_drop():
            logits: Any = injector.train_pass(_images(n, shape), (), _draws(step))
        if not isinstance(logits, Tensor) or logits.shape != (n, classes):
            returned = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise WrongModelError(f"must give logits of shape {(n, classes)}, not {returned}")
        _check_leaves(logits, parameters.union(tap.leaves))
        if step == 0:
            with torch.random.fork_rng(devices=[]):
                of_twin = Injector(twin, noise).train_pass(_images(n, shape), (), _draws(0))
                _check_same(logits, of_twin)
    unread = tap.unread(logits)
    images = _images(BATCHES[-1], shape)
    injector.tap = _Tap()
    with _modules_alone_drop():
        plain = injector.eval_pass(images)
        single = injector.eval_pass(images[:1].clone())
    if not torch.equal(images, _images(BATCHES[-1], shape)):
        raise WrongModelError("changes the images that it is given, which come again; it must change a copy")
    if single.shape != (1, classes):
        shapes = f"of shape {(1, classes)}, not {tuple(single.shape)}"
        raise WrongModelError(
            f"must give logits {shapes}, where a batch is a single image, as the last may be"
        )
    _check_same(plain, injector.eval_pass(images))
    if torch.allclose(plain.sum(-1), torch.ones(())) and (plain >= 0).all():
        raise WrongModelError("must give logits, not probabilities: leave out the softmax at its end")
    if all(((given >= 0) & (given <= 1)).all() for given in (plain, injector.eval_pass(1e4 * images))):
        raise WrongModelError(
            "must give logits, and gives numbers from 0 to 1: leave out the sigmoid at its end"
        )
    unused = set()
    for number in unread:
        injector.tap = _Tap(number)
        if torch.equal(injector.eval_pass(images), plain):
            unused.add(number)
    return tap.calls, unused


def _images(n: int, shape: Sequence[int]) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(n))


def _draws(step: int) -> Callable[[int], Draws]:
    return lambda place: Draws([step], step, torch.device("cpu"))


def _check_same(logits: Tensor, again: Tensor) -> None:
    if not torch.allclose(logits, again, rtol=1e-4, equal_nan=True):
        raise WrongModelError(
            "gives other logits each time; draw from torch's generator, which has the run's seed"
        )


def _check_leaves(logits: Tensor, trained: Set[Tensor]) -> None:
    """Refuses tensors that ask for a gradient, which nothing would use: layers in a list, or made in a pass."""
    if not logits.requires_grad:
        raise WrongModelError("gives logits that do not depend on its parameters, as far as autograd knows")
    waiting: list[Any] = [logits.grad_fn]
    seen = set()
    while waiting:
        if (node := waiting.pop()) is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, "variable", None)) is not None and leaf not in trained:
            raise WrongModelError(
                f"reads a weight of shape {tuple(leaf.shape)} that nothing would train, as it is none of the net's "
                "parameters; make all layers as it is built, as attributes or in an nn.ModuleList"
            )
        waiting += [function for function, _ in node.next_functions]


class _Tap:
    """Notes the calls of a pass, and adds to what each gives: a leaf of zeros, or at one of them random numbers."""

    def __init__(self, moved: int | None = None) -> None:
        self.calls: list[Call] = []
        self.leaves: list[Tensor] = []
        self._moved = moved

    def __call__(self, call: Call, out: Tensor) -> Tensor:
        self.calls.append(call)
        if len(self.calls) == self._moved:
            return out + torch.rand(out.shape)
        self.leaves.append(torch.zeros_like(out, requires_grad=torch.is_grad_enabled()))
        return out + self.leaves[-1]

    def unread(self, logits: Tensor) -> list[int]:
        """Numbers of the calls on whose result the logits do not depend, as far as autograd knows."""
        watched = [leaf for leaf in self.leaves if leaf.requires_grad]
        gradients = torch.autograd.grad(logits.sum(), watched, allow_unused=True) if watched else ()
        read = {leaf for leaf, gradient in zip(watched, gradients, strict=True) if gradient is not None}
        return [number for number, leaf in enumerate(self.leaves, 1) if leaf not in read]


@contextlib.contextmanager
def _modules_alone_drop() -> Iterator[None]:
    """Within it, what is dropped is dropped by modules.

    Raises:
        WrongModelError: at its end, if it was not.
    """
    functional = _FunctionalDropouts()
    with _Scripts(functional) as scripts, functional:
        yield
    if scripts.draws:
        raise WrongModelError(
            "drops units, or draws, in a scripted part, which no rate reaches; script no dropout"
        )
    if functional.names:
        name = functional.names[0]
        right = "make it an nn.Dropout, an attribute of the net"
        raise WrongModelError(f"drops units by {name}, which no rate reaches; {right}")


class _FunctionalDropouts(TorchFunctionMode):
    """Notes the functions that drop something, which draws from no stream of ours and follows no rate."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.under_way = 0
        """Functions that Python has called and that have not returned."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if "dropout" in name or name in _ATTENTION:
            values = _arguments(func, name, args, kwargs)
            rate = values.get("p", values.get("dropout_p", 0))
            if rate and values.get("training", values.get("train", True)):
                self.names.append(_ATTENTION.get(name, name))
        self.under_way += 1
        try:
            return func(*args, **kwargs)
        finally:
            self.under_way -= 1


class _Scripts(TorchDispatchMode):
    """Notes random numbers that are drawn where Python has called no function of torch: in a scripted part."""

    def __init__(self, functional: _FunctionalDropouts) -> None:
        super().__init__()
        self._functional = functional
        self.draws = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags and not self._functional.under_way:
            # where torch hides its functions from modes, nobody knows who called this one
            self.draws |= not torch._C._is_torch_function_all_disabled()
        return func(*args, **(kwargs or {}))


_ATTENTION = {
    "multi_head_attention_forward": "an nn.MultiheadAttention's dropout",
    "scaled_dot_product_attention": "scaled_dot_product_attention's dropout_p",
}


def _arguments(func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a call by their names."""
    try:
        bound = inspect.signature(func).bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments
    except (TypeError, ValueError):  # a function written in C tells nothing of its arguments
        attention = ("query", "key", "value", "attn_mask", "dropout_p")
        names = attention if name in _ATTENTION else ("input", "p", "train")
        return {**dict(zip(names, args, strict=False)), **kwargs}
