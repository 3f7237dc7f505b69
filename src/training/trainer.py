"""The training loop: a stack of runs, from initial weights to the metrics of each epoch.

Knows nothing of Hydra, files or the command line. Top to bottom it is the algorithm: shuffle, take a batch, forward
and backward with the noise on, update; after each epoch the test set with the noise off.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from src import kernels, models, noise, optimizers, schedules, streams
from src.config import RATES, Run
from src.stacks import OF_NOISE, DrawsAt, Learned, Stack, learned_views
from src.stacks.objective import Objective
from src.streams import Draws, Rate
from src.training import custom, places
from src.training.average import WeightAverage
from src.training.evaluation import evaluate, mean_metrics
from src.training.images import Images
from src.training.places import Places
from src.training.probes import Probed, activations, evaluate_test_time, layer_variances, one_pass

DRAWING = 4
"""Threads that draw the orders of the images where a GPU trains."""

Row = dict[str, Any]
"""Metrics of one run and epoch, by the names of `store.METRICS`; beside them those of places after the second."""

Report = Callable[[Sequence[Row]], None]
"""Is told each epoch's rows, one a run in the stack's order."""


@dataclass
class Trained:
    """A stack of R runs that is trained, and what it leaves: each run's state and weights."""

    stack: Stack
    nets: Sequence[nn.Module]
    learned: Sequence[Learned]
    held: list[int]
    """The runs that are in the stack."""
    diverged_in: list[int | None]
    """Epoch in which each run's loss ceased to be finite; None for a run that finished."""
    probed: list[Probed] = field(default_factory=list)
    test_time: list[Probed] = field(default_factory=list)
    """What is in `probe.csv` and `test_time.csv`; see `probes.of_run` for one run's part."""

    @property
    def parameters(self) -> int:
        """Of a run, those of its noise included."""
        return self.stack.parameters.shape[-1]

    def state(self, run: int) -> dict[str, Tensor]:
        """`state_dict` of the net of a run that finished, on the CPU; behind it the noise's own parameters, see
        `OF_NOISE`."""
        flat = self.stack.parameters.view(len(self.held), -1)[self.held.index(run)]
        net = self.nets[run]
        nn.utils.vector_to_parameters(flat.detach(), net.parameters())
        state = dict(net.state_dict())
        for place, values in learned_views(flat, self.learned).items():
            state |= {f"{OF_NOISE}{place}/{name}": value for name, value in values.items()}
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def train(runs: Sequence[Run], images: Images, classes: int, report: Report) -> Trained:
    """Train a stack of runs.

    The runs may differ in seed, rates, schedule and the optimizer's numbers; all else is the first one's. A run
    that has diverged is dropped, unless one alone would be left, which is no stack and would round differently.
    `train_loss` is the cross-entropy without label smoothing, of several masks an image that of the merged ones.

    Args:
        runs: R checked configs.
        images: the data set on its device.
        classes: number of classes.
        report: is called after each epoch; of a run that was dropped it is given the last row again.

    Returns:
        The trained stack. Training ends early when every run has diverged.

    Raises:
        InputError: for a rate above 0 that would move nothing.
    """
    first, features = runs[0], images.train.shape[1]
    where = _places(runs, images, classes)
    configured = _configured(runs, max(2, min(where.count, len(RATES))))
    nets = [models.build(run.model, features, classes, run.seed) for run in runs]
    objective = Objective(first.label_smoothing, len(images.train))
    injected = noise.make(first.noise)
    learned = [_learned(injected, where, run.seed) for run in runs]
    stack: Stack = models.stack_class(first.model.name)(nets, injected, images.device, objective, learned)
    kernels.check_precision(first.precision, images.device.type)
    matmul = kernels.resolve(first.matmul) if images.device.type == "cpu" else "torch"
    # autograd's bookkeeping is a fifth of what the calls of a step cost beside their work
    with torch.inference_mode(not stack.autograd), kernels.using(matmul, first.precision):
        trained = Trained(stack, nets, learned, list(range(len(runs))), [None] * len(runs))
        _train(trained, runs, images, configured, report)
    return trained


