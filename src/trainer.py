"""The training loop: a stack of runs, from initial weights to the metrics of each epoch.

Knows nothing of Hydra, files or the command line. Top to bottom it is the algorithm: shuffle, take a batch, forward
and backward with the noise on, update; after each epoch the test set with the noise off.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from src import models, noise, optimizers, schedules, streams
from src.config import Run
from src.data import Dataset
from src.probes import PROBE_IMAGES, activation_variances, evaluate
from src.stacks import PLACES, Stack
from src.streams import Draws, Rate

Row = dict[str, Any]
"""Metrics of one run and epoch, by the names of `store.METRICS`."""

Report = Callable[[Sequence[Row]], None]
"""Is told each epoch's rows, one a run in the stack's order."""


class Images:
    """A data set on the training device, cut into batches there; shared by all runs of a stack."""

    def __init__(self, data: Dataset, device: torch.device) -> None:
        self.device = device
        self.scale = data.scale
        self.train_labels = data.train_labels.to(device)
        self.train = data.train_images.to(device)
        self.val, self.val_labels = self._scaled(data.val_images), data.val_labels.to(device)
        self.test, self.test_labels = self._scaled(data.test_images), data.test_labels.to(device)
        self.probe = self._scaled(data.train_images[:PROBE_IMAGES])
        self._bytes: dict[int, np.ndarray] = {}
        self._floats: dict[int, Tensor] = {}

    def _scaled(self, images: Tensor) -> Tensor:
        return images.to(self.device).to(torch.float32).div_(self.scale)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [0, 1] and labels at `index`, (n,) or (R, n); valid until the next call."""
        labels = self.train_labels[index]
        if self.device.type != "cpu" or index.dim() > 1:
            return self.train[index].to(torch.float32).div_(self.scale), labels
        # gathering bytes and scaling them in a reused buffer moves a quarter of the memory that floats would
        n = len(index)
        if n not in self._bytes:
            self._bytes[n] = np.empty((n, self.train.shape[1]), np.uint8)
            self._floats[n] = torch.empty(n, self.train.shape[1])
        np.take(self.train.numpy(), index.numpy(), axis=0, out=self._bytes[n], mode="clip")
        return self._floats[n].copy_(torch.from_numpy(self._bytes[n])).div_(self.scale), labels


class Trained:
    """What a stack's training leaves: each run's state and weights."""

    def __init__(self, stack: Stack, nets: Sequence[nn.Module], diverged: Sequence[int | None]) -> None:
        self._stack, self._nets = stack, nets
        self.diverged_in = list(diverged)
        """Epoch in which each run's loss ceased to be finite; None for a run that finished."""
        self.parameters = stack.parameters.shape[-1]

    def state(self, run: int) -> dict[str, Tensor]:
        """`state_dict` of one run's net, on the CPU."""
        flat = self._stack.parameters if len(self._nets) == 1 else self._stack.parameters[run]
        net = self._nets[run]
        nn.utils.vector_to_parameters(flat.detach(), net.parameters())
        return {name: tensor.detach().cpu().clone() for name, tensor in net.state_dict().items()}


