"""torchvision without its `__init__`: the real one stays untouched, and is there to fall back on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

VISION = """
import sys
from src import data
from src.data import _torchvision as vision

data.load_bytes("fashion_mnist")
assert not [name for name in sys.modules if name.partition(".")[0] in ("torchvision", "sklearn")], "imported"
assert "torch._dynamo" not in sys.modules

def broken(module):
    if module != "extension":
        raise AttributeError("a torchvision to come")
    return alone(module)

alone, vision._alone = vision._alone, broken
vision.mnist.cache_clear()
fallback = vision.mnist()
vision.define_missing_operators()

import torchvision
assert torchvision.models.resnet18 and torchvision.ops.nms and torchvision.__version__
assert torchvision.datasets.mnist is fallback
vision.mnist.cache_clear()
assert vision.mnist() is fallback, "what is imported already is used"
"""


@pytest.mark.slow
def test_light_import_leaves_the_real_one_untouched_and_falls_back_on_it() -> None:
    subprocess.run([sys.executable, "-c", VISION], cwd=REPOSITORY, check=True, timeout=60)