def _train(
    trained: Trained, runs: Sequence[Run], images: Images, configured: np.ndarray, report: Report
) -> None:
    first, device, stack, held = runs[0], images.device, trained.stack, trained.held
    steps_per_epoch = math.ceil(len(images.train) / first.batch_size)
    steps = steps_per_epoch * first.epochs
    shapes = [parameter.shape for parameter in trained.nets[0].parameters()]
    optimizer = optimizers.make(stack.parameters, [run.optimizer for run in runs], shapes)

    rates = _scheduled(runs, configured, steps)
    lr = np.stack([optimizers.learning_rates(run.optimizer, steps, steps_per_epoch) for run in runs], axis=-1)

    def by_step() -> tuple[Callable[[int], Any], ...]:
        """Of the runs in the stack their rates, learning rates, and random numbers for noise and probes."""
        draws = (_draws([runs[run] for run in held], purpose, device) for purpose in ("noise", "probe"))
        return _by_step(rates[..., held], device), _by_step(lr[None, :, held], device, ones=1), *draws

    rate_at, lr_at, draws, probe_draws = by_step()
    average = WeightAverage(stack, first.probe.ema) if first.probe.ema else None
    every = steps_per_epoch if first.probe.every == "epoch" else first.probe.every

    rows: list[Row] = [{}] * len(runs)
    for epoch, order in enumerate(_orders(runs, len(images.train), device), 1):
        started = time.perf_counter()
        order = order if len(held) == len(runs) else order[held]
        labels = images.train_labels[order]
        batches = zip(order.split(first.batch_size, -1), labels.split(first.batch_size, -1), strict=True)
        log_p = []
        for step, (index, y) in enumerate(batches, (epoch - 1) * steps_per_epoch):
            x = images.batch(index)
            (lr_now,) = lr_at(step)
            if optimizer.plain:
                log_p.append(stack.descend(x, y, rate_at(step), draws(step), lr_now))
            else:
                log_p.append(stack.differentiate(x, y, rate_at(step), draws(step)))
                optimizer.step(stack.gradients, lr_now)
            if average:
                average.follow()
            if every and (step + 1) % every == 0:
                layers = activations(stack, images.probe, rate_at(step), probe_draws(step))
                of_step = {"epoch": epoch, "step": step + 1}
                trained.probed += [(held, {**of_step, "layer": k, **row}) for k, row in enumerate(layers, 1)]

        last = epoch * steps_per_epoch - 1
        loss, accuracy = mean_metrics(torch.cat(log_p, -2), labels)
        columns = {"train_loss": loss, "train_acc": accuracy}
        columns |= evaluate(stack, images, first.probe.train)
        columns |= layer_variances(stack, images.probe, rate_at(last), probe_draws(last))
        if average:
            columns |= average.evaluate(images)
        further = custom.of_epoch(first, optimizer, stack, [trained.nets[run] for run in held])
        seconds = time.perf_counter() - started
        if first.probe.test_time:
            if epoch == first.epochs:
                # at the configured rates: a schedule may end without any noise
                at_test_time = _by_step(configured[:, None, held], device)(0)
                test_draws = _draws([runs[run] for run in held], "test_time", device)
                table = evaluate_test_time(stack, images.test, images.test_labels, at_test_time, test_draws)
                trained.test_time = [(held, row) for row in table]
            further |= one_pass(trained.test_time, held)
        now = _rows(columns, epoch, rates[:, last, held], lr[last, held], seconds, further)
        for run, row in zip(held, now, strict=True):
            rows[run] = row
            if trained.diverged_in[run] is None and not math.isfinite(row["train_loss"] + row["test_loss"]):
                trained.diverged_in[run] = epoch
        report(list(rows))
        alive = [run for run in held if trained.diverged_in[run] is None]
        if not alive:
            break
        if 1 < len(alive) < len(held):
            kept = [held.index(run) for run in alive]
            stack.keep_runs(kept)
            optimizer.keep_runs(kept, stack.parameters)
            if average:
                average.keep_runs(kept)
            held = trained.held = alive
            rate_at, lr_at, draws, probe_draws = by_step()


def _rows(
    columns: dict[str, Tensor],
    epoch: int,
    rates: np.ndarray,
    lr: np.ndarray,
    seconds: float,
    further: Mapping[str, custom.Column],
) -> list[Row]:
    """Each run's row of an epoch, from columns of shape () or (R,), rates (places, R) and lr (R,); further ones,
    such as what components declare, come last."""
    runs = len(lr)
    table: dict[str, Sequence[Any]] = {
        **{name: column.reshape(-1).tolist() for name, column in columns.items()},
        "epoch": [epoch] * runs,
        **dict(zip(RATES, rates[1:].tolist(), strict=False)),
        "lr": lr.tolist(),
        "seconds": [seconds / runs] * runs,
        **further,
    }
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def _places(runs: Sequence[Run], images: Images, classes: int) -> Places:
    """Where the noise may act: the same places for all runs."""
    try:
        first, *_ = [places.of_run(run, images.train.shape[1:], classes) for run in runs]
        return first
    except places.Misfit:
        return Places()  # training raises the same exception, with its trace


