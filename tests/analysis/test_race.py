"""`analysis.race`: which settings go on, which commands it gives, and the table that it keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from configs import REPOSITORY

from analysis import design, equal_time, families, race, races, runs
from src.errors import InputError
from src.runs import store
from src.sweeping.naming import sweep_name

KEYS = ("noise", "dropout1", "noise.slope")


def table(accuracies: dict[str, list[float | None]], seeds: Sequence[int] = (0, 1)) -> pd.DataFrame:
    """Settings "NOISE RATE" with an accuracy a seed; None: the run diverged; a short list: it has fewer seeds."""
    told = []
    for setting, values in accuracies.items():
        noise, rate = setting.split()
        for seed, value in zip(seeds, values, strict=False):
            settings = {"noise": noise, "dropout1": float(rate), "noise.slope": None if noise == "a" else 1.0}
            told.append({**settings, "seed": seed, "val_acc": value, "val_loss": 1.0, "budget": race.STEPS})
    return pd.DataFrame(told)


def test_of_each_noise_the_best_go_on_and_diverged_ones_do_not() -> None:
    accuracies: dict[str, list[float | None]] = {
        "a 0.1": [0.8, 0.9], "a 0.2": [0.9, 0.9], "a 0.3": [0.99, None], "a 0.4": [0.7, 0.8], "a 0.5": [0.99],
        "b 0.1": [0.5, 0.6], "b 0.2": [0.6, 0.6], "b 0.3": [0.1, 0.1],
    }  # fmt: skip
    chosen = race.best(table(accuracies), KEYS, 3)
    assert chosen == [
        "noise=a dropout1=0.2", "noise=a dropout1=0.1",
        "noise=b dropout1=0.2 noise.slope=1", "noise=b dropout1=0.1 noise.slope=1",
    ]  # fmt: skip
    assert len(race.best(table(accuracies), KEYS, 1)) == 6


class Trained:
    """In the place of `src.train`: notes its commands and leaves runs whose accuracy is their rate."""

    def __init__(self, output: Path) -> None:
        self.output, self.commands, self.code = output, list[list[str]](), 0
        self.arms = ["noise=a dropout1=0.1", "noise=b dropout1=0.2"]

    def __call__(self, command: Sequence[str]) -> int:
        named = [part for part in command[1:] if not part.startswith("output=")]
        self.commands.append(named)
        if self.code > 1:
            return self.code
        values = dict(part.split("=", 1) for part in named)
        arms = json.loads(values.get("hydra.sweeper.arms", json.dumps(self.arms)))
        folder = self.output / "sweeps" / sweep_name(named)
        folder.mkdir(parents=True, exist_ok=True)
        # as a sweep has it: what all runs share is no column
        is_swept = len({arm.split()[0] for arm in arms}) > 1
        lines = [f"id,state,{'noise,' * is_swept}dropout1,seed,epoch"]
        seeds = range(*map(int, values["seed"].removeprefix("range(").removesuffix(")").split(",")))
        for arm in arms:
            setting = dict(part.split("=") for part in arm.split())
            for seed in seeds:
                epochs = int(values.get("epochs", 100))
                name = f"{setting['noise']}{setting['dropout1']}_{seed}_{epochs}"
                noise = f"{setting['noise']}," * is_swept
                lines.append(f"{name},finished,{noise}{setting['dropout1']},{seed},{epochs}")
                self._leave(name, setting, seed, epochs)
        (folder / "runs.csv").write_text("\n".join(lines) + "\n")
        return self.code

    def _leave(self, name: str, setting: dict[str, str], seed: int, epochs: int) -> None:
        run = self.output / "runs" / name
        run.mkdir(parents=True, exist_ok=True)
        rate = float(setting["dropout1"])
        config = {"noise": {"name": setting["noise"]}, "dropout1": rate, "dropout2": 0.0}
        config |= {"seed": seed, "epochs": epochs}
        final = {"epoch": epochs, "val_acc": rate, "val_loss": 1.0, "ema_test_acc": 0.5, "var1": 3.0}
        header = ",".join(final)
        rows = ({**final, "epoch": epoch} for epoch in range(1, epochs + 1))
        lines = [header, *(",".join(map(str, row.values())) for row in rows)]
        (run / "metrics.csv").write_text("\n".join(lines) + "\n")
        record = {"id": name, "state": "finished", "config": config, "final": final, "seconds": 1.5}
        record["device"] = "cuda (a card)"
        store.write_record(run, record)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    train = Trained(tmp_path / "outputs")
    monkeypatch.setattr(race, "run", train)
    return train


def arguments(trained: Trained, *more: str) -> list[str]:
    return ["noises_basic", "--output", str(trained.output), "--to", str(trained.output / "tables"), *more]


def test_three_rungs_then_the_winners_on_fresh_seeds_and_at_equal_time(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained.output / "tables").mkdir(parents=True)
    (trained.output / "tables" / equal_time.RATIOS).write_text("noise,ratio\ndropout,1.2\na,2.4\nb,1.2\n")
    assert race.main(arguments(trained)) == 0
    # dropout2, which its arms set, goes on though it is the same in all of them
    arms = 'hydra.sweeper.arms=["noise=a dropout1=0.1 dropout2=0", "noise=b dropout1=0.2 dropout2=0"]'
    a = 'hydra.sweeper.arms=["noise=a dropout1=0.1 dropout2=0"]'
    assert trained.commands == [
        ["sweep=noises_basic", "seed=range(1)"],
        ["sweep=noises_basic", "seed=range(1,4)", arms],
        ["sweep=noises_basic", "seed=range(4,8)", arms],
        ["sweep=noises_basic", "seed=range(100,108)", "data.split=${seed}", arms],
        # twice dropout's time: half the epochs; b takes dropout's own time
        ["sweep=noises_basic", "seed=range(100,108)", "data.split=${seed}", "epochs=50", a],
    ]
    kept = pd.read_csv(trained.output / "tables" / "noises_basic.csv")
    assert len(kept) == 2 * 8 + 2 * 8 + 8 and not kept["id"].duplicated().any()
    assert dict(kept.groupby("budget")["epochs"].max()) == {"steps": 100, "fresh": 100, "time": 50}
    assert set(kept["seed"][kept["budget"] != "steps"]) == {*range(100, 108)}
    assert "ema_test_acc" in kept and "var1" not in kept
    assert list(kept)[-2:] == ["budget", "device"] and set(kept["device"]) == {"cuda (a card)"}
    again = (trained.output / "tables" / "noises_basic.csv").read_bytes()
    assert race.main(arguments(trained)) == 0
    assert (trained.output / "tables" / "noises_basic.csv").read_bytes() == again


def test_after_one_seed_the_worse_half_is_out_and_in_the_end_all_but_a_sixth(trained: Trained) -> None:
    rates = [f"{rate / 100:g}" for rate in range(1, 15)]  # a run's accuracy is its rate
    trained.arms = [f"noise=a dropout1={rate}" for rate in rates]
    assert race.main(arguments(trained)) == 0
    kept = pd.read_csv(trained.output / "tables" / "noises_basic.csv")
    seeds = kept[kept["budget"] == race.STEPS].groupby("dropout1")["seed"].nunique()
    assert list(seeds) == [1] * 7 + [4] * 5 + [8] * 2
    assert [*kept["seed"][kept["budget"] == race.FRESH]] == [*races.FRESH_SEEDS]


@pytest.mark.parametrize("part", [*races.parts(), races.TUNED])
def test_the_committed_races_which_cut_none_after_one_seed_would_have_chosen_the_same(part: str) -> None:
    """They trained every setting on all of the file's seeds. What went on is in the better half after the first."""
    table = race.read_table(race.RESULTS / f"{part}.csv")
    keys = list(table)[: list(table).index("seed")]
    raced = table[table["budget"] == race.STEPS]
    after_one = set(race.best(raced[raced["seed"] == 0], keys, race.HALF))
    assert set(race.best(raced, keys, race.ONE_IN)) <= after_one
    assert set(race.best(raced, keys, len(raced), least=1)) <= after_one


