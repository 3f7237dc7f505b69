"""The floor under an epoch: its matrix products and nothing else, by one kernel (see `src.kernels`) on one core.

The products are those of the book's net, in the order and with the operand layouts in which `src.stacks.mlp`
asks for them, into preallocated outputs. What an epoch takes beyond this is overhead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from src.kernels import multiply

UNITS = (784, 256, 256, 10)
TRAIN_IMAGES, TEST_IMAGES = 60_000, 10_000
BATCH = 256

Product = tuple[Tensor, Tensor, Tensor]
"""Left (n, k), right (k, m) and the preallocated result (n, m)."""


def epoch_flops() -> int:
    """Floating-point operations of an epoch's products: a multiplication and an addition are two.

    Each layer's product runs forward and as its weights' gradient over every training image, as its input's
    gradient too but in the first layer, and forward over every test image.
    """
    layers = [inputs * outputs for inputs, outputs in pairwise(UNITS)]
    training = 3 * sum(layers) - layers[0]
    return 2 * (TRAIN_IMAGES * training + TEST_IMAGES * sum(layers))


def sizes(images: int, batch: int) -> list[int]:
    """Sizes of the batches that `images` are cut into; the last one may be smaller."""
    return [min(batch, images - start) for start in range(0, images, batch)]


class Products:
    """All products of an epoch, over operands of the right shapes.

    Args:
        evaluation_batch: images in a batch of the evaluation.
    """

    def __init__(self, evaluation_batch: int) -> None:
        generator = torch.Generator().manual_seed(0)

        def random(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        self._weights = [random(outputs, inputs) for inputs, outputs in pairwise(UNITS)]
        self._gradients = [torch.empty_like(W) for W in self._weights]
        # the test images are more than the cache holds, as in an evaluation
        self._test = random(TEST_IMAGES, UNITS[0])
        self._steps = {n: self._training(n, random) for n in set(sizes(TRAIN_IMAGES, BATCH))}
        self._training_sizes = sizes(TRAIN_IMAGES, BATCH)
        self._chunks = self._test.split(evaluation_batch)
        self._evaluations = {
            n: ([random(n, k) for k in UNITS[1:-1]], [torch.empty(n, m) for m in UNITS[1:]])
            for n in {len(chunk) for chunk in self._chunks}
        }

    def _training(self, n: int, random: Callable[..., Tensor]) -> list[Product]:
        """The eight products of a step with n images."""
        inputs = [random(n, k) for k in UNITS[:-1]]
        outputs = [torch.empty(n, m) for m in UNITS[1:]]
        deltas = [random(n, m) for m in UNITS[1:]]
        input_gradients = [torch.empty_like(x) for x in inputs]
        forward = [(x, W.t(), out) for x, W, out in zip(inputs, self._weights, outputs, strict=True)]
        backward: list[Product] = []
        for layer in (2, 1, 0):
            backward.append((deltas[layer].t(), inputs[layer], self._gradients[layer]))
            if layer:
                backward.append((deltas[layer], self._weights[layer], input_gradients[layer]))
        return forward + backward

    def epoch(self) -> Iterator[Product]:
        """The products of one epoch in order."""
        for n in self._training_sizes:
            yield from self._steps[n]
        for chunk in self._chunks:
            hidden, outputs = self._evaluations[len(chunk)]
            yield from zip([chunk, *hidden], [W.t() for W in self._weights], outputs, strict=True)

    def run(self) -> None:
        """Compute one epoch's products, by the kernel in use."""
        for left, right, out in self.epoch():
            multiply(out, left, right)
