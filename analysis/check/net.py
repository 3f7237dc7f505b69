"""Checks of a learner's `Net`: where and when it drops; then its training.

`dropout_layer` and torch's own dropout are watched meanwhile, at the rate 0.5 wherever the file's own is above 0.
The batch is one image 64 times and the weights are drawn anew, so whatever differs between rows, calls or modes is
noise; that some hundred active units of 64 rows have equal masks by chance has a probability below 1e-30.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.check.learner import BOOK_RATES, CannotRun, Learner, Report, one_line
from src.data import Dataset

SIGNATURE = "Net(num_inputs, num_outputs, num_hiddens1, num_hiddens2)"
HIDDEN, UNEQUAL = (256, 256), (256, 128)
"""Units of the hidden layers: the book's, and two numbers by which a layer is told from the other."""
ROWS = 64
CLASSES = 10
LEARNING_RATE, BATCH, EPOCHS = 0.5, 256, 2
TIMED_STEPS = 5
"""Steps after which the time of the whole training is foreseen."""


class BookNet(nn.Module):
    """The book's net with a learner's `dropout_layer`."""

    def __init__(self, layer: Callable[[Tensor, float], Tensor], features: int) -> None:
        super().__init__()
        self.layer = layer
        self.lin1 = nn.Linear(features, HIDDEN[0])
        self.lin2 = nn.Linear(HIDDEN[0], HIDDEN[1])
        self.lin3 = nn.Linear(HIDDEN[1], CLASSES)

    def forward(self, X: Tensor) -> Tensor:
        H1 = F.relu(self.lin1(X.flatten(1)))
        if self.training:
            H1 = self.layer(H1, BOOK_RATES[0])
        H2 = F.relu(self.lin2(H1))
        if self.training:
            H2 = self.layer(H2, BOOK_RATES[1])
        return self.lin3(H2)


def build(learner: Learner, features: int, hidden: tuple[int, int]) -> nn.Module:
    """The file's net; the book's with the file's `dropout_layer` if it has none.

    Raises:
        CannotRun: if `Net` takes other arguments than the book's.
    """
    if not learner.report.has_net:
        return BookNet(learner.module.dropout_layer, features)
    Net = learner.module.Net
    sizes = (features, CLASSES, *hidden)
    for arguments in (sizes, (*sizes, *BOOK_RATES), ()):
        try:
            inspect.signature(Net).bind(*arguments)
        except TypeError:
            continue
        net = Net(*arguments)
        if not isinstance(net, nn.Module):
            raise CannotRun(f"{SIGNATURE} must give an nn.Module, not {type(net).__name__}")
        return net
    raise CannotRun(f"Net must be made as {SIGNATURE}; yours is Net{inspect.signature(Net)}")


