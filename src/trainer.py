"""The training loop: a stack of runs, from initial weights to the metrics of each epoch.

Knows nothing of Hydra, files or the command line. Top to bottom it is the algorithm: shuffle, take a batch, forward
and backward with the noise on, update; after each epoch the test set with the noise off.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from src import models, noise, optimizers, schedules, streams
from src.config import Run
from src.data import Dataset
from src.probes import (
    PROBE_IMAGES,
    activations,
    calibration_error,
    evaluate_test_time,
    log_probabilities,
    mean_metrics,
    variances,
)
from src.stacks import DrawsAt, Stack
from src.streams import Draws, Rate

STEPS_AHEAD = 64
"""Steps whose noise a GPU draws at once."""

Row = dict[str, Any]
"""Metrics of one run and epoch, by the names of `store.METRICS`."""

Report = Callable[[Sequence[Row]], None]
"""Is told each epoch's rows, one a run in the stack's order."""


class Images:
    """A data set on the training device, cut into batches there; shared by all runs of a stack.

    `shape` is that of one image, for models that do not take it flat: `batch.unflatten(-1, shape)`.
    """

    def __init__(self, data: Dataset, device: torch.device) -> None:
        self.device = device
        self.scale, self.shape = data.scale, data.shape
        self.train_labels = data.train_labels.to(device)
        self.train = data.train_images.to(device)
        self.val, self.val_labels = self._scaled(data.val_images), data.val_labels.to(device)
        self.test, self.test_labels = self._scaled(data.test_images), data.test_labels.to(device)
        self.probe = self._scaled(data.train_images[:PROBE_IMAGES])
        self._train_array = self.train.numpy() if device.type == "cpu" else None
        self._rooms: dict[int, tuple[Tensor, np.ndarray, Tensor]] = {}

    def _scaled(self, images: Tensor) -> Tensor:
        return images.to(self.device).to(torch.float32, copy=True).div_(self.scale)

    def first_train(self, count: int | None) -> tuple[Tensor, Tensor]:
        """The first training images in [0, 1], (count, features), and their labels; None: all of them.

        All of them take four times the memory that they have as bytes.
        """
        return self._scaled(self.train[:count]), self.train_labels[:count]

    def batch(self, index: Tensor) -> Tensor:
        """Training images in [0, 1] at `index`, (n,) or (R, n); valid until the next call."""
        if self._train_array is None or index.dim() > 1:
            return self.train[index].to(torch.float32).div_(self.scale)
        # gathering bytes and scaling them in a reused buffer moves a quarter of the memory that floats would
        n = len(index)
        if n not in self._rooms:
            with torch.inference_mode(False):  # another run's training may not be in that mode
                raw = torch.empty(n, self.train.shape[1], dtype=self.train.dtype)
                self._rooms[n] = raw, raw.numpy(), torch.empty(n, self.train.shape[1])
        raw, memory, floats = self._rooms[n]
        self._train_array.take(index.numpy(), axis=0, out=memory, mode="clip")
        return floats.copy_(raw).div_(self.scale)


class Trained:
    """What a stack's training leaves: each run's state and weights."""

    def __init__(
        self,
        stack: Stack,
        nets: Sequence[nn.Module],
        diverged: Sequence[int | None],
        probed: Sequence[dict[str, Any]],
    ) -> None:
        self._stack, self._nets = stack, nets
        self.probed, self.test_time = list(probed), list[dict[str, Any]]()
        """Rows of `probe.csv` and `test_time.csv`; see `probes.of_run` for one run's part."""
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
    first, features = runs[0], images.train.shape[1]
    nets = [models.build(run.model, features, classes, run.seed) for run in runs]
    stack: Stack = models.stack_class(first.model["name"])(nets, noise.make(first.noise), images.device)
    # autograd's bookkeeping is a fifth of what the calls of a step cost beside their work
    with torch.inference_mode(not stack.autograd):
        return _train(runs, images, nets, stack, report)