def test_tuned_dropouts_clone_trains_on_the_fresh_seeds_alone(trained: Trained) -> None:
    trained.arms = ["noise=gaussian dropout1=0.3", "noise=dropout dropout1=0.1", "noise=dropout dropout1=0.2"]
    assert race.main([races.TUNED, *arguments(trained)[1:]]) == 0
    *_, fresh = trained.commands
    arms = json.loads(fresh[-1].partition("=")[2])
    assert [arm.split(" dropout2")[0] for arm in arms] == [
        "noise=gaussian dropout1=0.3",
        "noise=dropout dropout1=0.2",
        "noise=dropout_clone dropout1=0.2",
    ]
    kept = pd.read_csv(trained.output / "tables" / f"{races.TUNED}.csv")
    clone = kept[kept["noise"] == "dropout_clone"]
    assert set(clone["budget"]) == {race.FRESH} and set(clone["seed"]) == {*races.FRESH_SEEDS}


@pytest.mark.parametrize(
    ("arm", "control"),
    [
        (
            "noise=tangent dropout1=0.1 dropout2=0.2 noise.input_rate=0.15 noise.stretch=0.2",
            "dropout1=0.1 dropout2=0.2 noise.input_rate=0.15",
        ),
        (
            "noise=neighbours dropout1=0 dropout2=0 noise.input_rate=0.05 noise.pixel_rate=0.1",
            "dropout1=0 dropout2=0 noise.input_rate=0.1",
        ),
        ("noise=dropblock dropout1=0.02 dropout2=0.06", "dropout1=0.02 dropout2=0.06 noise.input_rate=0"),
        ("noise=gaussian dropout1=0.02 dropout2=0.06", None),
    ],
)
def test_augmentation_has_a_control_on_the_fresh_seeds(arm: str, control: str | None) -> None:
    wanted = [] if control is None else [f"noise=dropout {control}"]
    assert [*families.controls([arm, "noise=none"])] == wanted
    own = [" ".join(["noise=dropout", *reversed(of.split()[1:])]) for of in wanted]
    assert [*families.controls([arm, *own])] == [], "it is among the winners"


