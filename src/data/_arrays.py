"""What the file of a data set gives, and the check that it fits together."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.errors import InputError


class DataError(InputError):
    """What the user can put right, in one line: a bad value, a damaged file, no source for a data set."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """A data set as its file reads it; numpy's arrays and torch's tensors both do.

    Args:
        train_images: (n, *shape), uint8 or floats; any shape, channels first where there are some: (1, 28, 28).
        train_labels: (n,), whole numbers from 0 to `classes` - 1.
        test_images, test_labels: the same of the test set.
        scale: what stands for 1: the net sees the images divided by it. 255 for bytes, as a rule, and 1 for floats.
        classes: number of classes.
    """

    train_images: Any
    train_labels: Any
    test_images: Any
    test_labels: Any
    _: dataclasses.KW_ONLY
    scale: float
    classes: int


def checked(arrays: Arrays) -> Arrays:
    """The same as tensors, images as uint8 or float32, labels as int64.

    Raises:
        ValueError: if something is of a wrong type or does not fit the rest; says what would be right.
    """
    if not isinstance(arrays, Arrays):
        raise ValueError(f"read(options) must return src.data.Arrays, not {type(arrays).__name__}")
    scale, classes = arrays.scale, arrays.classes
    if not isinstance(classes, Integral) or classes < 2:
        raise ValueError(f"classes={classes!r} must be a whole number of at least 2")
    if not isinstance(scale, Real) or not 0 < scale < math.inf:
        raise ValueError(f"scale={scale!r} must be a finite number above 0")
    tensors: list[Tensor] = []
    for part in ("train", "test"):
        images = _images(f"{part}_images", getattr(arrays, f"{part}_images"))
        labels = _labels(f"{part}_labels", getattr(arrays, f"{part}_labels"), classes)
        if len(images) != len(labels):
            raise ValueError(f"there are {len(images)} {part}_images and {len(labels)} {part}_labels")
        tensors += [images, labels]
    kinds = {(str(images.dtype), tuple(images.shape[1:])) for images in tensors[::2]}
    if len(kinds) > 1:
        differing = " and ".join(map(str, sorted(kinds)))
        raise ValueError(f"train_images and test_images differ in type or shape: {differing}")
    if len(tensors[1].unique()) < 2:
        raise ValueError("train_labels are all alike; there must be images of at least 2 classes")
    return Arrays(*tensors, scale=float(scale), classes=int(classes))


def _images(name: str, values: Any) -> Tensor:
    images = _tensor(name, values)
    if images.dtype != torch.uint8:
        if not images.is_floating_point():
            raise ValueError(f"{name} are {images.dtype}; they must be bytes (uint8) or floats")
        images = images.to(torch.float32)
        if not images.isfinite().all():
            raise ValueError(f"{name} have values that are not finite in float32")
    if images.dim() < 2 or images.numel() == 0:
        raise ValueError(
            f"{name} are of shape {tuple(images.shape)}; it must be (n, *shape), nothing of it 0"
        )
    return images


def _labels(name: str, values: Any, classes: int) -> Tensor:
    labels = _tensor(name, values)
    if labels.dim() != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"{name} are {labels.dtype} of shape {tuple(labels.shape)}; they must be integers of shape (n,)"
        )
    labels = labels.long()
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        reach = f"from {int(labels.min())} to {int(labels.max())}"
        raise ValueError(f"{name} go {reach}; with classes={classes} they must go from 0 to {classes - 1}")
    return labels


def _tensor(name: str, values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().cpu().contiguous()
    if np.ma.is_masked(values):
        raise ValueError(f"{name} have masked values; fill them, or leave these images out")
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} are {array.dtype}; they must be numbers")
    # torch knows no other order of bytes than the machine's, and warns of memory that may not be written to
    return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))