def _train(
    runs: Sequence[Run], images: Images, nets: Sequence[nn.Module], stack: Stack, report: Report
) -> Trained:
    first, device = runs[0], images.device
    n = len(images.train)
    steps_per_epoch = math.ceil(n / first.batch_size)
    steps = steps_per_epoch * first.epochs
    shapes = [parameter.shape for parameter in nets[0].parameters()]
    optimizer = optimizers.make(stack.parameters, [run.optimizer for run in runs], shapes)

    rates = np.stack([_rates(run, steps) for run in runs], axis=-1)
    lr = np.stack([optimizers.learning_rates(run.optimizer, steps, steps_per_epoch) for run in runs], axis=-1)
    rate_at, lr_at = _by_step(rates, device), _by_step(lr[None], device)
    draws, probe_draws = (_draws(runs, purpose, device) for purpose in ("noise", "probe"))
    every = steps_per_epoch if first.probe["every"] == "epoch" else first.probe["every"]

    probed: list[dict[str, Any]] = []
    alive: list[int | None] = [None] * len(runs)
    for epoch in range(1, first.epochs + 1):
        started = time.perf_counter()
        order = _order(runs, epoch, n, device)
        labels = images.train_labels[order]
        batches = zip(order.split(first.batch_size, -1), labels.split(first.batch_size, -1), strict=True)
        log_p = []
        for step, (index, y) in enumerate(batches, (epoch - 1) * steps_per_epoch):
            x = images.batch(index)
            (lr_now,) = lr_at(step, squeeze=True)
            if optimizer.plain:
                log_p.append(stack.descend(x, y, rate_at(step), draws(step), lr_now))
            else:
                log_p.append(stack.differentiate(x, y, rate_at(step), draws(step)))
                optimizer.step(stack.gradients, lr_now)
            if every and (step + 1) % every == 0:
                layers = activations(stack, images.probe, rate_at(step), probe_draws(step))
                probed += [
                    {"epoch": epoch, "step": step + 1, "layer": layer, **row}
                    for layer, row in enumerate(layers, 1)
                ]

        training = mean_metrics(torch.cat(log_p, -2), labels)
        test_log_p = log_probabilities(stack, images.test)
        test = mean_metrics(test_log_p, images.test_labels)
        columns = {
            "train_loss": training[0],
            "train_acc": training[1],
            "test_loss": test[0],
            "test_acc": test[1],
        }
        if len(images.val):
            val = mean_metrics(log_probabilities(stack, images.val), images.val_labels)
            columns |= {"val_loss": val[0], "val_acc": val[1]}
        if first.probe["train"]:
            shown, answers = images.first_train(
                None if first.probe["train"] is True else first.probe["train"]
            )
            quiet = mean_metrics(log_probabilities(stack, shown), answers)
            columns |= {"eval_train_loss": quiet[0], "eval_train_acc": quiet[1]}
        columns["test_ece"] = calibration_error(test_log_p, images.test_labels)
        noisy = stack.hidden(images.probe, rate_at(step), probe_draws(step))
        for name, hidden in {"var": stack.hidden(images.probe), "noisy_var": noisy}.items():
            columns |= {f"{name}{layer}": value for layer, value in enumerate(variances(hidden), 1)}
        values = {name: column.reshape(-1).tolist() for name, column in columns.items()}
        seconds = (time.perf_counter() - started) / len(runs)

        rows = []
        for run in range(len(runs)):
            row: Row = {name: column[run] for name, column in values.items()}
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
    trained = Trained(stack, nets, alive, probed)
    if first.probe["test_time"]:
        # at the configured rates: a schedule may end without any noise
        configured = _by_step(np.stack([_configured(run) for run in runs], -1)[:, None], device)(0)
        test_draws = _draws(runs, "test_time", device)
        trained.test_time = evaluate_test_time(stack, images.test, images.test_labels, configured, test_draws)
    return trained


def _rates(run: Run, steps: int) -> np.ndarray:
    """Rates at each place and step: (PLACES, steps)."""
    return np.stack([schedules.rates(run.schedule, rate, steps) for rate in _configured(run)])


def _configured(run: Run) -> np.ndarray:
    """The rates that the config names: (PLACES,)."""
    return np.array([run.noise.get("input_rate", 0.0), run.dropout1, run.dropout2])


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


def _draws(runs: Sequence[Run], purpose: str, device: torch.device) -> Callable[[int], DrawsAt]:
    """The runs' random numbers for one purpose, by step and then by place."""

    @cache
    def at_place(place: int) -> Draws:
        keys = [streams.key(run.seed, f"{purpose}{place}") for run in runs]
        return Draws(keys, 0, device, ahead=STEPS_AHEAD if purpose == "noise" else 1)

    return lambda step: lambda place: at_place(place).at(step)