def test_a_part_trains_controls_on_the_fresh_seeds_alone(trained: Trained) -> None:
    trained.arms = ["noise=tangent dropout1=0.1", "noise=tangent dropout1=0.2", "noise=b dropout1=0.1"]
    assert race.main(["noises_pixels", *arguments(trained)[1:]]) == 0
    kept = pd.read_csv(trained.output / "tables" / "noises_pixels.csv")
    control = kept[kept["noise"] == "dropout"]
    assert set(control["budget"]) == {race.FRESH} and set(control["seed"]) == {*races.FRESH_SEEDS}
    assert set(control["dropout1"]) == {0.2}


def race_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arms: list[str], name: str = "mine", **params: str
) -> None:
    """A race's file, sweeps/NAME.yaml."""
    sweeper = {"arms": arms, "params": {"seed": "range(2)", "data.validation": 100, **params}}
    text = "# Which?\n#\n# Design: mine.\n#\n# python\n" + yaml.safe_dump({"hydra": {"sweeper": sweeper}})
    (folder / f"{name}.yaml").write_text(text)
    monkeypatch.setattr(design, "SWEEP_FILES", folder)


def test_what_all_arms_share_goes_on_to_each_rung(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = ["noise=a dropout1=0.1,0.2 ++dropout2=0"]
    race_of(tmp_path, monkeypatch, arms)
    trained.arms = ["noise=a dropout1=0.1", "noise=a dropout1=0.2"]
    to = tmp_path / "tables"
    assert race.main(["mine", "--output", str(trained.output), "--to", str(to)]) == 0
    both = 'hydra.sweeper.arms=["noise=a dropout1=0.2 dropout2=0", "noise=a dropout1=0.1 dropout2=0"]'
    best = 'hydra.sweeper.arms=["noise=a dropout1=0.2 dropout2=0"]'
    # of two settings both go on after the first seed and after the file's last one
    assert [command[-1] for command in trained.commands] == ["seed=range(1)", both, both, best]
    kept = pd.read_csv(to / "mine.csv")
    assert list(kept)[:4] == ["noise", "dropout1", "dropout2", "seed"] and set(kept["noise"]) == {"a"}


@pytest.mark.parametrize(
    ("arms", "params"),
    [(["dropout1=0.1,0.2"], {"noise": "a"}), (["noise=a", "dropout1=0.2"], {}), (["dropout1=0.1,0.2"], {})],
    ids=["noise among params", "an arm without", "none"],
)
def test_each_arm_of_a_race_sets_noise(
    arms: list[str], params: dict[str, str], tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    race_of(tmp_path, monkeypatch, arms, **params)
    assert race.main(["mine", "--output", str(trained.output), "--to", str(tmp_path)]) == 2
    assert not trained.commands


@pytest.mark.parametrize(
    ("params", "line"),
    [
        ({"data.validation": "0"}, "needs data.validation, say 10000: settings race by validation accuracy"),
        (
            {"optimizer.lr": "0.1,0.2"},
            "sweeps optimizer.lr in its params, which settings of arms alone may differ in",
        ),
        (
            {"data.validation": "100,200"},
            "sweeps data.validation in its params, which settings of arms alone may ",
        ),
        *(
            ({"seed": seeds}, "its seed must be range(N), N up to 96")
            for seeds in ("range(4,8)", "0,2", "range(97)")
        ),
    ],
    ids=["no validation", "lr", "validation", "later seeds", "seeds apart", "fresh seeds"],
)
def test_what_cannot_race_is_refused(
    params: dict[str, str],
    line: str,
    tmp_path: Path,
    trained: Trained,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    race_of(tmp_path, monkeypatch, ["noise=a dropout1=0.1,0.2"], **params)
    assert race.main(["mine", "--output", str(trained.output), "--to", str(tmp_path)]) == 2
    assert f"error: NAME=mine: {line}" in capsys.readouterr().err and not trained.commands


def test_a_race_in_which_all_diverge_ends(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = race.rows
    monkeypatch.setattr(
        race, "rows", lambda *of: rows(*of).drop(columns=["val_acc", "val_loss"]).assign(state="diverged")
    )
    assert race.main(arguments(trained)) == 0
    assert "noises_basic: no setting finished all its runs; its race ends here" in capsys.readouterr().err
    assert len(trained.commands) == 1 and (trained.output / "tables" / "noises_basic.csv").exists()


def test_a_race_whose_seeds_have_splits_of_their_own_needs_no_fresh_ones(trained: Trained) -> None:
    assert race.main(["new_noise_race", *arguments(trained)[1:]]) == 0
    assert [command[1] for command in trained.commands] == [f"seed=range({of})" for of in ("1", "1,2", "2,6")]
    # nor is it at equal time: the ratios were measured where the parts train
    (trained.output / "tables" / equal_time.RATIOS).write_text("noise,ratio\ndropout,1\na,2\nb,1\n")
    assert race.main(["new_noise_race", *arguments(trained)[1:]]) == 0
    assert not any("epochs=50" in command for command in trained.commands)


@pytest.mark.parametrize("name", ["run.json", "metrics.csv"])
@pytest.mark.parametrize("text", [None, "no JSON"])
def test_a_damaged_run_is_left_out_and_costs_no_other(
    trained: Trained,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str | None,
) -> None:
    path = trained.output / "runs" / "a0.1_2_100" / name

    def damaging(command: Sequence[str]) -> int:
        code = trained(command)
        if len(trained.commands) == 2:
            path.write_text(text) if text else path.unlink()
        return code

    monkeypatch.setattr(race, "run", damaging)
    assert race.main(arguments(trained)) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert line.startswith(f"left out: {path} is ")
    kept = pd.read_csv(trained.output / "tables" / "noises_basic.csv")
    assert len(kept) == 2 * 8 + 2 * 8 - 1 and "a0.1_2_100" not in set(kept["id"])


@pytest.mark.parametrize(("noise", "rate"), [("none", 0.0), ("a", 0.2)])
def test_without_noise_a_setting_is_the_same_in_both_rungs(tmp_path: Path, noise: str, rate: float) -> None:
    train = Trained(tmp_path)
    # the arm of a second rung does not name rates that have no effect, which then have their usual values
    arms = [f"noise={noise} dropout1=0.2"]
    train(["src.train", "sweep=x", "seed=range(4,8)", f"hydra.sweeper.arms={json.dumps(arms)}"])
    (folder,) = (tmp_path / "sweeps").iterdir()
    kept = race.rows(folder, ["noise", "dropout1"], race.STEPS)
    assert list(kept["dropout1"]) == [rate] * 4 and set(kept["noise"]) == {noise}


def test_without_ratios_equal_steps_alone_and_bad_input_ends_it(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    assert race.main(arguments(trained, "--trim", "data=digits")) == 0
    assert len(trained.commands) == 4
    assert trained.commands[0] == ["sweep=noises_basic", "data=digits", "seed=range(1)"]
    assert "no table at equal time" in capsys.readouterr().err
    trained.code, trained.commands = 2, []
    assert race.main(arguments(trained)) == 2
    assert len(trained.commands) == 1


@pytest.mark.parametrize(
    "told", [["rate_order"], ["swap_until"], ["noises_basic", "--trim", "noise=gaussian"]], ids=" ".join
)
def test_a_race_without_noises_is_refused_before_it_trains(
    told: list[str], trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    assert race.main(["--to", str(trained.output), *told]) == 2
    said = f"error: NAME={told[0]}: its arms must set noise, and no --trim: settings of each noise race"
    assert capsys.readouterr().err.splitlines() == [said] and not trained.commands


@pytest.mark.parametrize(
    "told", [["nope"], ["noises_basic", "größe"], ["noises_basic", "../sweeps"]], ids=" ".join
)
def test_a_race_of_no_named_sweep_is_refused_before_any_trains(
    told: list[str], trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    assert race.main(["--to", str(trained.output), *told]) == 2
    said = f"error: {told[-1]} is no named sweep; one of sweeps/ is right: activation_variance, check, "
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said) and not trained.commands


def test_a_trimmed_race_must_not_take_the_place_of_the_tables_that_are_there(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    assert race.main(["noises_basic", "--output", str(trained.output), "--trim", "epochs=1"]) == 2
    assert capsys.readouterr().err.startswith("error: --trim epochs=1: must have --to FOLDER beside it")
    assert not trained.commands


@pytest.mark.parametrize(
    ("trim", "said"),
    [
        ("data.validation=0", "a race needs data.validation, say 10000"),
        ("data.validation=null", "a race needs data.validation, say 10000"),
        (
            "output=x",
            "one value of a key of the runs is right; seeds are the race's own, folders --output and --to",
        ),
        ("seed=range(3,6)", "one value of a key of the runs is right"),
        ("epochs=1,2", "one value of a key of the runs is right"),
        ("hydra.sweep.dir=x", "one value of a key of the runs is right"),
        ("hydra.sweeper.plan=true", "one value of a key of the runs is right"),
    ],
)
def test_what_would_waste_a_trimmed_race_is_refused_before_it_trains(
    trained: Trained, capsys: pytest.CaptureFixture[str], trim: str, said: str
) -> None:
    assert race.main(arguments(trained, "--trim", "epochs=1", trim)) == 2
    assert f"error: --trim {trim}: {said}" in capsys.readouterr().err and not trained.commands


@pytest.mark.parametrize("option", ["--to", "--output"])
def test_a_file_in_a_folders_place_is_refused_before_it_trains(
    trained: Trained, capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str
) -> None:
    (tmp_path / "file").write_text("")
    assert race.main([*arguments(trained), option, str(tmp_path / "file")]) == 2
    said = f"error: argument {option}: '{tmp_path / 'file'}' is no folder; one that is there, or a new one,"
    assert capsys.readouterr().err.startswith(said) and not trained.commands


def test_ratios_without_dropout_are_refused(tmp_path: Path) -> None:
    (tmp_path / equal_time.RATIOS).write_text("noise,ratio\ngaussian,1.2\n")
    with pytest.raises(InputError, match="dropout is not there"):
        equal_time.read_ratios(tmp_path / equal_time.RATIOS)


def test_the_parts_are_the_sweeps_of_noises_and_share_one_regime(monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted((REPOSITORY / "sweeps").glob("noises_*.yaml"))
    tuned = yaml.safe_load((REPOSITORY / "sweeps" / f"{races.TUNED}.yaml").read_text())["hydra"]["sweeper"][
        "params"
    ]
    params: list[Any] = [yaml.safe_load(path.read_text())["hydra"]["sweeper"]["params"] for path in files]
    assert all(other == params[0] for other in params)
    # but for the seeds and what is tuned there
    assert {**tuned, "seed": "range(4)", "optimizer.lr": 0.05} == params[0]
    began: list[str] = []
    monkeypatch.setattr(race, "race", lambda of, *_: began.append(of.name) or 0)
    assert race.main([]) == 0
    timed = races.timed(equal_time.read_ratios(race.RESULTS / equal_time.RATIOS))
    assert began == [*(path.stem for path in files), races.TUNED, *timed]
    assert len(races.parts()) >= 8 and len(timed) >= 20


def test_with_other_epochs_no_time_is_equal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_ratios(tmp_path)
    began: list[str] = []
    monkeypatch.setattr(race, "race", lambda of, *_: began.append(of.name) or 0)
    assert race.main(["--trim", "epochs=1", "--to", str(tmp_path)]) == 0
    assert began == [*races.parts(), races.TUNED]
    assert race.main(["--to", str(tmp_path)]) == 0
    assert began[len(races.parts()) + 1 :] == [*races.parts(), races.TUNED, *races.timed(SLOWER)]


SLOWER = {"none": 1.0, "dropout": 1.2, "dropout_clone": 1.22, "gaussian": 2.4, "tangent": 1.8, "jumpout": 0.6}


def write_ratios(folder: Path, ratios: Mapping[str, float] = SLOWER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{name},{ratio}" for name, ratio in ratios.items()]
    (folder / equal_time.RATIOS).write_text("\n".join(["noise,ratio", *lines, ""]))


def test_at_equal_time_those_race_whose_time_is_known_and_another_than_dropouts() -> None:
    assert races.timed(SLOWER) == ["equal_time_gaussian", "equal_time_jumpout", "equal_time_tangent"]
    assert races.timed(None) == []
    assert races.all_races(SLOWER) == [*races.parts(), races.TUNED, *races.timed(SLOWER)]


@pytest.mark.parametrize(("noise", "part", "epochs"), [("tangent", "pixels", 30), ("gaussian", "basic", 22)])
def test_at_equal_time_a_noise_races_its_parts_settings_for_as_long_as_dropout(
    noise: str, part: str, epochs: int, trained: Trained
) -> None:
    """All of a part's 14 settings of the noise, by the file, and no others."""
    of_part = design.read(f"noises_{part}")
    settings = [of for of in of_part.settings if of["noise"] == noise]
    (found,) = races.sources([f"equal_time_{noise}"], SLOWER)
    assert (found.planned.sweep, found.overrides) == (f"noises_{part}", [f"epochs={epochs}"])
    keys = {key for of in settings for key in of} & {"noise", *of_part.arm_keys}
    wanted = sorted(sorted(f"{key}={runs.shown(of[key])}" for key in keys if key in of) for of in settings)
    assert sorted(sorted(arm.split()) for arm in found.arms) == wanted and len(wanted) == 14
    assert found.keys[0] == "noise" and {*found.keys} == keys, (
        "those of other noises of the part are not its own"
    )
    tables = trained.output / "tables"
    write_ratios(tables)
    assert race.main([f"equal_time_{noise}", *arguments(trained)[1:]]) == 0
    first, *later, fresh = trained.commands
    of_all = [f"sweep=noises_{part}", f"epochs={epochs}"]
    assert first == [*of_all, "seed=range(1)", f"hydra.sweeper.arms={json.dumps(found.arms)}"]
    assert [command[:3] for command in later] == [[*of_all, "seed=range(1,4)"], [*of_all, "seed=range(4,8)"]]
    assert fresh[:4] == [*of_all, "seed=range(100,108)", "data.split=${seed}"]
    kept = pd.read_csv(tables / f"equal_time_{noise}.csv")
    assert set(kept["noise"]) == {noise} and set(kept["budget"]) == {race.STEPS, race.FRESH}
    assert set(kept["epochs"]) == {epochs} and kept["seed"].nunique() == 16


def test_a_race_at_equal_time_needs_to_know_that_time(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    assert race.main(["equal_time_tangent", *arguments(trained)[1:]]) == 2
    said = f"beside the tables a {equal_time.RATIOS} that says how long an epoch with tangent takes is right"
    assert capsys.readouterr().err.splitlines() == [f"error: NAME=equal_time_tangent: {said}"]
    write_ratios(trained.output / "tables", {"dropout": 1.2, "tangent": 1.22})
    assert race.main(["equal_time_tangent", *arguments(trained)[1:]]) == 2
    said = (
        f"by {equal_time.RATIOS} an epoch with tangent takes as long as dropout's; noises_pixels has its race"
    )
    assert capsys.readouterr().err == f"error: NAME=equal_time_tangent: {said} for that time already\n"
    for wrong in ("equal_time_tangnet", "equal_time_dropout", "equal_time_"):
        assert race.main([wrong, *arguments(trained)[1:]]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: NAME={wrong}: behind equal_time_ one of additive, ")
        assert ", tangent, " in line and "dropout," not in line and not trained.commands
        assert race.main([wrong, *arguments(trained)[1:], "--trim", "epochs=2"]) == 2
        assert "leave it out" not in capsys.readouterr().err or wrong == "equal_time_dropout"


def test_epochs_of_a_race_at_equal_time_are_its_own(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    for ratios in (None, SLOWER):
        if ratios:
            write_ratios(trained.output / "tables", ratios)
        trim = ["--trim", "data=digits", "epochs=2"]
        assert race.main(["equal_time_tangent", *arguments(trained)[1:], *trim]) == 2
        said = "leave it out, as equal_time_tangent has as many epochs as take dropout's time"
        assert capsys.readouterr().err == f"error: --trim epochs=2: {said}\n" and not trained.commands
    small = ["--trim", "data=digits", "data.train=null", "data.validation=200"]  # as sweeps/README.md has it
    assert race.main(["equal_time_tangent", *arguments(trained)[1:], *small]) == 0
    assert all(command[1:5] == [*small[1:], "epochs=30"] for command in trained.commands)


def test_a_file_that_is_no_race_stops_no_race_that_is_named(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    race_of(tmp_path, monkeypatch, ["noise=gaussian dropout1=0.1,0.2"], "noises_a", epochs="30")
    race_of(tmp_path, monkeypatch, ["dropout1=0.1,0.2"], "noises_b")
    race_of(tmp_path, monkeypatch, ["dropout1=0.1,0.2"], "noises_c", noise="gaussian")
    (tmp_path / "noises_d.yaml").write_text("hydra: [")
    options = arguments(trained)[1:]
    write_ratios(trained.output / "tables")
    for name in ("noises_a", "equal_time_gaussian"):
        assert race.main([name, *options]) == 0
    assert capsys.readouterr().err == "" and trained.commands
    trained.commands = []
    (tmp_path / "noises_d.yaml").unlink()
    race_of(tmp_path, monkeypatch, ["noise=dropout dropout1=0.1,0.2"], races.TUNED)
    for told in (["noises_b"], []):  # a part of one's own that is wrong is not passed over when all race
        assert race.main([*told, *options]) == 2
        said = "error: NAME=noises_b: its arms must set noise, and no --trim: settings of each noise race\n"
        assert capsys.readouterr().err == said and not trained.commands
    for path in tmp_path.glob("noises_*.yaml"):
        path.unlink()
    assert race.main(["equal_time_gaussian", *options]) == 2
    assert "error: NAME=equal_time_gaussian: no part races a noise" in capsys.readouterr().err


def test_what_is_wrong_with_a_race_at_equal_time_is_said_under_the_name_that_was_typed(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = ["noise=gaussian dropout1=0.1,0.2"]
    write_ratios(trained.output / "tables")
    told = ["equal_time_gaussian", *arguments(trained)[1:]]
    epochs = "needs epochs in its params, one number for all; the race has as many as take dropout's time"
    wrong = {
        "its seed must be range(N), N up to 96; the race adds others": {"seed": "3"},
        "needs data.validation, say 10000: settings race by validation accuracy": {"data.validation": "0"},
        "sweeps dropout2 in its params, which settings of arms alone may differ in": {"dropout2": "0.1,0.2"},
        epochs: {"epochs": "30,40"},
    }
    for said, params in wrong.items():
        race_of(tmp_path, monkeypatch, arms, "noises_a", **{"epochs": "30", **params})
        assert race.main(told) == 2
        line = f"error: NAME=equal_time_gaussian: sweeps/noises_a.yaml: {said}\n"
        assert capsys.readouterr().err == line and not trained.commands
    for of in (arms, ["noise=gaussian epochs=10 dropout1=0.1,0.2"], ["noise=gaussian epochs=10,20"]):
        race_of(tmp_path, monkeypatch, of, "noises_a")
        assert race.main(told) == 2
        line = f"error: NAME=equal_time_gaussian: sweeps/noises_a.yaml: {epochs}\n"
        assert capsys.readouterr().err == line and not trained.commands
    for part in ("noises_a", "noises_b"):
        race_of(tmp_path, monkeypatch, arms, part)
    assert race.main(told) == 2
    said = "noises_a and noises_b have settings of gaussian; they must stand in one"
    assert capsys.readouterr().err == f"error: NAME=equal_time_gaussian: {said}\n" and not trained.commands
    # nobody asked for that one: all others race
    race_of(tmp_path, monkeypatch, ["noise=jumpout dropout1=0.1,0.2"], "noises_c", epochs="30")
    race_of(tmp_path, monkeypatch, ["noise=dropout dropout1=0.1,0.2"], races.TUNED)
    began: list[str] = []
    monkeypatch.setattr(race, "race", lambda of, *_: began.append(of.name) or 0)
    assert race.main(told[1:]) == 0
    assert began == ["noises_a", "noises_b", "noises_c", races.TUNED, "equal_time_jumpout"]
    said = "no race at equal time of gaussian, as noises_a and noises_b have its settings\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("ratio", "same"), [(1.2, True), (1.24, True), (1.15, True), (1.27, False), (1.0, False)]
)
def test_what_takes_nearly_dropouts_time_does_not_race_again(ratio: float, same: bool) -> None:
    slower = equal_time.slowness({"dropout": 1.2, "a": ratio}, "a")
    assert slower is not None and equal_time.is_same(slower) == same
    assert equal_time.slowness(None, "a") is equal_time.slowness({"dropout": 1.2}, "a") is None
