"""What `--reproduce` reckons with: every kind of run is a right config, and no committed run is left out."""

from __future__ import annotations

from typing import Any

import pandas as pd
from hydra.types import RunMode
from omegaconf import OmegaConf

from analysis import equal_time, race, races
from src import config
from tests.benchmarks import reproduce


def test_each_kind_of_run_is_a_right_config(hydra_loader: Any) -> None:
    commands = dict(reproduce.by_command())
    ratios = equal_time.read_ratios(race.RESULTS / equal_time.RATIOS)
    assert len(commands) == 7 + len(races.all_races(ratios))
    for kind in {kind for kinds in commands.values() for kind, _ in kinds}:
        composed = hydra_loader.load_configuration("config", list(kind), RunMode.RUN)
        plain: Any = OmegaConf.to_container(composed, resolve=False)
        plain.pop("hydra")
        config.parse(plain)


def test_a_races_run_epochs_are_those_of_its_table() -> None:
    for of in races.sources([*races.parts(), "equal_time_gaussian"], {"dropout": 1.0, "gaussian": 2.0}):
        table = pd.read_csv(race.RESULTS / f"{of.name}.csv")
        kinds = list(reproduce.kinds_raced(of))
        assert sum(count for _, count in kinds) == table["epochs"].sum()
        noises = [override for kind, _ in kinds for override in kind if override.startswith("noise=")]
        assert {override.partition("=")[2] for override in noises} == {*table["noise"]}
