"""The copy of the project in which the engines' tests sweep, and of which every machine of theirs gets `src/`."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_sweep import workshop as users

WATCHED = '''

def train_jobs(jobs, progress=None):
    """Logs what trains where and when; with CARD it trains on the CPU as if on a card of that memory."""
    card = os.environ.get("CARD")

    def tell(what):
        line = {"what": what, "runs": [job.id for job in jobs], "card": card, "at": time.time()}
        with open(LOG, "a") as log:
            log.write(json.dumps(line) + "\\n")

    tell("begun")
    stacks = [jobs] if card else [[job] for job in jobs]
    records = [record for stack in stacks for record in _train_stack(stack, "cpu", progress)]
    tell("ended")
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


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a user's copy with noises of their own; it logs what it trains, see `sweeps.trained`."""
    root: Path = users.__wrapped__(tmp_path_factory)  # type: ignore[attr-defined]
    log = f"\n\nLOG = {str(root / 'trained.jsonl')!r}\n"
    for name, code in {"run": log + WATCHED, "engines/nodes": CARD, "config": DEVICE}.items():
        path = root / "src" / f"{name}.py"
        path.write_text(path.read_text() + code)
    return root