def shaped(net: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    """Brings rows of pixels (n, features) into what the net takes: (n, 1, side, side) or as they are; its dtype."""
    side = math.isqrt(images.shape[1])
    dtype = next((parameter.dtype for parameter in net.parameters()), torch.float32)

    def as_images(X: Tensor) -> Tensor:
        return X.to(dtype).reshape(-1, 1, side, side)

    try:
        with torch.no_grad():
            net(as_images(images[:2]))
    except Exception:
        return lambda X: X.to(dtype)
    return as_images


def check_net(learner: Learner, features: int) -> bool:
    """Adds to the report what is wrong with the net; whether it can be trained.

    A net of the file is checked by its answers; the book's, with the file's `dropout_layer`, by one step alone.
    """
    report = learner.report
    try:
        if report.has_net:
            outputs = _outputs(learner, features)
            shape = tuple(outputs.quiet.shape)
            if shape != (ROWS, CLASSES):
                report.add("net_outputs", f"for {ROWS} images the output has the shape {shape}")
                return False
            before = len(report.mistakes)
            _check_modes(report, outputs)
            _check_places(report, outputs, features)
            if len(report.mistakes) == before:
                report.right.append("Net: dropout after the hidden layers, in training only.")
        net = build(learner, features, HIDDEN)
        X = torch.rand(ROWS, features)
        F.cross_entropy(net(shaped(net, X)(X)), torch.zeros(ROWS, dtype=torch.int64)).backward()
    except (Exception, SystemExit) as error:
        _add_error(learner, error)
        return False
    return True


def _add_error(learner: Learner, error: BaseException) -> None:
    if isinstance(error, CannotRun):
        raise error
    if any(mistake.name == "mask_reused" for mistake in learner.report.mistakes):
        return  # a mask of another layer's shape: the same mistake
    text = str(error)
    name = "in_place" if "inplace operation" in text else "dtype" if "dtype" in text else "net_stops"
    learner.report.add(name, f"the net stops with {one_line(error)}", learner.line_of(error))


def _outputs(learner: Learner, features: int) -> _Outputs:
    """Of a net whose hidden layers differ in width, where it can be made so."""
    try:
        return _Outputs(learner, features, UNEQUAL)
    except CannotRun:
        raise
    except Exception:
        return _Outputs(learner, features, HIDDEN)


class _Outputs:
    """What a net answers to copies of one image: twice in evaluation and in training, and without noise.

    A net with buffers, as BatchNorm has, differs between the modes without any dropout (`has_state`).
    """

    def __init__(self, learner: Learner, features: int, hidden: tuple[int, int]) -> None:
        net = build(learner, features, hidden)
        self.tells_layers_apart = any(hidden[1] in p.shape for p in net.parameters()) and hidden == UNEQUAL
        self.has_state = any(True for _ in net.buffers())
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.normal_(0, 0.1)
        X = torch.rand(1, features).expand(ROWS, -1)
        net.eval()
        X = shaped(net, X)(X)
        with learner.watched() as in_evaluation, torch.no_grad():
            self.evaluated = net(X), net(X)
        net.train()
        # with autograd on, as some nets ask for that instead of their mode
        with learner.watched() as self.calls:
            first = net(X).detach()
        with learner.watched():
            self.trained = first, net(X).detach()
        with learner.watched(quiet=True):
            self.quiet = net(X).detach()
        self.drops_in_evaluation = bool(in_evaluation)


def _same(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-5 * b.abs().max())


def _varies(rows: Tensor) -> bool:
    return not _same(rows, rows[:1].expand_as(rows))


def _check_modes(report: Report, outputs: _Outputs) -> None:
    known = {mistake.name for mistake in report.mistakes}
    (first, second), (evaluated, again) = outputs.trained, outputs.evaluated
    is_noisy = not _same(evaluated, again) or _varies(evaluated)
    if is_noisy or outputs.drops_in_evaluation:
        report.add("active_in_evaluation", "after net.eval() dropout is still on")
    elif outputs.calls and not outputs.has_state and not _same(evaluated, outputs.quiet):
        report.add(
            "changed_in_evaluation", "after net.eval() the outputs are not those of the net without dropout"
        )
    if _same(first, second):
        watched = outputs.calls or outputs.drops_in_evaluation
        if is_noisy or _same(first, outputs.quiet if watched else evaluated):
            report.add("never_drops", "in training two passes and one without dropout give the same answer")
        elif "mask_reused" not in known:
            report.add("net_mask_reused", "two passes in training dropped exactly the same units")
    elif not any(map(_varies, outputs.trained)) and not known & {"mask_shared", "one_number"}:
        report.add("net_mask_shared", f"{ROWS} copies of one image lost exactly the same units")


def _check_places(report: Report, outputs: _Outputs, features: int) -> None:
    """Where the watched calls were; without any, the net makes its noise in another way, and nothing is said."""
    if not outputs.calls:
        return
    hidden = list[tuple[int, float]]()
    for width, rate in outputs.calls:
        if width == CLASSES:
            report.add("noise_on_logits", f"dropout gets the {CLASSES} outputs, at the rate {rate:g}")
        elif width == features:
            report.add("noise_on_input", f"dropout gets the {features} pixels, at the rate {rate:g}")
        else:
            hidden.append((width, rate))
    by_layer = [[rate for _, rate in part] for part in (hidden[:1], hidden[1:])]
    if outputs.tells_layers_apart:
        by_layer = [[rate for width, rate in hidden if width == units] for units in UNEQUAL]
    for layer, rates in enumerate(by_layer, 1):
        if len(rates) > 1:
            report.add("twice", f"hidden layer {layer} gets dropout {len(rates)} times, layer {3 - layer} "
                       f"{len(by_layer[2 - layer])} times")  # fmt: skip
    report.rates = tuple(rates[0] if rates else 0.0 for rates in by_layer)  # type: ignore[assignment]
    if hidden and not all(by_layer):
        missing = 2 if by_layer[0] else 1
        report.notes.append(f"Hidden layer {missing} has no dropout, or the rate 0; the book's has.")


def train(learner: Learner, data: Dataset, deadline: float) -> None:
    """Trains the net as the book does; the report gets its curve.

    Args:
        deadline: on the clock of `time.monotonic`; a training that would end later is left out, with a note.
    """
    report, curve = learner.report, []
    n, features = data.train_images.shape
    torch.manual_seed(0)
    try:
        net = build(learner, features, HIDDEN)
        net.eval()
        in_shape = shaped(net, data.train_images)
        sgd = torch.optim.SGD(net.parameters(), LEARNING_RATE)
        order = torch.Generator().manual_seed(0)
        began = time.monotonic()
        for epoch in range(1, EPOCHS + 1):
            losses, right = 0.0, 0
            net.train()
            for step, index in enumerate(torch.randperm(n, generator=order).split(BATCH), 1):
                y = data.train_labels[index]
                logits = net(in_shape(data.train_images[index]))
                loss = F.cross_entropy(logits, y)
                sgd.zero_grad()
                loss.backward()
                sgd.step()
                losses += loss.item() * len(y)
                right += int((logits.argmax(1) == y).sum())
                if epoch == 1 and step == TIMED_STEPS:
                    seconds = (time.monotonic() - began) / step * EPOCHS * math.ceil(n / BATCH)
                    if time.monotonic() + seconds > deadline:
                        report.notes.append(
                            f"Not trained: there is no time for it, as it would take {seconds:.0f} seconds."
                        )
                        return
            if not math.isfinite(losses):
                report.notes.append(f"The training loss ceased to be a number in epoch {epoch}.")
                return
            accuracy = _test_accuracy(net, data, in_shape)
            curve.append(
                {"epoch": epoch, "train_loss": losses / n, "train_acc": right / n, "test_acc": accuracy}
            )
        report.curve = curve
    except (Exception, SystemExit) as error:
        _add_error(learner, error)


def _test_accuracy(net: nn.Module, data: Dataset, in_shape: Callable[[Tensor], Tensor]) -> float:
    net.eval()
    with torch.no_grad():
        answers = torch.cat([net(in_shape(images)).argmax(1) for images in data.test_images.split(1000)])
    return float((answers == data.test_labels).float().mean())
