"""Two trainings of the same runs, compared where rounding cannot grow: each step begins from the same weights.

At the book's learning rate training multiplies a difference in the last digit by ten every few steps, so that two
right answers, of a stack and of a run alone, or by two kernels of products, soon have no digit in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from torch import Tensor

from src.stacks.mlp import MLP
from src.stacks.modules import Modules


@contextmanager
def before_each_step(action: Callable[[Any], None]) -> Iterator[None]:
    """Calls `action` with the stack before it differentiates or descends."""
    mlp, modules = (mock.patch.multiple(kind, **_wrapped(kind, action)) for kind in (MLP, Modules))
    with mlp, modules:
        yield


def _wrapped(kind: type, action: Callable[[Any], None]) -> dict[str, Any]:
    inside = False  # `descend` may call `differentiate`

    def wrap(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def wrapped(stack: Any, *arguments: Any) -> Tensor:
            nonlocal inside
            if inside:
                return method(stack, *arguments)
            action(stack)
            inside = True
            try:
                return method(stack, *arguments)
            finally:
                inside = False

        return wrapped

    return {name: wrap(getattr(kind, name)) for name in ("differentiate", "descend")}


class Lockstep:
    """The weights before each step of one training: (P,) or (R, P) each."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []

    @contextmanager
    def leads(self) -> Iterator[None]:
        """What trains here is remembered."""
        with before_each_step(lambda stack: self.weights.append(stack.parameters.clone())):
            yield

    @contextmanager
    def leading(self, run: int) -> Iterator[None]:
        """What trains here, one run alone, takes each step from the weights of the stack's run of that number."""
        steps = iter(self.weights)
        with before_each_step(lambda stack: stack.parameters.copy_(next(steps)[run])):
            yield
