"""The book's concise net: `nn.Sequential` with `nn.Dropout`, trained by autograd."""

from __future__ import annotations

from torch import nn

from src.checks import integer

OPTIONS = {"hidden1": integer(1), "hidden2": integer(1)}


def build(features: int, classes: int, hidden1: int, hidden2: int) -> nn.Module:
    """features-hidden1-hidden2-classes; weights N(0, 0.01²), biases the framework's default.

    The rates of the two `nn.Dropout` are set in training, from `dropout1` and `dropout2`.

    Source: Zhang et al., Dive into Deep Learning, section "Dropout", concise implementation.
    """
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(features, hidden1),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(hidden1, hidden2),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(hidden2, classes),
    )
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
    return net
