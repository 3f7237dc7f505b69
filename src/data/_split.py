"""Which images a run trains on and which it is validated on: stratified by class, the same ones for every seed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from src.data._arrays import DataError


def partition(
    labels: Tensor, validation: int = 0, split: int = 0, train: int | None = None
) -> tuple[Tensor, Tensor]:
    """Indices of the training and of the validation images, each in ascending order.

    One permutation, which `split` seeds, gives the order within each class: the validation images come first, then
    the training ones. Each class gets its share of both by Webster's method (see `_stratified`), so a larger
    `validation` adds to a smaller one's images, and a larger `train` does, too.

    Args:
        labels: (n,) int64, of the images to choose from.
        validation: from 0 to what leaves each class at least one image.
        split: seed of the permutation.
        train: from what gives each class at least one image to all that are left; None: all.

    Raises:
        DataError: if a number is out of its range.
    """
    classes = labels.numpy()
    # Only the raw stream of a bit generator is promised to be the same in every version of numpy.
    shuffle = np.random.PCG64(split).random_raw(len(classes))
    order = _stratified(classes, shuffle)
    most = _last(classes[order]).min(initial=len(classes))
    if not 0 <= validation <= most:
        right = f"must be a whole number from 0 to {most}, to leave each class a training image"
        raise DataError(f"data.validation={validation}: {right}")
    if split and not validation and train is None:
        raise DataError(f"data.split={split}: splits nothing; give data.validation or data.train, too")
    validation_part = np.sort(order[:validation])
    rest = np.setdiff1d(np.arange(len(classes)), validation_part)
    if train is not None:
        order = _stratified(classes[rest], shuffle[rest])
        least = len(rest) - _last(classes[rest][order][::-1]).min(initial=len(rest))
        if not least <= train <= len(rest):
            right = f"from {least}, to give each class a training image, to {len(rest)}, all that are there"
            aside = ", data.validation aside" if validation else ""
            raise DataError(f"data.train={train}: must be a whole number {right}{aside}")
        rest = np.sort(rest[order[:train]])
    return torch.from_numpy(rest), torch.from_numpy(validation_part)


def _stratified(classes: np.ndarray, shuffle: np.ndarray) -> np.ndarray:
    """Indices (n,) in an order of which every beginning is stratified by class.

    Each class gets its share by Webster's method of apportionment: its examples, in ascending order of `shuffle`,
    stand at (rank + 1/2) / (size of the class).
    """
    shuffled = np.lexsort((shuffle, classes))
    sizes = np.bincount(classes)
    rank = np.arange(len(classes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return shuffled[np.argsort((rank + 0.5) / np.repeat(sizes, sizes), kind="stable")]


def _last(classes: np.ndarray) -> np.ndarray:
    """Position of each class's last example."""
    return len(classes) - 1 - np.unique(classes[::-1], return_index=True)[1]
