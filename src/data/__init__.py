"""The data sets, in memory, one file each: `src/data/NAME.py`, with its YAML in `conf/data` (see README.md there).

    from src.data import load
    train_images, train_labels, test_images, test_labels = load({"name": "fashion_mnist"})

The file of a data set holds `read(options) -> Arrays` and may hold `OPTIONS`, the checks of the keys that its YAML
has beyond those that all data sets share, and `origin(options) -> str`, where its files are and come from.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.util
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import yaml
from torch import Tensor

from src import components
from src.checks import Check, integer, optional, text
from src.data._arrays import Arrays as Arrays
from src.data._arrays import DataError as DataError
from src.data._arrays import checked
from src.data._split import partition
from src.errors import REPOSITORY, InputError

OPTIONS: dict[str, Check] = {
    "root": optional(text),
    "validation": integer(0),
    "split": integer(0),
    "train": optional(integer(1)),
}
"""The keys that every data set has; their defaults stand in `conf/data_defaults.yaml`."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as held in memory; shared by all that ask for it in this process, so not to be written to.

    Images are rows (n, features), uint8 or float32, of value `scale` times the image's; `shape` is that of one
    image, (1, 28, 28), as in `images.unflatten(-1, shape)`. Labels are (n,) int64, in [0, classes). Without a
    validation split `val_images` and `val_labels` have no rows.

    It unpacks into four: train images, train labels, test images, test labels.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    scale: float
    classes: int
    shape: tuple[int, ...]

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.train_images, self.train_labels, self.test_images, self.test_labels))


def load(config: Any) -> Dataset:
    """The data set that `config` names, its images in float32 as torchvision's `ToTensor` scales them.

    Args:
        config: `cfg.data`, or any mapping or object with `name` and other keys of `conf/data/NAME.yaml`; what it
            leaves out is as that file and `conf/data_defaults.yaml` have it.

    Raises:
        DataError, InputError: as `load_bytes`.

    >>> train_images, train_labels, test_images, test_labels = load({"name": "digits"})
    >>> train_images.shape, train_images.dtype, test_labels.shape
    (torch.Size([1437, 64]), torch.float32, torch.Size([360]))
    """
    from omegaconf import DictConfig, OmegaConf  # workers, which call load_bytes, can do without

    if isinstance(config, DictConfig):
        config = OmegaConf.to_container(config, resolve=True)
    given = config if isinstance(config, Mapping) else vars(config)
    dataset = load_bytes(**{**defaults(given.get("name", "fashion_mnist")), **given})
    return dataclasses.replace(
        dataset,
        train_images=scaled(dataset.train_images, dataset.scale),
        val_images=scaled(dataset.val_images, dataset.scale),
        test_images=scaled(dataset.test_images, dataset.scale),
        scale=1.0,
    )


def scaled(images: Tensor, scale: float) -> Tensor:
    """Images as float32, bytes in [0, 1], of the same shape: divided as `ToTensor` does, to the last bit."""
    return images.to(torch.float32).div(scale)


def defaults(name: str) -> dict[str, Any]:
    """The keys of a data set and their values, as its YAML has them.

    Raises:
        InputError: if there is no such data set.
    """
    components.find("data", name)
    path = REPOSITORY / "conf" / "data" / f"{name}.yaml"
    specific = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    shared = yaml.safe_load((REPOSITORY / "conf" / "data_defaults.yaml").read_text(encoding="utf-8"))
    return {**shared, **(specific or {}), "name": name}


def resolve(root: str | Path | None) -> Path:
    """`data.root` as an absolute folder: from the repository's root, wherever the process runs."""
    return REPOSITORY / Path(root or ".data").expanduser()


def load_bytes(
    name: str,
    root: str | Path | None = None,
    validation: int = 0,
    split: int = 0,
    train: int | None = None,
    **options: Any,
) -> Dataset:
    """The data set as its file gives it, read once a process.

    Args:
        name: a file of `src/data`.
        root: folder that holds its files, or is to. A relative one is taken from the repository's root, wherever
            the process runs. None is `.data`.
        validation: training images held out, stratified by class; the same ones for every seed of a run.
        split: which validation images, and which training images where `train` takes some of them.
        train: training images to take of the rest, stratified by class; a larger number adds to a smaller one's.
            None takes all of them.
        options: the data set's own.

    Raises:
        InputError: on a wrong option.
        DataError: on a number of images that there are not, a damaged file, if no source gives the data set, or if
            what its file reads does not fit together.
    """
    part = {"validation": validation, "split": split, "train": train}
    folder = None if root is None else str(root)
    typed = components.check_options("data", {"name": name, "root": folder, **part, **options})
    return _split(*_key(typed), **part)


