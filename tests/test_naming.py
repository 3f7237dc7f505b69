"""Names of sweep folders: readable, safe as a file's name, and one for each sweep."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from src.errors.messages import key_of
from src.sweeping import naming
from src.sweeping.naming import LONGEST, sweep_name

SAFE = re.compile(r"[A-Za-z0-9_=,+][A-Za-z0-9_=.,+-]*")
KEYS = st.sampled_from(["dropout1", "seed", "optimizer.lr", "model", "sweep"])
VALUES = st.text(st.sampled_from("0159.,-_ ab()[]/'\\=é"), min_size=1, max_size=8) | st.sampled_from(
    ["range(5)", "range(1,5)", "range(15)", "choice(0.2,0.5)", "../../etc", "0.2,0.5", "-1"]
)
SWEEPS = st.lists(st.tuples(KEYS, VALUES).map("=".join), min_size=1, max_size=3, unique_by=key_of)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "book"),
        (["output=x", "device=cpu", "hydra.launcher.n_jobs=2", "hydra/launcher=basic"], "book"),
        (["sweep=rate_order"], "rate_order"),
        (["sweep=rate-order", "data.root=/x", "resume=false"], "rate-order"),
        (["sweep=rate_order", "seed=range(3)", "epochs=2"], "rate_order__epochs=2__seed=range-3"),
        (["dropout1=0.2,0.5", "dropout2=0.5"], "dropout1=0.2,0.5__dropout2=0.5"),
        (["optimizer.lr=1e-3,1e-2"], "optimizer.lr=1e-3,1e-2"),
    ],
)
def test_names_of_ordinary_sweeps(overrides: list[str], name: str) -> None:
    assert sweep_name(overrides) == name


@given(st.lists(st.text(max_size=30) | VALUES, max_size=5))
def test_any_overrides_make_a_safe_name(overrides: list[str]) -> None:
    name = sweep_name(overrides)
    assert SAFE.fullmatch(name)
    assert ".." not in name
    assert len(name) <= LONGEST + 7


@given(SWEEPS, st.randoms())
def test_order_and_what_changes_no_result_change_no_name(overrides: list[str], random: object) -> None:
    shuffled = [*overrides, "device=cpu", "output=somewhere", "hydra.launcher.n_jobs=3"]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sweep_name(shuffled) == sweep_name(overrides)


@given(SWEEPS, st.data())
def test_a_sweep_with_one_character_changed_has_another_name(sweep: list[str], data: st.DataObject) -> None:
    key, _, value = sweep[0].partition("=")
    at = data.draw(st.integers(0, len(value) - 1))
    other = value[:at] + data.draw(st.sampled_from(["", "-", "/", "(", "_", ".", "5", " "])) + value[at + 1 :]
    assume(other != value)
    assert sweep_name(sweep) != sweep_name([f"{key}={other}", *sweep[1:]])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["data=a/b"], ["data=a b"]),
        (["dropout1=[0.2,0.5]"], ["dropout1=0.2,0.5"]),
        (["seed=range(5)"], ["seed=range-5"]),
        (["x=1__y=2"], ["x=1", "y=2"]),
        ([f"dropout1={'0.1,' * 60}0.2"], [f"dropout1={'0.1,' * 60}0.3"]),
    ],
)
def test_what_reads_alike_is_told_apart(first: list[str], second: list[str]) -> None:
    assert sweep_name(first) != sweep_name(second)


@pytest.mark.parametrize(
    "override", ["dropout1=0.2,0.5", "+dropout1=3", "++dropout1=3", "~dropout1", "dropout1@x=3", "dropout1="]
)
def test_key_of(override: str) -> None:
    assert key_of(override) == "dropout1"


def test_what_refers_to_a_key_is_named_as_typed() -> None:
    overrides = {
        "task": ["dropout1=0.1,0.3", "dropout2=${dropout1}"],
        "hydra": ["hydra.launcher.n_jobs=${seed}"],
    }
    config = OmegaConf.create({"dropout1": 0.2, "seed": 0, "hydra": {"overrides": overrides}})
    assert naming.given(config) == (overrides["task"], overrides["hydra"])
    assert sweep_name(overrides["task"]) != sweep_name(["dropout1=0.1,0.3", "dropout2=0.2"])
