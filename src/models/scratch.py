"""The book's net from scratch: two hidden layers, ReLU, noise after each activation, only in training."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from src.checks import integer
from src.noise.dropout import dropout_layer
from src.stacks.mlp import MLP

OPTIONS = {"hidden1": integer(1), "hidden2": integer(1)}
STACK = MLP


class Net(nn.Module):
    """features-hidden1-hidden2-classes; framework default initialisation, U(-1/√in, 1/√in).

    Its `forward` is the definition: the book's, with the book's `dropout_layer`. Training goes through `MLP`,
    which computes the same numbers with hand-written gradients for any noise and many runs.

    Source: Zhang et al., Dive into Deep Learning, section "Dropout", implementation from scratch.
    """

    def __init__(self, features: int, classes: int, hidden1: int, hidden2: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(features, hidden1)
        self.lin2 = nn.Linear(hidden1, hidden2)
        self.lin3 = nn.Linear(hidden2, classes)

    def forward(self, X: Tensor, dropout1: float = 0.0, dropout2: float = 0.0) -> Tensor:
        """Logits (n, classes) of images (n, features), or of any shape with that many pixels an image."""
        H1 = F.relu(self.lin1(X.flatten(1)))
        if self.training:
            H1 = dropout_layer(H1, dropout1)
        H2 = F.relu(self.lin2(H1))
        if self.training:
            H2 = dropout_layer(H2, dropout2)
        return self.lin3(H2)


def build(features: int, classes: int, hidden1: int, hidden2: int) -> Net:
    return Net(features, classes, hidden1, hidden2)
