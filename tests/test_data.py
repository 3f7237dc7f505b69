"""The data sets in memory: what the tensors hold, the validation split, the command `python -m src.data`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from src import data, fetch, vision

REPOSITORY = Path(__file__).resolve().parent.parent
# The real Fashion-MNIST


@pytest.fixture(scope="session")
def fashion() -> data.Dataset:
    return data.load_bytes("fashion_mnist")


def test_fashion_mnist(fashion: data.Dataset) -> None:
    assert fashion.train_images.shape == (60000, 784) and fashion.test_images.shape == (10000, 784)
    assert fashion.val_images.shape == (0, 784) and fashion.val_labels.shape == (0,)
    assert fashion.train_images.dtype == fashion.val_images.dtype == torch.uint8
    assert fashion.train_labels.dtype == fashion.test_labels.dtype == fashion.val_labels.dtype == torch.int64
    assert fashion.train_labels.bincount().tolist() == [6000] * 10
    assert fashion.test_labels.bincount().tolist() == [1000] * 10
    assert (fashion.scale, fashion.classes) == (255, 10)
    pixels = fashion.train_images.double() / 255
    assert pixels.mean().item() == pytest.approx(0.2860, abs=5e-5)  # the figures quoted everywhere
    assert pixels.std().item() == pytest.approx(0.3530, abs=5e-5)
    assert fashion.train_labels[:5].tolist() == [9, 0, 0, 3, 0]


def test_load_gives_floats(fashion: data.Dataset) -> None:
    loaded = data.load({"name": "fashion_mnist"})
    train_images, train_labels, test_images, test_labels = loaded
    assert train_images is loaded.train_images and train_labels is loaded.train_labels
    assert test_images is loaded.test_images and test_labels is loaded.test_labels
    assert train_images.shape == (60000, 784) and train_images.dtype == torch.float32
    assert train_images.min() == 0 and train_images.max() == 1
    assert torch.equal(train_images.mul(255).round().byte(), fashion.train_images)
    assert torch.equal(test_labels, fashion.test_labels)


def test_scaling_is_to_tensors_to_the_last_bit(fashion: data.Dataset) -> None:
    to_tensor = vision._import_alone("torchvision.transforms.functional").to_tensor
    every_byte = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert torch.equal(
        data.scaled(torch.from_numpy(every_byte), 255).view(256), to_tensor(every_byte).view(256)
    )
    dataset = vision.fashion_mnist()(
        fetch.fashion_mnist_folder(fetch.resolve(None)).parent.parent, train=False
    )
    for index in (0, 17, 9999):
        image, label = dataset[index]
        assert torch.equal(data.scaled(fashion.test_images[index], 255), to_tensor(image).flatten())
        assert fashion.test_labels[index] == label


def test_held_in_memory_once(fashion: data.Dataset) -> None:
    assert data.load_bytes("fashion_mnist") is fashion
    split = data.load_bytes("fashion_mnist", None, 10)
    assert split.test_images.data_ptr() == fashion.test_images.data_ptr()


def test_validation_split_is_stratified_disjoint_and_complete(fashion: data.Dataset) -> None:
    split = data.load_bytes("fashion_mnist", None, 10000)
    assert split.val_labels.bincount().tolist() == [1000] * 10
    assert split.train_labels.bincount().tolist() == [5000] * 10
    assert split.val_images.shape == (10000, 784) and split.train_images.shape == (50000, 784)
    assert torch.equal(split.test_images, fashion.test_images)
    held = data.held_out(fashion.train_labels, 10000, "data.validation")
    together = torch.empty_like(fashion.train_images)
    together[held], together[~held] = split.val_images, split.train_images
    assert torch.equal(together, fashion.train_images)
    assert torch.equal(split.val_labels, fashion.train_labels[held])


@pytest.mark.parametrize("validation", [-1, 59991, 60000, 1.5, True, "10"])
def test_bad_validation_is_named(fashion: data.Dataset, validation: object) -> None:
    with pytest.raises(data.DataError) as caught:
        data.load({"name": "fashion_mnist", "validation": validation})
    assert f"data.validation={validation!r}: must be a whole number from 0 to 59990" in str(caught.value)


def test_most_validation_images(fashion: data.Dataset) -> None:
    assert data.load_bytes("fashion_mnist", None, 59990).train_labels.bincount().tolist() == [1] * 10
    data.load_bytes.cache_clear()


def test_bad_name_is_named() -> None:
    with pytest.raises(data.DataError, match=r"data.name='mnist'.*fashion_mnist, digits"):
        data.load({"name": "mnist"})


# Splits

ANY_LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(torch.tensor)


@given(ANY_LABELS, st.data())
def test_split_of_any_labels(labels: torch.Tensor, draw: st.DataObject) -> None:
    most = 0
    while _allowed(labels, most + 1):
        most += 1
    count = draw.draw(st.integers(0, most))
    held = data.held_out(labels, count, "count")
    assert held.sum() == count
    sizes, taken = labels.bincount(minlength=5), labels[held].bincount(minlength=5)
    present = sizes > 0
    assert ((sizes - taken)[present] >= 1).all()
    # No class can hand one of its images to another and bring the shares closer to each other.
    share = ((taken - 0.5) / sizes)[present].max(), ((taken + 0.5) / sizes)[present].min()
    assert share[0] <= share[1] + 1e-6
    if count:
        smaller = data.held_out(labels, count - 1, "count")
        assert (held | smaller).equal(held), "a larger split adds to the smaller one"


def _allowed(labels: torch.Tensor, count: int) -> bool:
    try:
        data.held_out(labels, count, "count")
    except data.DataError:
        return False
    return True


def test_split_depends_on_no_seed() -> None:
    labels = torch.arange(1000) % 7
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    first = data.held_out(labels, 100, "count")
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert first.equal(data.held_out(labels, 100, "count"))
    assert not first[:100].all() and not first[-100:].all(), "shuffled"


def test_split_is_the_same_for_ever() -> None:
    """Results on record were got with this very split."""
    held = data.held_out(torch.arange(1000) % 10, 20, "count").nonzero().flatten().tolist()
    assert held == [
        11,
        92,
        108,
        196,
        269,
        403,
        504,
        523,
        569,
        600,
        608,
        632,
        657,
        744,
        777,
        836,
        850,
        855,
        921,
        935,
    ]


# Digits


def test_digits() -> None:
    digits = data.load_bytes("digits")
    assert digits.train_images.shape == (1437, 64) and digits.test_images.shape == (360, 64)
    assert digits.train_images.dtype == torch.uint8 and digits.train_labels.dtype == torch.int64
    assert (digits.scale, digits.classes) == (16, 10)
    both = torch.cat([digits.train_images, digits.test_images])
    assert both.min() == 0 and both.max() == 16
    share = digits.test_labels.bincount() / torch.cat([digits.train_labels, digits.test_labels]).bincount()
    assert ((share - 360 / 1797).abs() < 0.01).all()
    loaded = data.load({"name": "digits", "validation": 100})
    assert loaded.train_images.max() == 1 and loaded.train_images.min() == 0
    assert loaded.val_images.shape == (100, 64) and loaded.val_labels.shape == (100,)
    assert len(loaded.train_labels) == 1337 and len(list(loaded)) == 4


def test_digits_are_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits

    theirs = load_digits()
    ours = data._digits_table()
    assert np.array_equal(ours[:, :-1], theirs.data) and np.array_equal(ours[:, -1], theirs.target)
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    assert np.array_equal(data._digits_table(), ours), "should scikit-learn ever move its file"


@pytest.mark.parametrize("form", [dict, lambda **keys: SimpleNamespace(**keys), OmegaConf.create])
def test_config_may_be_any_mapping_or_object(form: Callable[..., object]) -> None:
    keys = {"name": "digits", "root": None, "validation": 37}
    config = OmegaConf.create(keys) if form is OmegaConf.create else form(**keys)
    assert len(data.load(config).val_labels) == 37


def test_config_with_struct_flag_may_leave_keys_out() -> None:
    config = OmegaConf.create({"name": "digits"})
    OmegaConf.set_struct(config, True)
    assert len(data.load(config).train_labels) == 1437


@pytest.mark.parametrize("name", ["fashion_mnist", "digits"])
def test_group_file(name: str) -> None:
    path = REPOSITORY / "conf" / "data" / f"{name}.yaml"
    assert path.read_text().startswith("# python -m src.train")
    config = OmegaConf.load(path)
    assert set(config) == {"name", "root", "validation"} and config.name == name and config.validation == 0
    assert data.load(config).train_labels.numel() == {"fashion_mnist": 60000, "digits": 1437}[name]


# Command line


def test_command_for_digits(capsys: pytest.CaptureFixture[str]) -> None:
    assert data.main(["--dataset", "digits"]) == 0
    assert "1,437 training and 360 test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset", "mnist"], "'mnist'"),
        (["--rot", "x"], "--rot"),
        (["--root"], "--root"),
        (["--root", __file__], "data.root"),
    ],
)
def test_command_with_bad_input(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert data.main(arguments) == 2
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1 and said in errors
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(data.DataError):
        data.main(arguments)


def test_interrupted_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> data.Dataset:
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "load_bytes", interrupted)
    assert data.main([]) == 130


def test_help_speaks_in_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        data.main(["--help"])
    assert caught.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "exit code is 0" in said and "Gets a data set" in said and "--root DIR" in said
