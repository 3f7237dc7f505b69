"""The book's experiment as a short JAX script: one compiled program an epoch, what ours is measured against.

The same net, optimizer, batches and rates; masks of 16 random bits from XLA's own generator, which is faster than
JAX's default one; training metrics, then the test set. Images are held as bytes and scaled in each step, as ours.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

UNITS = (784, 256, 256, 10)
BATCH, LEARNING_RATE, RATES = 256, 0.5, (0.2, 0.5)

Params = list[tuple[jax.Array, jax.Array]]


def initial(seed: int) -> Params:
    """U(-1/√in, 1/√in), weights (in, out) and biases (out,)."""
    random = np.random.default_rng(seed)

    def layer(inputs: int, outputs: int) -> tuple[jax.Array, jax.Array]:
        bound = inputs**-0.5
        shapes = ((inputs, outputs), (outputs,))
        W, b = (jnp.asarray(random.uniform(-bound, bound, shape), jnp.float32) for shape in shapes)
        return W, b

    return [layer(*pair) for pair in pairwise(UNITS)]


def log_probabilities(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """Of images (n, 784) of bytes; with dropout where a key is given."""
    h = x.astype(jnp.float32) / 255
    for layer, (W, b) in enumerate(params):
        h = h @ W + b
        if layer < 2:
            h = jax.nn.relu(h)
            if key is not None:
                threshold = round((1 - RATES[layer]) * 65536)
                bits = jax.random.bits(jax.random.fold_in(key, layer), h.shape, jnp.uint16)
                h = jnp.where(bits < threshold, h * (65536 / threshold), 0)
    return jax.nn.log_softmax(h)


def loss(params: Params, x: jax.Array, y: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean cross-entropy (nats), and the number of right answers."""
    log_p = log_probabilities(params, x, key)
    return -jnp.take_along_axis(log_p, y[:, None], 1).mean(), (log_p.argmax(1) == y).sum()


def one_epoch(params: Params, order: jax.Array, key: jax.Array, data: tuple[jax.Array, ...]) -> Any:
    """The params after an epoch, and its training loss and accuracy and test loss and accuracy."""
    x_train, y_train, x_test, y_test = data

    def step(params: Params, batch: tuple[jax.Array, jax.Array]) -> Any:
        index, number = batch
        arguments = x_train[index], y_train[index], jax.random.fold_in(key, number)
        (value, right), gradients = jax.value_and_grad(loss, has_aux=True)(params, *arguments)
        params = jax.tree.map(lambda w, g: w - LEARNING_RATE * g, params, gradients)
        return params, (value * len(index), right)

    full = len(order) // BATCH
    batches = order[: full * BATCH].reshape(full, BATCH), jnp.arange(full)
    params, (values, right) = jax.lax.scan(step, params, batches)
    total, hits = values.sum(), right.sum()
    if len(order) % BATCH:  # the last, smaller batch
        params, (value, more) = step(params, (order[full * BATCH :], full))
        total, hits = total + value, hits + more
    log_p = log_probabilities(params, x_test)
    test = -jnp.take_along_axis(log_p, y_test[:, None], 1).mean(), (log_p.argmax(1) == y_test).mean()
    return params, (total / len(order), hits / len(order), *test)


epoch = partial(jax.jit, donate_argnums=0)(one_epoch)
stacked_epoch = partial(jax.jit, donate_argnums=0)(jax.vmap(one_epoch, in_axes=(0, 0, 0, None)))
"""The same of R runs at once: params, order and key have R in front, the data are shared."""


class Training:
    """One run, epoch by epoch; the first call of `epoch` compiles.

    Args:
        data: training images (n, 784) uint8 and labels (n,), test images and labels.
    """

    def __init__(self, data: tuple[np.ndarray, ...], seed: int = 0) -> None:
        self._data = tuple(jnp.asarray(part) for part in data)
        self._params = initial(seed)
        self._key = jax.random.key(seed, impl="rbg")
        self._random = np.random.default_rng(seed)
        self._epochs = 0

    def epoch(self) -> tuple[float, ...]:
        """Training loss and accuracy, test loss and accuracy."""
        order = jnp.asarray(self._random.permutation(len(self._data[0])).astype(np.int32))
        key = jax.random.fold_in(self._key, self._epochs)
        self._params, metrics = epoch(self._params, order, key, self._data)
        self._epochs += 1
        return tuple(float(value) for value in metrics)


class StackTraining:
    """R runs at once, as `Training`; `precision` is one of JAX's names for that of products."""

    def __init__(self, data: tuple[np.ndarray, ...], precision: str) -> None:
        self._data = tuple(jnp.asarray(part) for part in data)
        self._random = np.random.default_rng(0)
        self._precision = precision

    def begin(self, runs: int) -> None:
        """New initial weights."""
        self._params = jax.tree.map(lambda *layers: jnp.stack(layers), *(initial(s) for s in range(runs)))
        self._keys = jnp.stack([jax.random.key(seed, impl="rbg") for seed in range(runs)])

    def orders(self) -> np.ndarray:
        """An epoch's order of the images for each run, (R, n); apart, as ours are drawn beside the training."""
        n = len(self._data[0])
        return np.stack([self._random.permutation(n).astype(np.int32) for _ in range(len(self._keys))])

    def epoch(self, orders: np.ndarray) -> np.ndarray:
        """Training loss and accuracy, test loss and accuracy: (4, R)."""
        with jax.default_matmul_precision(self._precision):
            self._params, metrics = stacked_epoch(self._params, jnp.asarray(orders), self._keys, self._data)
        return np.stack([np.asarray(metric) for metric in metrics])
