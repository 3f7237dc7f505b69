"""A data set of one's own: any images and labels that fit together, its own options, and its part of a run's ID."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from configs import DIGITS, REPOSITORY, make_run, plain
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from src import components, config, data
from src.checks import integer
from src.data import Arrays, checksum
from src.data._arrays import checked
from src.errors import InputError
from src.runs import store
from src.runs.job import Job, final_record, ready
from src.runs.pack import train_jobs
from src.training.trainer import Images, train

Mine = Callable[..., None]
"""Makes `src.data.mine`: its `read`, and whatever else its file is to hold."""


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mine]:
    known = components.names("data")

    def make(read: Any, **content: Any) -> None:
        module = ModuleType("src.data.mine")
        path = tmp_path / "mine.py"
        path.write_text("def read(options):\n    return given(options)\n")
        module.__file__ = str(path)
        exec(compile(path.read_text(), path, "exec"), vars(module))
        vars(module).update(given=read, **content)
        monkeypatch.setitem(sys.modules, "src.data.mine", module)
        for cached in (data._read, data._checksum, data._split, components.find):
            cached.cache_clear()
        monkeypatch.setattr(
            components, "names", lambda group: (*known, "mine") if group == "data" else names(group)
        )

    names = components.names
    yield make
    for cached in (data._read, data._checksum, data._split, components.find):
        cached.cache_clear()


def blobs(n: int = 60, shape: tuple[int, ...] = (3, 2, 2), seed: int = 0, **changes: Any) -> Arrays:
    """Bytes whose mean tells the three classes apart."""
    labels = np.arange(n) % 3
    noise = np.random.default_rng(seed).integers(0, 50, (n, *shape), np.uint8)
    images = (noise + 80 * labels.astype(np.uint8).reshape(-1, *(1 for _ in shape))).astype(np.uint8)
    fields = {"train_images": images[:-15], "train_labels": labels[:-15], "scale": 255, "classes": 3}
    return Arrays(**{**fields, "test_images": images[-15:], "test_labels": labels[-15:], **changes})


MINE = {**DIGITS, "name": "mine"}


def trained(device: str = "cpu", **changes: Any) -> list[dict[str, Any]]:
    """The rows of a short run on `mine`."""
    job = make_run(data={**MINE, **changes}, epochs=2, batch_size=16, model={"hidden1": 8, "hidden2": 8})
    ready([job])
    rows: list[dict[str, Any]] = []
    held = data.load_bytes(**job.data)
    train([job], Images(held, torch.device(device)), held.classes, lambda epoch: rows.extend(epoch))
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


# What it gives


@given(shape=array_shapes(max_dims=4, max_side=4), kind=st.sampled_from(["u1", "f2", "f4", "f8", ">f4"]))
def test_images_of_any_shape_and_type(shape: tuple[int, ...], kind: str) -> None:
    images = np.random.default_rng(0).integers(0, 5, (6, *shape)).astype(kind)
    labels = np.array([0, 1, 0, 1, 0, 1], ">i2")
    arrays = checked(Arrays(images, labels, images[::-1], labels, scale=1, classes=2))
    assert arrays.train_images.dtype == (torch.uint8 if kind == "u1" else torch.float32)
    assert arrays.train_images.shape == (6, *shape) and arrays.train_labels.dtype == torch.int64
    assert np.array_equal(arrays.test_images.numpy(), images[::-1].astype(arrays.test_images.numpy().dtype))
    assert arrays.train_labels.tolist() == labels.tolist()


def test_memory_that_may_not_be_written_to_is_taken_without_a_warning(
    recwarn: pytest.WarningsRecorder,
) -> None:
    images = np.frombuffer(bytes(24), np.uint8).reshape(6, 4)
    checked(Arrays(images, [0, 1] * 3, images, [0, 1] * 3, scale=255, classes=2))
    assert not recwarn.list


def test_rows_unflatten_to_the_images(mine: Mine) -> None:
    arrays = blobs(shape=(3, 4, 2))
    mine(lambda options: arrays)
    held = data.load_bytes("mine", None, 9, 1, 30)
    assert (held.shape, held.classes, held.scale) == ((3, 4, 2), 3, 255)
    assert held.test_images.shape == (15, 24)
    assert np.array_equal(held.test_images.unflatten(-1, held.shape).numpy(), arrays.test_images)
    loaded = data.load({"name": "mine"})
    assert loaded.shape == held.shape
    assert torch.equal(loaded.test_images, torch.from_numpy(arrays.test_images).flatten(1) / 255)


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"train_labels": np.zeros(44, int)}, "there are 45 train_images and 44 train_labels"),
    (
        {"test_images": np.zeros((15, 3, 2, 1), np.uint8)},
        "train_images and test_images differ in type or shape",
    ),
    ({"test_images": np.zeros((15, 3, 2, 2))}, "train_images and test_images differ in type or shape"),
    ({"train_images": np.zeros((45, 3, 2, 2), int)}, "train_images are torch.int64; they must be bytes"),
    ({"train_images": np.zeros(45, np.uint8)}, "train_images are of shape (45,); it must be (n, *shape)"),
    ({"train_images": np.zeros((45, 0), np.uint8)}, "train_images are of shape (45, 0)"),
    (
        {"test_images": np.zeros((0, 3, 2, 2), np.uint8), "test_labels": []},
        "test_images are of shape (0, 3, 2, 2)",
    ),
    ({"train_images": np.full((45, 2), np.nan)}, "train_images have values that are not finite"),
    ({"train_images": np.full((45, 2), 1e300)}, "train_images have values that are not finite"),
    ({"train_images": np.ma.masked_less(np.eye(45, 2), 1)}, "train_images have masked values"),
    (
        {"train_labels": np.zeros(45, int)},
        "train_labels are all alike; there must be images of at least 2 classes",
    ),
    ({"train_images": np.full((45, 2), "a")}, "train_images are <U1; they must be numbers"),
    ({"train_images": None}, "train_images are object; they must be numbers"),
    (
        {"train_labels": np.zeros((45, 1), int)},
        "train_labels are torch.int64 of shape (45, 1); they must be integers",
    ),
    ({"train_labels": np.zeros(45)}, "train_labels are torch.float64 of shape (45,); they must be integers"),
    ({"train_labels": np.zeros(45, bool)}, "train_labels are torch.bool of shape (45,)"),
    (
        {"train_labels": np.arange(45) % 3 + 1},
        "train_labels go from 1 to 3; with classes=3 they must go from 0 to 2",
    ),
    ({"test_labels": np.arange(15) % 3 - 1}, "test_labels go from -1 to 1"),
    ({"classes": 1}, "classes=1 must be a whole number of at least 2"),
    ({"classes": 3.0}, "classes=3.0 must be"),
    ({"classes": True}, "classes=True must be"),
    ({"scale": 0}, "scale=0 must be a finite number above 0"),
    ({"scale": float("nan")}, "scale=nan must be"),
    ({"scale": "255"}, "scale='255' must be"),
]


@pytest.mark.parametrize(("changes", "said"), UNFIT, ids=[said[:40] for _, said in UNFIT])
def test_what_does_not_fit_together_is_said_in_one_line(
    mine: Mine, changes: dict[str, Any], said: str
) -> None:
    mine(lambda options: blobs(**changes))
    with pytest.raises(InputError) as caught:
        ready([make_run(data=MINE, batch_size=16)])
    assert str(caught.value).startswith("data=mine: ") and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numpys_numbers_do_as_well() -> None:
    arrays = checked(blobs(classes=np.int64(3), scale=np.float32(2)))
    assert (arrays.classes, type(arrays.classes), arrays.scale, type(arrays.scale)) == (3, int, 2.0, float)


def failing(options: dict[str, Any]) -> Arrays:
    raise KeyError("no such\nkey")


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (failing, "KeyError: 'no such\\nkey'"),
        (lambda options: np.load(options["root"] / "none.npz"), "FileNotFoundError: [Errno 2] No such file"),
        (lambda options: blobs().train_images, "read(options) must return src.data.Arrays, not ndarray"),
        (lambda options: None, "read(options) must return src.data.Arrays, not NoneType"),
    ],
)
def test_a_reader_that_fails_is_named_with_its_line(mine: Mine, read: Any, said: str) -> None:
    mine(read)
    with pytest.raises(data.DataError) as caught:
        data.load_bytes("mine")
    message = str(caught.value)
    assert message.startswith("data=mine: ") and said in message and "\n" not in message
    assert ("src/data/mine.py, line " in message) == ("must return" not in message)
    assert caught.value.__cause__ is not None


def test_a_file_without_a_reader_is_named(mine: Mine) -> None:
    mine(None)
    del sys.modules["src.data.mine"].read
    with pytest.raises(InputError, match=r"data=mine: src/data/mine.py must define read\(options\)"):
        data.load_bytes("mine")


# Training


@pytest.mark.parametrize("shape", [(12,), (3, 2, 2), (1, 1), (2, 3, 1, 2)])
def test_bytes_and_floats_of_the_same_value_train_alike(mine: Mine, shape: tuple[int, ...]) -> None:
    arrays = blobs(shape=shape)
    mine(lambda options: arrays)
    rows = trained(validation=9)
    floats = {key: getattr(arrays, key).astype(np.float32) for key in ("train_images", "test_images")}
    mine(lambda options: blobs(shape=shape, **floats))
    assert trained(validation=9) == rows
    scaled = {key: value / np.float32(255) for key, value in floats.items()}
    mine(lambda options: blobs(shape=shape, **scaled, scale=1))
    assert trained(validation=9) == rows


def test_training_leaves_floats_as_they_were(mine: Mine) -> None:
    images = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    arrays = blobs(train_images=images[:45].copy(), test_images=images[45:].copy(), scale=2)
    mine(lambda options: arrays)
    first = trained(validation=9)
    held = data.load_bytes("mine")
    assert np.array_equal(held.train_images.numpy(), images[:45])
    assert np.array_equal(held.test_images.numpy(), images[45:])
    assert trained(validation=9) == first


def test_it_is_learnt(mine: Mine) -> None:
    mine(lambda options: blobs(600))
    job = make_run(
        data=MINE, epochs=30, batch_size=16, dropout1=0, dropout2=0, model={"hidden1": 16, "hidden2": 16},
        optimizer={"name": "adam", "lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0,
                   "decay_biases": True, "decay": "constant", "warmup": 0.0, "max_norm": None},
    )  # fmt: skip
    held = data.load_bytes("mine")
    rows: list[dict[str, Any]] = []
    train([job], Images(held, torch.device("cpu")), held.classes, lambda epoch: rows.extend(epoch))
    assert rows[-1]["test_acc"] == 1


def test_a_batch_larger_than_a_small_training_set_is_refused() -> None:
    with pytest.raises(
        InputError, match="batch_size=256: must be at most 100, the number of training images"
    ):
        ready([make_run(data={**DIGITS, "train": 100})])


# Options


def test_its_own_options(mine: Mine) -> None:
    seen: list[dict[str, Any]] = []

    def read(options: dict[str, Any]) -> Arrays:
        seen.append(options)
        return blobs(seed=options["seed"])

    mine(read, OPTIONS={"seed": integer(0), "sizes": lambda value: list(value)})
    options = {**MINE, "root": "here", "seed": 5, "sizes": [1, 2]}
    assert dict(make_run(data=options).data) == options
    held = data.load_bytes(**options)
    assert seen == [{"name": "mine", "root": REPOSITORY / "here", "seed": 5, "sizes": [1, 2]}]
    assert np.array_equal(held.train_images.numpy(), blobs(seed=5).train_images.reshape(45, 12))
    other = data.load_bytes(**{**options, "seed": 6})
    assert not torch.equal(other.train_images, held.train_images)
    for wrong, said in (
        ({"seed": -1}, "data.seed=-1: must be a whole number of at least 0"),
        (
            {"sead": 1},
            "data.sead=1: there is no such key; known here: data.root, data.seed, data.sizes, data.split",
        ),
    ):
        with pytest.raises(InputError, match=said):
            make_run(data={**options, **wrong})
        with pytest.raises(InputError, match=said):
            data.load_bytes(**{**options, **wrong})


def test_options_of_its_own_may_not_be_everyones(mine: Mine) -> None:
    mine(lambda options: blobs(), OPTIONS={"train": integer(0), "split": integer(0), "mine": integer(0)})
    with pytest.raises(
        InputError, match="data=mine: its OPTIONS may not have split, train, which every file of"
    ):
        make_run(data=MINE)


# Checksum and ID


def test_the_checksum_is_of_all_that_training_sees() -> None:
    arrays = checked(blobs())
    assert checksum(arrays) == checksum(checked(blobs())) and len(checksum(arrays)) == 64
    swapped = np.asarray(arrays.train_images).copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    one_bit = np.asarray(arrays.test_images).copy()
    one_bit[3, 0, 0, 0] ^= 1
    labels = np.asarray(arrays.train_labels).copy()
    labels[7] = (labels[7] + 1) % 3
    others = [
        blobs(train_images=swapped),
        blobs(test_images=one_bit),
        blobs(train_labels=labels),
        blobs(test_labels=np.zeros(15, int)),
        blobs(scale=254),
        blobs(classes=4),
        blobs(shape=(12,), train_images=swapped.reshape(45, 12)[:, :12]),
        blobs(
            train_images=np.asarray(arrays.train_images).reshape(45, 3, 4),
            test_images=np.asarray(arrays.test_images).reshape(15, 3, 4),
        ),
        blobs(
            train_images=np.asarray(arrays.train_images, np.float32),
            test_images=np.asarray(arrays.test_images, np.float32),
        ),
        Arrays(
            arrays.test_images,
            arrays.test_labels,
            arrays.train_images,
            arrays.train_labels,
            scale=255,
            classes=3,
        ),
    ]
    sums = [checksum(checked(other)) for other in [arrays, *others]]
    assert len(set(sums)) == len(sums)


def test_the_checksum_is_of_the_content_not_of_its_form(mine: Mine) -> None:
    arrays = blobs()
    tensors = {key: torch.as_tensor(getattr(arrays, key)) for key in ("train_images", "test_images")}
    fortran = {key: np.asfortranarray(getattr(arrays, key)) for key in ("train_images", "test_images")}
    sums = {checksum(checked(blobs(**form))) for form in ({}, tensors, fortran)}
    doubles = blobs(**{key: value.astype(np.float64) for key, value in fortran.items()}, classes=np.int32(3))
    singles = blobs(**{key: value.astype(np.float32) for key, value in fortran.items()}, scale=255.0)
    assert len(sums) == 1 and checksum(checked(doubles)) == checksum(checked(singles))
    mine(lambda options: arrays)
    assert checksum(data.load_bytes("mine")) == checksum(data.load_bytes("mine"))
    assert checksum(data.load_bytes("mine", None, 9)) != checksum(data.load_bytes("mine"))


def test_the_checksum_is_the_same_for_ever() -> None:
    images, labels = np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2), np.array([0, 1])
    golden = checksum(checked(Arrays(images, labels, images, labels, scale=255, classes=2)))
    assert golden[:16] == "3dc7d60cb281ddf3"


def run_id(**changes: Any) -> str:
    return store.run_id(config.result_config(make_run(data={**MINE, **changes})))


def test_the_id_goes_by_the_arrays_not_by_the_code_or_the_options(mine: Mine) -> None:
    options = {"OPTIONS": {"seed": integer(0), "unused": integer(0)}}
    mine(lambda options: blobs(seed=options["seed"]), **options)
    first = run_id(seed=0, unused=0)
    assert run_id(seed=0, unused=1) == run_id(seed=0, unused=0, root="/elsewhere") == first
    assert run_id(seed=1, unused=0) != first
    mine(lambda options: blobs(60, (3, 2, 2), options["seed"]), **options)
    assert run_id(seed=0, unused=0) == first, "other code, the same arrays"
    mine(lambda options: blobs(seed=options["seed"] + 1), **options)
    assert run_id(seed=0, unused=0) != first, "the same code by name, other arrays"


def test_the_id_goes_by_the_part_that_is_used(mine: Mine) -> None:
    mine(lambda options: blobs())
    parts = ({}, {"validation": 9}, {"validation": 9, "split": 1}, {"train": 9}, {"train": 9, "split": 1})
    ids = [run_id(**part) for part in parts]
    assert all(a != b for a, b in itertools.combinations(ids, 2))


def test_ids_of_the_data_sets_that_were_always_there_stay() -> None:
    for options in ({"name": "fashion_mnist", "validation": 10}, {"name": "digits", "validation": 0}):
        identity = data.identity({**options, "root": None, "split": 0, "train": None})
        assert identity == options
    part = data.identity({"name": "digits", "root": None, "validation": 0, "split": 2, "train": 100})
    assert part == {"name": "digits", "validation": 0, "split": 2, "train": 100}


def test_a_run_is_recorded_under_that_id(mine: Mine, tmp_path: Path) -> None:
    mine(lambda options: blobs())
    raw = plain(data=MINE, output=str(tmp_path), batch_size=16, epochs=1)
    (record,) = train_jobs([Job(config.parse(raw), raw, [], {})])
    assert record["state"] == store.FINISHED
    assert final_record(Job(config.parse(raw), raw, [], {})) == record
    mine(lambda options: blobs(seed=1))
    assert final_record(Job(config.parse(raw), raw, [], {})) is None, "other arrays are another run"


@pytest.mark.parametrize(("seconds", "reads"), [(data.QUICK / 2, 2), (data.QUICK * 2, 1)])
def test_only_what_is_read_quickly_is_read_twice(
    mine: Mine, monkeypatch: pytest.MonkeyPatch, seconds: float, reads: int
) -> None:
    read = [0.0]

    def slowly(options: Any) -> Arrays:
        read[0] += seconds
        return blobs()

    mine(slowly)
    monkeypatch.setattr(data.time, "perf_counter", lambda: read[0])
    data.load_bytes(**MINE)  # before its checksum is asked for
    data.arrays_checksum(make_run(data=MINE).data)
    assert read[0] == reads * seconds