def checksum(dataset: Arrays | Dataset) -> str:
    """SHA-256, in hex, of all that training sees of a data set: its arrays, their types and shapes, scale, classes.

    The name and the code that made the arrays do not count.
    """
    digest = hashlib.sha256()
    for field in dataclasses.fields(dataset):
        value = getattr(dataset, field.name)
        if isinstance(value, Tensor):
            digest.update(f"{field.name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.contiguous().numpy().data)
        elif field.name != "name":
            digest.update(f"{field.name} {value!r}\n".encode())
    return digest.hexdigest()


def arrays_checksum(options: Mapping[str, Any]) -> str:
    """The checksum of all arrays of a data set, whatever a run trains on.

    Raises:
        DataError, InputError: as `load_bytes`.
    """
    return _checksum(*_key(options))


def identity(options: Mapping[str, Any]) -> dict[str, Any]:
    """What of a data set's arrays a run trains on; with `arrays_checksum` its part of the run's identity.

    The keys that came later stay out at their defaults.
    """
    later = {"split": 0, "train": None}
    changed = [key for key, default in later.items() if options[key] != default]
    return {key: options[key] for key in ("name", "validation", *changed)}


QUICK = 1.0
"""Seconds; a data set that is read in less is read twice, to see whether it is the same."""

Key = tuple[str, Path, str]
"""What the arrays of a data set depend on: its name, the root, and its own options as JSON."""


def _key(options: Mapping[str, Any]) -> Key:
    specific = {key: value for key, value in options.items() if key not in ("name", *OPTIONS)}
    return options["name"], resolve(options["root"]), json.dumps(specific, sort_keys=True)


# A sweep may try many splits, or options, of a data set: no process keeps more than the last few.


@functools.lru_cache(maxsize=4)
def _read(name: str, root: Path, specific: str) -> tuple[Arrays, float]:
    """A data set's arrays, and the seconds that reading them took."""
    started = time.perf_counter()
    arrays = _arrays(components.find("data", name), name, root, specific)
    return arrays, time.perf_counter() - started


def _arrays(module: ModuleType, name: str, root: Path, specific: str) -> Arrays:
    try:
        return checked(module.read({"name": name, "root": root, **json.loads(specific)}))
    except InputError:
        raise
    except components.RAISED as error:
        message = components.located(error, f"src/data/{name}.py")
        raise DataError(f"data={name}: {message}") from error


@functools.lru_cache
def _checksum(name: str, root: Path, specific: str) -> str:
    arrays, seconds = _read(name, root, specific)
    digest = checksum(arrays)
    if seconds < QUICK:
        module = components.find("data", name)
        spec = module.__spec__
        if spec is not None and spec.loader is not None:  # as another start would have it
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        if checksum(_arrays(module, name, root, specific)) != digest:
            right = "gives other arrays at each start; its random numbers need a seed"
            raise DataError(f"data={name}: src/data/{name}.py {right}")
    return digest


@functools.lru_cache(maxsize=4)
def _split(name: str, root: Path, specific: str, validation: int, split: int, train: int | None) -> Dataset:
    arrays, _ = _read(name, root, specific)
    images, labels = arrays.train_images.flatten(1), arrays.train_labels
    train_part, val_part = partition(labels, validation, split, train)
    # all of them as they are: a copy would double the memory
    train_images = images if len(train_part) == len(labels) else images[train_part]
    return Dataset(
        name,
        train_images,
        labels[train_part],
        images[val_part],
        labels[val_part],
        arrays.test_images.flatten(1),
        arrays.test_labels,
        scale=arrays.scale,
        classes=arrays.classes,
        shape=tuple(arrays.train_images.shape[1:]),
    )
