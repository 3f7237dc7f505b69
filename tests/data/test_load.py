"""The data sets in memory: what the tensors hold, the validation split, the command `python -m src.data`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from src import data
from src.data import _torchvision, fashion_mnist
from src.data.__main__ import main
from src.data._split import partition
from src.data.digits import _table
from src.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]

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
    assert (fashion.scale, fashion.classes, fashion.shape) == (255, 10, (1, 28, 28))
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
    to_tensor = _torchvision._alone("transforms.functional").to_tensor
    every_byte = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert torch.equal(
        data.scaled(torch.from_numpy(every_byte), 255).view(256), to_tensor(every_byte).view(256)
    )
    root = fashion_mnist.folder(data.resolve(None)).parents[1]
    dataset = _torchvision.mnist().FashionMNIST(root, train=False)
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
    train, held = partition(fashion.train_labels, 10000)
    together = torch.empty_like(fashion.train_images)
    together[held], together[train] = split.val_images, split.train_images
    assert torch.equal(together, fashion.train_images)
    assert torch.equal(split.val_labels, fashion.train_labels[held])


def test_small_training_set(fashion: data.Dataset) -> None:
    small = data.load_bytes("fashion_mnist", None, 10000, train=1000)
    assert small.train_images.shape == (1000, 784) and small.train_labels.bincount().tolist() == [100] * 10
    assert torch.equal(small.val_images, data.load_bytes("fashion_mnist", None, 10000).val_images)
    assert torch.equal(small.test_images, fashion.test_images)
    train, _ = partition(fashion.train_labels, 10000, train=1000)
    assert torch.equal(small.train_images, fashion.train_images[train])
    assert torch.equal(small.train_labels, fashion.train_labels[train])
    whole = data.load({"name": "digits", "validation": 100, "train": 1337})
    assert torch.equal(whole.train_images, data.load({"name": "digits", "validation": 100}).train_images)


def test_bad_name_is_named() -> None:
    with pytest.raises(
        InputError, match=r"data=mnist: there is no such data set; choose one of digits, fash"
    ):
        data.load({"name": "mnist"})


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        *(
            ({"validation": v}, f"data.validation={str(v).lower()}: must be a whole")
            for v in (-1, 1.5, True, "10")
        ),
        *(({"split": v}, f"data.split={v}: must be a whole number of at least 0") for v in (-1, 0.5)),
        *(({"train": v}, f"data.train={v}: must be a whole number of at least 1, or null") for v in (0, -1)),
        *(
            ({"validation": v}, f"data.validation={v}: must be a whole number from 0 to 1427")
            for v in (1428, 1437)
        ),
        (
            {"train": 1438},
            "data.train=1438: must be a whole number from 10, to give each class a training image",
        ),
        (
            {"train": 9},
            "data.train=9: must be a whole number from 10, to give each class a training image, to 1437",
        ),
        ({"train": 1338, "validation": 100}, "image, to 1337, all that are there, data.validation aside"),
        ({"split": 3}, "data.split=3: splits nothing; give data.validation or data.train, too"),
        (
            {"trian": 3},
            "data.trian=3: there is no such key; known here: data.root, data.split, data.train, data.val",
        ),
        ({"root": ""}, "data.root=: must be a text that is not empty, or null"),
    ],
)
def test_bad_value_is_named(keys: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        data.load({"name": "digits", **keys})
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_most_validation_images() -> None:
    assert data.load_bytes("digits", None, 1427).train_labels.bincount().min() == 1


def test_no_process_keeps_every_split_of_a_sweep() -> None:
    first = data.load_bytes("digits", None, 10)
    assert data.load_bytes("digits", None, 10) is first
    for split in range(1, 9):
        data.load_bytes("digits", None, 10, split)
    assert data.load_bytes("digits", None, 10) is not first


# Digits


def test_digits() -> None:
    digits = data.load_bytes("digits")
    assert digits.train_images.shape == (1437, 64) and digits.test_images.shape == (360, 64)
    assert digits.train_images.dtype == torch.uint8 and digits.train_labels.dtype == torch.int64
    assert (digits.scale, digits.classes, digits.shape) == (16, 10, (1, 8, 8))
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
    ours = _table()
    assert np.array_equal(ours[:, :-1], theirs.data) and np.array_equal(ours[:, -1], theirs.target)
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    assert np.array_equal(_table(), ours), "should scikit-learn ever move its file"


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
    assert OmegaConf.load(path).name == name
    config = data.defaults(name)
    assert set(config) == {"name", *data.OPTIONS}
    assert (config["validation"], config["split"], config["train"]) == (0, 0, None)
    assert data.load(config).train_labels.numel() == {"fashion_mnist": 60000, "digits": 1437}[name]


def test_what_a_config_leaves_out_is_as_the_yaml_has_it(tmp_path: Path) -> None:
    assert data.defaults("fashion_mnist")["root"] == ".data"
    with pytest.raises(InputError, match="data=nothing: there is no such data set"):
        data.defaults("nothing")


# Command line


def test_command_for_digits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dataset", "digits"]) == 0
    assert "1,437 training and 360 test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset", "mnist"], "data=mnist"),
        (["--rot", "x"], "--rot"),
        (["--root"], "--root"),
        (["--root", __file__], "data.root"),
    ],
)
def test_command_with_bad_input(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1 and said in errors
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert main(arguments) == 2
    assert "Traceback" in capsys.readouterr().err


def test_interrupted_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**options: object) -> data.Dataset:
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "load_bytes", interrupted)
    assert main([]) == 130


def test_help_speaks_in_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "exit code is 0" in said and "Gets a data set" in said and "--root DIR" in said
