"""Models, one file each.

A model's file holds `build(features, classes, **options) -> nn.Module`, the plain net of one run: images
(n, features) in, logits (n, classes) out. Weights are drawn from torch's global generator, which is seeded for
the run around the call. `STACK`, if the file has it, names the class (a `src.stacks.Stack`) that trains R such
nets; without it any module is trained as it is, with autograd (`src.stacks.modules.Modules`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from src import streams
from src.components import find, shown_path
from src.errors import InputError


def build(options: Mapping[str, Any], features: int, classes: int, seed: int) -> nn.Module:
    """One run's net with its initial weights, which depend on the seed and the shapes alone.

    Raises:
        InputError: if the model's file seeds torch's generator: all seeds would begin with the same weights.
    """
    name, module = options["name"], find("model", options["name"])
    arguments = {key: value for key, value in options.items() if key != "name"}
    generator, of_run = torch.default_generator, streams.torch_seed(seed, "weights")
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which keeps a stack trace of every call for a CUDA that is not there yet
        generator.manual_seed(of_run)
        net: nn.Module = module.build(features, classes, **arguments)
        if generator.initial_seed() != of_run:
            right = (
                "seeds torch's generator, so that all seeds would begin with the same weights; leave that out"
            )
            raise InputError("model", name, f"{shown_path('model', name)} {right}")
    return net


def stack_class(name: str) -> Any:
    """The class that trains a stack of this model's nets."""
    from src.stacks.modules import Modules

    return getattr(find("model", name), "STACK", Modules)
