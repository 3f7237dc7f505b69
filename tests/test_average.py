"""`probe.ema`: an average of the weights that training knows nothing of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from configs import DIGITS, make_run
from lockstep import Lockstep

from src.data import load_bytes
from src.training.trainer import Images, train

CPU = torch.device("cpu")
TINY: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 200,
    "data": {**DIGITS, "validation": 100},
    "model": {"name": "scratch", "hidden1": 8, "hidden2": 8},
}
DECAY = 0.7


def trained(runs: list[Any]) -> tuple[list[Any], Any, list[Any]]:
    rows: list[Any] = []
    images = Images(load_bytes(**runs[0].data), CPU)
    lockstep = Lockstep()
    with lockstep.leads():
        result = train(runs, images, 10, rows.append)
    return rows, result, lockstep.weights


@pytest.mark.parametrize("model", ["scratch", "concise"])
def test_it_is_the_average_of_the_weights_and_changes_no_training(model: str) -> None:
    changes = {**TINY, "model": {**TINY["model"], "name": model}}
    plain, without, _ = trained([make_run(**changes)])
    rows, averaged, before = trained([make_run(**changes, probe={"ema": DECAY})])
    new = {key for key in rows[0][0] if key.startswith("ema_")}
    assert new == {"ema_test_loss", "ema_test_acc", "ema_val_loss", "ema_val_acc", "ema_test_ece"}
    assert not any(key.startswith("ema_") for key in plain[0][0])
    for (row,), (other,) in zip(plain, rows, strict=True):
        assert all(row[key] == other[key] for key in row if key != "seconds")
    states = without.state(0), averaged.state(0)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])

    last = torch.nn.utils.parameters_to_vector([*averaged.state(0).values()])
    after = torch.stack([*before[1:], last]).double()
    powers = DECAY ** torch.arange(len(after) - 1, -1, -1, dtype=torch.float64)
    expected = (powers.unsqueeze(-1) * after).sum(0) / powers.sum()
    net = averaged.nets[0].eval()
    torch.nn.utils.vector_to_parameters(expected.float(), net.parameters())
    images = Images(load_bytes(**TINY["data"]), CPU)
    loss = torch.nn.functional.cross_entropy(net(images.test), images.test_labels)
    assert rows[-1][0]["ema_test_loss"] == pytest.approx(float(loss.detach()), rel=1e-4)


def test_a_stack_averages_each_run_apart() -> None:
    runs = [
        make_run(**TINY, seed=seed, dropout1=rate, probe={"ema": 0.9}) for seed, rate in ((0, 0.1), (1, 0.6))
    ]
    together = trained(runs)[0]
    for number, run in enumerate(runs):
        alone = trained([run])[0]
        for both, (one,) in zip(together, alone, strict=True):
            assert both[number]["ema_test_loss"] == pytest.approx(one["ema_test_loss"], rel=1e-2)
