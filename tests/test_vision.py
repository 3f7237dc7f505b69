"""torchvision without its `__init__`: the real one stays untouched, and is there to fall back on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

VISION = """
import sys
from src import data, vision

data.load_bytes("fashion_mnist")
assert not [name for name in sys.modules if name.partition(".")[0] in ("torchvision", "sklearn")], "imported"
assert "torch._dynamo" not in sys.modules

def broken(module):
    if module != "torchvision.extension":
        raise AttributeError("a torchvision to come")
    return alone(module)

alone, vision._import_alone = vision._import_alone, broken
vision.fashion_mnist.cache_clear()
fallback = vision.fashion_mnist()
vision.define_missing_operators()

import torchvision
assert torchvision.models.resnet18 and torchvision.ops.nms and torchvision.__version__
assert torchvision.datasets.FashionMNIST is fallback
vision.fashion_mnist.cache_clear()
assert vision.fashion_mnist() is fallback, "what is imported already is used"
"""


@pytest.mark.slow
def test_light_import_leaves_the_real_one_untouched_and_falls_back_on_it() -> None:
    subprocess.run([sys.executable, "-c", VISION], cwd=REPOSITORY, check=True, timeout=60)