def train(runs: Sequence[Run], images: Images, classes: int, report: Report) -> Trained:
    """Train a stack of runs.

    The runs may differ in seed, rates, schedule and the optimizer's numbers; all else is the first one's.

    Args:
        runs: R checked configs.
        images: the data set on its device.
        classes: number of classes.
        report: is called after each epoch; a run that has diverged is reported with its last rows NaN.

    Returns:
        The trained stack. Training ends early when every run has diverged.
    """
    first, device = runs[0], images.device
    n = len(images.train)
    steps_per_epoch = math.ceil(n / first.batch_size)
    steps = steps_per_epoch * first.epochs
    features = images.train.shape[1]

    nets = [models.build(run.model, features, classes, run.seed) for run in runs]
    stack: Stack = models.stack_class(first.model["name"])(nets, noise.make(first.noise), device)
    optimizer = optimizers.make(stack.parameters, [run.optimizer for run in runs])

    rates = np.stack([_rates(run, steps) for run in runs], axis=-1)
    lr = np.stack([optimizers.learning_rates(run.optimizer, steps) for run in runs], axis=-1)
    rate_at, lr_at = _by_step(rates, device), _by_step(lr[None], device)
    keys = [[streams.key(run.seed, f"noise{place}") for run in runs] for place in range(PLACES)]
    probe_keys = [[streams.key(run.seed, f"probe{place}") for run in runs] for place in range(PLACES)]

    alive: list[int | None] = [None] * len(runs)
    for epoch in range(1, first.epochs + 1):
        started = time.perf_counter()
        order = _order(runs, epoch, n, device)
        losses, correct = [], []
        for batch in range(steps_per_epoch):
            step = (epoch - 1) * steps_per_epoch + batch
            index = order[..., batch * first.batch_size : (batch + 1) * first.batch_size]
            x, y = images.batch(index)
            loss, right = stack.differentiate(x, y, rate_at(step), partial(_draws, keys, step, device))
            optimizer.step(stack.gradients, *lr_at(step, squeeze=True))
            losses.append(loss * index.shape[-1])
            correct.append(right)

        sums = torch.stack(losses).double().sum(0), torch.stack(correct).double().sum(0)
        test = evaluate(stack, images.test, images.test_labels)
        val = evaluate(stack, images.val, images.val_labels)
        probe_draws = partial(_draws, probe_keys, epoch, device)
        clean, noisy = activation_variances(stack, images.probe, rate_at(step), probe_draws)
        columns = {
            "train_loss": sums[0] / n,
            "train_acc": sums[1] / n,
            "val_loss": val[0],
            "val_acc": val[1],
            "test_loss": test[0],
            "test_acc": test[1],
        }
        values = {name: column.reshape(-1).tolist() for name, column in columns.items()}
        for layer, (off, on) in enumerate(zip(clean, noisy, strict=True), 1):
            values[f"var{layer}"] = off.reshape(-1).tolist()
            values[f"noisy_var{layer}"] = on.reshape(-1).tolist()
        seconds = (time.perf_counter() - started) / len(runs)

        rows = []
        for run in range(len(runs)):
            row: Row = {name: column[run] for name, column in values.items()}
            if not len(images.val):
                row["val_loss"] = row["val_acc"] = None
            row |= {
                "epoch": epoch,
                "dropout1": float(rates[1, step, run]),
                "dropout2": float(rates[2, step, run]),
            }
            row |= {"lr": float(lr[step, run]), "seconds": seconds}
            if alive[run] is None and not math.isfinite(row["train_loss"] + row["test_loss"]):
                alive[run] = epoch
            rows.append(row)
        report(rows)
        if all(end is not None for end in alive):
            break
    return Trained(stack, nets, alive)


def _rates(run: Run, steps: int) -> np.ndarray:
    """Rates at each place and step: (PLACES, steps)."""
    configured = (run.noise.get("input_rate", 0.0), run.dropout1, run.dropout2)
    return np.stack([schedules.rates(run.schedule, rate, steps) for rate in configured])


def _by_step(values: np.ndarray, device: torch.device) -> Callable[..., list[Rate]]:
    """Values (k, steps, R) as a function of the step: k floats for one run, k tensors (R, 1, 1) for a stack."""
    if values.shape[-1] == 1:
        floats = values[..., 0].T.tolist()
        return lambda step, squeeze=False: floats[step]
    resident = torch.from_numpy(values).to(device, torch.float32)[..., None, None]
    return lambda step, squeeze=False: list(resident[:, step, :, :, 0] if squeeze else resident[:, step])


def _order(runs: Sequence[Run], epoch: int, n: int, device: torch.device) -> Tensor:
    """This epoch's order of the training images: (n,) or (R, n); the same for runs of one seed."""
    orders = {run.seed: streams.generator(run.seed, "order", epoch).permutation(n) for run in runs}
    stacked = np.stack([orders[run.seed] for run in runs])
    return torch.from_numpy(stacked[0] if len(runs) == 1 else stacked).to(device)


def _draws(keys: Sequence[Sequence[int]], step: int, device: torch.device, place: int) -> Draws:
    # a plain module may have more dropouts than there are configured rates: those share the last key's stream
    # shifted, so that no two places ever draw the same numbers
    return Draws(keys[place] if place < PLACES else [_further(key, place) for key in keys[-1]], step, device)


def _further(key: int, place: int) -> int:
    return (key + place) & (2**128 - 1)
