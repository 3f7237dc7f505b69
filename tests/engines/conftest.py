"""The copy of the project in which the engines' tests sweep, and of which every machine of theirs gets `src/`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import forks
import numpy as np
import pytest
from test_sweep import workshop as users

WATCHED = '''

def train_jobs(jobs, progress=None):
    """Logs what trains where and when; with CARD it trains on the CPU as if on a card of that memory."""
    card = os.environ.get("CARD")

    def tell(what, stack):
        runs, rate = [job.id for job in stack], stack[0].config["dropout1"]
        line = {"what": what, "runs": runs, "rate": rate, "card": card, "at": time.time()}
        with open(LOG, "a") as log:
            log.write(json.dumps(line) + "\\n")

    records = []
    for stack in [jobs] if card else [[job] for job in jobs]:
        tell("begun", stack)
        records += _train_stack(stack, "cpu", progress)
        tell("ended", stack)
    return records
'''
CARD = """

_card_of_a_machine_that_has_one = gpu_memory


def gpu_memory():
    card = os.environ.get("CARD")
    return int(card) if card else _card_of_a_machine_that_has_one()
"""
DEVICE = """

_device_of_a_machine_without_a_card_of_ours = resolve_device


def resolve_device(device):
    import os

    return "cpu" if os.environ.get("CARD") else _device_of_a_machine_without_a_card_of_ours(device)
"""
LOCKS = """

if os.environ.get("LOCKS_HOLD_IN_ONE_PROCESS"):
    _lock_of_a_disk_whose_locks_hold = FileLock

    def FileLock(path):
        return _lock_of_a_disk_whose_locks_hold(f"{path}.{os.getpid()}")
"""
SPOTS = """
import numpy as np

from src.data import Arrays


def read(options):
    images = np.load(options["root"] / "images.npy")
    labels = np.arange(len(images)) % 10
    return Arrays(images[:400], labels[:400], images[400:], labels[400:], scale=1, classes=10)
"""


@pytest.fixture(scope="session", autouse=True)
def _no_forks() -> Iterator[None]:
    """Daemons are started by processes of their own, as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forks, "python", forks.fresh_python)
        yield


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a user's copy with noises and a data set of their own; it logs what it trains, see `sweeps.trained`."""
    root: Path = users.__wrapped__(tmp_path_factory)  # type: ignore[attr-defined]
    (root / "src" / "data" / "spots.py").write_text(SPOTS)
    (root / "conf" / "data" / "spots.yaml").write_text("name: spots\n")
    (root / "spots").mkdir()
    np.save(root / "spots" / "images.npy", np.random.default_rng(0).normal(size=(500, 1, 8, 8)))
    log = f"\n\nimport os\n\nLOG = {str(root / 'trained.jsonl')!r}\n"
    for name, code in {
        "runs/pack": log + WATCHED,
        "engines/nodes": CARD,
        "engines/slurm": "import os" + LOCKS,
        "config": DEVICE,
    }.items():
        path = root / "src" / f"{name}.py"
        path.write_text(path.read_text() + code)
    return root
