"""The chapter's training recipe, written plainly from the book's description: what ours is measured against.

torchvision's data set with `ToTensor`, a `DataLoader` with worker processes, dropout from scratch, plain SGD,
metrics added up in Python batch by batch, test accuracy after every epoch.

Source: Zhang et al., Dive into Deep Learning, sections "Dropout" and "Implementation of Softmax Regression".
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

BATCH = 256
LEARNING_RATE = 0.5
RATES = (0.2, 0.5)
LOADER_WORKERS = 4


class Accumulator:
    """Running sums of several Python floats."""

    def __init__(self, count: int) -> None:
        self.sums = [0.0] * count

    def add(self, *values: float) -> None:
        self.sums = [total + float(value) for total, value in zip(self.sums, values, strict=True)]


def dropout_layer(X: Tensor, p: float) -> Tensor:
    """X with each element zeroed with probability p and otherwise divided by 1 - p; of X's shape."""
    if p == 0:
        return X
    if p == 1:
        return torch.zeros_like(X)
    kept = (torch.rand(X.shape) > p).float()
    return kept * X / (1.0 - p)


class Net(nn.Module):
    """784-256-256-10 with ReLU, and dropout after each hidden layer while it trains."""

    def __init__(self, rates: Sequence[float] = RATES) -> None:
        super().__init__()
        self.rates = tuple(rates)
        self.lin1 = nn.Linear(784, 256)
        self.lin2 = nn.Linear(256, 256)
        self.lin3 = nn.Linear(256, 10)
        self.relu = nn.ReLU()

    def forward(self, X: Tensor) -> Tensor:
        """Logits (n, 10) of images (n, 1, 28, 28) or (n, 784)."""
        H = self.relu(self.lin1(X.reshape(-1, 784)))
        if self.training:
            H = dropout_layer(H, self.rates[0])
        H = self.relu(self.lin2(H))
        if self.training:
            H = dropout_layer(H, self.rates[1])
        return self.lin3(H)


def datasets(root: str) -> tuple[Dataset[Any], Dataset[Any]]:
    """torchvision's training and test set; each image is made a tensor when it is asked for."""
    from src.data._torchvision import define_missing_operators

    define_missing_operators()
    from torchvision.datasets import FashionMNIST
    from torchvision.transforms import ToTensor

    return FashionMNIST(root, True, ToTensor()), FashionMNIST(root, False, ToTensor())


def correct(output: Tensor, y: Tensor) -> float:
    """Number of images whose largest logit is their label's."""
    return float((output.argmax(dim=1) == y).sum().item())


def train_epoch(
    net: Net, batches: DataLoader[Any], loss: nn.Module, sgd: torch.optim.Optimizer
) -> tuple[float, float]:
    """Mean training loss (nats) and accuracy of one epoch, measured while it trains."""
    net.train()
    metric = Accumulator(3)
    for X, y in batches:
        output = net(X)
        losses = loss(output, y)
        sgd.zero_grad()
        losses.mean().backward()
        sgd.step()
        metric.add(losses.sum().item(), correct(output, y), y.numel())
    return metric.sums[0] / metric.sums[2], metric.sums[1] / metric.sums[2]


def test_accuracy(net: Net, batches: DataLoader[Any]) -> float:
    """Share of right answers with the dropout off."""
    net.eval()
    metric = Accumulator(2)
    with torch.no_grad():
        for X, y in batches:
            metric.add(correct(net(X), y), y.numel())
    return metric.sums[0] / metric.sums[1]


def train(
    data: tuple[Dataset[Any], Dataset[Any]],
    epochs: int,
    seed: int = 0,
    rates: Sequence[float] = RATES,
    workers: int = LOADER_WORKERS,
) -> list[dict[str, float]]:
    """Train one net; a row of `train_loss`, `train_acc`, `test_acc` and `seconds` for each epoch."""
    # the recipe asks for four workers whatever the number of cores
    warnings.filterwarnings("ignore", "This DataLoader will create")
    torch.manual_seed(seed)
    net = Net(rates)
    train_batches: DataLoader[Any] = DataLoader(data[0], BATCH, shuffle=True, num_workers=workers)
    test_batches: DataLoader[Any] = DataLoader(data[1], BATCH, shuffle=False, num_workers=workers)
    loss = nn.CrossEntropyLoss(reduction="none")
    sgd = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE)
    rows = []
    for _ in range(epochs):
        started = time.perf_counter()
        train_loss, train_acc = train_epoch(net, train_batches, loss, sgd)
        row = {"train_loss": train_loss, "train_acc": train_acc, "test_acc": test_accuracy(net, test_batches)}
        rows.append(row | {"seconds": time.perf_counter() - started})
    return rows
