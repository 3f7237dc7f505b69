"""The benchmark's arms do what they claim: the recipe learns, the floor computes every product."""

from __future__ import annotations

import pytest
import torch

from src.data import load_bytes
from src.training.probes import EVALUATION_BATCH
from tests.benchmarks import floor, recipe


@pytest.mark.slow
def test_recipe_learns() -> None:
    digits = load_bytes("digits")
    # 8x8 images in a corner of the recipe's 28x28
    images = torch.zeros(len(digits.train_images), 1, 28, 28)
    images[:, 0, :8, :8] = digits.train_images.reshape(-1, 8, 8) / digits.scale
    data = torch.utils.data.TensorDataset(images, digits.train_labels)
    rows = recipe.train((data, data), epochs=20, workers=0)
    assert rows[-1]["train_loss"] < 0.6 * rows[0]["train_loss"]
    assert rows[-1]["test_acc"] > 0.7


def test_recipe_drops_and_rescales() -> None:
    torch.manual_seed(0)
    dropped = recipe.dropout_layer(torch.ones(100, 1000), 0.2)
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert abs(dropped.mean().item() - 1) < 0.01


def test_floor_is_an_epoch_of_the_books_net() -> None:
    products = list(floor.Products(EVALUATION_BATCH).epoch())
    flops = sum(2 * left.shape[0] * left.shape[1] * right.shape[1] for left, right, _ in products)
    assert flops == floor.epoch_flops()
    assert len(products) == 235 * 8 + 10 * 3
    assert all(out.shape == (left.shape[0], right.shape[1]) for left, right, out in products)
