"""scikit-learn's 8x8 digits, 1,437 for training and 360 for testing: needs nothing from outside."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch

from src.data import Arrays, DataError
from src.data._split import partition


def read(options: dict[str, Any]) -> Arrays:
    """Images (n, 1, 8, 8) from 0 to 16; 360 of the 1,797 are for testing, stratified.

    Source: Alpaydin and Kaynak 1998, UCI Machine Learning Repository, Optical Recognition of Handwritten Digits.
    """
    table = torch.from_numpy(_table())
    images, labels = table[:, :-1].reshape(-1, 1, 8, 8), table[:, -1].long()
    train, test = partition(labels, 360)
    return Arrays(images[train], labels[train], images[test], labels[test], scale=16, classes=10)


def origin(options: dict[str, Any]) -> str:
    """Where it comes from, as a part of a sentence."""
    return ", part of the installed scikit-learn"


def _table() -> np.ndarray:
    """(1797, 65) uint8: 64 pixels row by row, then the label.

    Read from scikit-learn's own file: `import sklearn.datasets` takes 2 s, longer than a whole run on digits.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("data=digits: the images come with scikit-learn, which is not installed")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if path.is_file():
        return np.loadtxt(path, delimiter=",", dtype=np.uint8)
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target]).astype(np.uint8)