def _learned(injected: noise.Noise, where: Places, seed: int) -> Learned:
    """Initial values of the noise's own parameters in a run, whatever its rates."""
    return {
        (place, name): value
        for place, shape in where.shapes.items()
        for name, value in noise.initial_parameters(
            injected, shape, streams.torch_seed(seed, f"learned{place}")
        ).items()
    }


def _configured(runs: Sequence[Run], count: int) -> np.ndarray:
    """The rates that the configs name, at the input and `count` places, at least the two of the book's net, which
    are always in the metrics: (1 + count, R)."""
    rates = [[run.noise.get("input_rate", 0.0), *list(run.rates.values())[:count]] for run in runs]
    return np.array(rates).T


def _scheduled(runs: Sequence[Run], configured: np.ndarray, steps: int) -> np.ndarray:
    """Rates at each place and step: (1 + count, steps, R)."""
    scheduled = [
        [schedules.rates(run.schedule, rate, steps) for rate in of_run]
        for run, of_run in zip(runs, configured.T, strict=True)
    ]
    return np.moveaxis(np.array(scheduled), 0, -1)


def _by_step(values: np.ndarray, device: torch.device, ones: int = 2) -> Callable[[int], list[Rate]]:
    """Values (k, steps, R) as a function of the step: k floats for one run, k tensors (R, 1, 1) for a stack, with
    as many `ones`.

    Where all are 0 it is the float 0 for a stack as well: nothing is drawn there.
    """
    steps, runs = values.shape[1:]
    if runs == 1:
        floats = values[..., 0].T.tolist()
        return lambda step: floats[step]
    resident = [
        torch.from_numpy(numbers).to(device, torch.float32).reshape(steps, runs, *[1] * ones).unbind()
        if numbers.any()
        else [0.0] * steps
        for numbers in values
    ]
    return lambda step: [of_place[step] for of_place in resident]


def _orders(runs: Sequence[Run], n: int, device: torch.device) -> Iterator[Tensor]:
    """Each epoch's order of the training images: (n,) or (R, n); the same for runs of one seed."""
    seeds = list(dict.fromkeys(run.seed for run in runs))
    epochs = range(1, runs[0].epochs + 1)

    def drawn(seed: int, epoch: int) -> Any:
        return streams.generator(seed, "order", epoch).permutation(n)

    if device.type != "cuda":
        rows = [seeds.index(run.seed) for run in runs]
        for epoch in epochs:
            orders = np.stack([drawn(seed, epoch) for seed in seeds])
            yield torch.from_numpy(orders[rows[0] if len(runs) == 1 else rows]).to(device)
        return

    # on a GPU an epoch of many runs takes little longer than their orders: they are drawn meanwhile, by threads
    with ThreadPoolExecutor(DRAWING) as threads, ThreadPoolExecutor(1) as ahead:
        rows_there = torch.tensor([seeds.index(run.seed) for run in runs], device=device)

        def uploaded(epoch: int) -> Tensor:
            order = torch.empty(len(seeds), n, dtype=torch.int32, pin_memory=True)
            for row, permutation in zip(order.numpy(), threads.map(drawn, seeds, repeat(epoch)), strict=True):
                row[:] = permutation
            return order.to(device, non_blocking=True)

        following = ahead.submit(uploaded, 1)
        for epoch in epochs:
            order = following.result()[rows_there]
            if epoch < epochs[-1]:
                following = ahead.submit(uploaded, epoch + 1)
            yield order[0] if len(runs) == 1 else order


def _draws(runs: Sequence[Run], purpose: str, device: torch.device) -> Callable[[int], DrawsAt]:
    """The runs' random numbers for one purpose, by step and then by place."""

    @cache
    def at_place(place: int) -> Draws:
        keys = [streams.key(run.seed, f"{purpose}{place}") for run in runs]
        return Draws(keys, 0, device)

    return lambda step: lambda place: at_place(place).at(step)
