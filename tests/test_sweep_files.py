"""The files of `sweeps/` as choices of `sweep`: one odd file there stops nothing that does not ask for it."""

from __future__ import annotations

import contextlib
import csv
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import forks
import pytest
from configs import make_run
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.object_type import ObjectType
from hydra.types import RunMode
from hydra_plugins.dropout_sweeps import ArmsSweeper, OptunaSweeper, SweepFiles, SweepFolder
from omegaconf import OmegaConf
from test_train import SMALL, Ended, Train, train_here

from src.errors import REPOSITORY, InputError
from src.sweeping import naming, sweep

__all__ = ["train_here"]  # a fixture

GOOD = "hydra:\n  sweeper:\n    params:\n      seed: range(2)\n"


@pytest.fixture
def files(tmp_path: Path) -> SweepFiles:
    """A folder with a sweep, a note, an editor's lock on a file, and a file that is half-written."""
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "README.md").write_text("")
    (tmp_path / ".#good.yaml").symlink_to("user@host.1:2")
    (tmp_path / "half.yaml").write_text("hydra: {mode: MULTI")
    (tmp_path / "folder.yaml").mkdir()
    return SweepFiles("tests", f"sweeps://{tmp_path}")


def test_the_group_has_the_files_and_nothing_else(files: SweepFiles) -> None:
    assert files.available()
    assert (files.list("", ObjectType.GROUP), files.list("", ObjectType.CONFIG)) == (["sweep"], [])
    assert files.list("sweep", ObjectType.CONFIG) == files.list("sweep", None) == ["good", "half"]
    assert files.is_config("sweep/good") and not files.is_config("sweep/folder")
    assert not any(
        map(files.is_config, ["good", "sweep", "sweep/", "noise/good", "sweep/README", "sweep/no"])
    )


def test_a_file_is_read_when_it_is_asked_for_and_sets_global_keys(files: SweepFiles) -> None:
    loaded = files.load_config("sweep/good")
    assert loaded.header == {"package": "_global_"}
    assert loaded.config.hydra.sweeper.params.seed == "range(2)"
    with pytest.raises(InputError, match=r"half\.yaml cannot be read: line 1: expected "):
        files.load_config("sweep/half")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs: 3\n" + GOOD, r"sets epochs, which no run would see; put it under hydra\.sweeper\.params"),
        ("- 1\n", "is no sweep; a file with hydra.sweeper.arms or"),
        ("a: [", "cannot be read"),
        ("\0", "cannot be read"),
        ("", "is no sweep; a file with"),
        ("# a comment\n", "is no sweep; a file with"),
        ("hydra:\n", "is no sweep; a file with"),
        ("hydra: [1]\n", "is no sweep; a file with"),
        ("[" * 3000, "cannot be read"),
        (
            "hydra: {sweeper: {params: [seed=0]}}\n",
            r"hydra\.sweeper\.params must be keys with their values, such as",
        ),
        (
            "hydra: {sweeper: {params: {seed: }}}\n",
            r"hydra\.sweeper\.params\.seed has no value; null itself is",
        ),
        (
            "hydra: {sweeper: {arms: {a: b}}}\n",
            r"hydra\.sweeper\.arms must be a list of texts, such as - noise=",
        ),
    ],
)
def test_what_would_go_unheard_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        naming.sweep_file(tmp_path / "odd.yaml")


def test_each_sweep_of_ours_is_right() -> None:
    for path in (REPOSITORY / "sweeps").glob("*.yaml"):
        assert naming.sweep_file(path).hydra.sweeper.params


@pytest.mark.parametrize(("conf", "count"), [(REPOSITORY / "conf", 1), (REPOSITORY / "tests", 0)])
def test_other_applications_get_no_group_from_us(conf: Path, count: int) -> None:
    path = ConfigSearchPathImpl()
    path.append("hydra", "pkg://hydra.conf")
    path.append("main", f"file://{conf}")
    SweepFolder().manipulate_search_path(path)
    assert [e.path for e in path.get_path() if e.provider == "dropout-sweeps"] == [
        f"sweeps://{REPOSITORY / 'sweeps'}"
    ] * count


@pytest.mark.parametrize("choice", ["glob(rate*)", "choice(rate_order)", "rate_order,swap_rates", "[a]"])
@pytest.mark.parametrize("flag", [[], ["-m"]])
def test_anything_but_one_name_is_refused(train_here: Train, choice: str, flag: list[str]) -> None:
    code, out, err = train_here(*flag, *SMALL, f"sweep={choice}")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: sweep={choice}: name one sweep at a time")


@pytest.mark.parametrize(
    "name", ["größe", "'größe'", "my sweep", "../rate_order", "rate_order.yaml", "a" * 300]
)
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"^sweep={re.escape(name)}: must be the name of a file of sweeps/"):
        naming.check_overrides([f"sweep={name}"])


@pytest.mark.parametrize("values", ["range(0.05,0.2,0.05)", "range(0,1,1e-1)", "sort(range(0.5,2))"])
def test_a_range_of_decimals_is_none_for_hydras_own_sweeper(values: str) -> None:
    naming.check_overrides(["hydra/sweeper=arms", f"dropout1={values}"])
    naming.check_overrides(["hydra/sweeper=basic", "seed=range(0,9,3)"])
    with pytest.raises(InputError, match=r"hydra/sweeper=basic would make .*; list the values"):
        naming.check_overrides(["hydra/sweeper=basic", f"dropout1={values}"])


def train_apart(folder: Path, *arguments: str) -> Ended:
    """`python -m src.train ARGUMENTS` in this folder; its workers are no children of the tests' own process."""
    done = forks.python("src.train", *arguments, cwd=folder, PYTHONPATH=str(REPOSITORY))
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_hydras_own_sweeper_trains_every_batch_and_the_code_is_1(tmp_path: Path) -> None:
    basic = ["hydra/sweeper=basic", "hydra.sweeper.max_batch_size=1", "hydra.launcher.n_jobs=1"]
    code, out, _ = train_apart(tmp_path, "-m", *SMALL, *basic, "optimizer.lr=1e9,0.5")
    assert (code, out.count("1 runs, 0 of them done before")) == (1, 2)
    assert "0 finished, 1 failed or diverged" in out and "1 finished, 1 failed or diverged" in out
    (folder,) = tmp_path.glob("outputs/sweeps/*")
    with (folder / "runs.csv").open(newline="") as file:  # of every batch, and its columns those of all
        rows = [(row["state"], row["optimizer.lr"]) for row in csv.DictReader(file)]
    assert rows == [("diverged", "1000000000.0"), ("finished", "0.5")]
    assert folder.name.startswith("data=digits__epochs=3__model.hidden1=16")


@pytest.mark.parametrize(
    ("batch", "swept", "said"),
    [
        (1, "save_model=true,false", "save_model=true,false: takes one value in a sweep"),
        (
            9,
            "tags=a,b",
            "tags=a,b: takes one value in a sweep, as it changes no result; several are a list, tags=[a,b]",
        ),
        (9, "seed=range(3,0)", "seed=range(3,0): holds no value"),
        (9, "schedule=glob(zzz*)", "schedule=glob(zzz*): holds no value"),
        (9, "noise=glob([gauss*,none],exclude=*)", "exclude=*): holds no value"),
        (9, "dropout1=glob(*)", "dropout1=glob(*): holds no value"),
        (9, "seed=range(1e400)", "seed=range(1e400): must end after at most 10,000,000 values"),
    ],
)
def test_a_sweeper_of_hydras_drops_nothing_either(tmp_path: Path, batch: int, swept: str, said: str) -> None:
    own = ["hydra/sweeper=basic", f"hydra.sweeper.max_batch_size={batch}", "hydra.launcher.n_jobs=1"]
    code, _, err = train_apart(tmp_path, "-m", *SMALL, *own, swept)
    assert code == 2 and said in err and len(err.splitlines()) == 1


def test_the_folders_name_is_the_jobs_too(train_here: Train, tmp_path: Path) -> None:
    assert train_here("-m", *SMALL, "seed=0", "hydra/launcher=basic").code == 0
    (folder,) = tmp_path.glob("outputs/sweeps/*")
    (hydra,) = tmp_path.glob("outputs/runs/*/.hydra/hydra.yaml")
    for path in (hydra, folder / "multirun.yaml"):
        assert f'hydra.sweep.dir="${{output}}/sweeps/{folder.name}"' in path.read_text()
    elsewhere = f"hydra.sweep.dir={tmp_path / 'x'}"
    assert train_here("-m", *SMALL, "seed=0", "hydra/launcher=basic", elsewhere).code == 0
    assert (tmp_path / "x" / "runs.csv").exists() and len(list(tmp_path.glob("outputs/sweeps/*"))) == 1


FILES = {
    "{params: {sweep: other}}": "a sweep cannot name another one",
    "{arms: [sweep=other]}": "a sweep cannot name another one",
    "{arms: [{dropout1: 0.1}]}": "must hold texts such as",
    "{arms: [1, 2]}": "hydra.sweeper.arms=1: must hold texts such as",
    "{params: {optimizer: {lr: 1}}}": "must be a text such as 0.1,0.2; a key inside it is written optimizer.KEY",
    "{arms: ['dropout1=0.1,0.2 seed=1'], params: {dropout1: 0.3}}": "params.dropout1=0.3: would win over what arms",
    "{arms: ['noise.input_rate=0.1'], params: {noise.input_rate: '0,0.2'}}": "params.noise.input_rate=0,0.2: would",
    "{arms: ['optimizer=adam', 'seed=1'], params: {optimizer: sgd}}": "params.optimizer=sgd: would win over",
}


@pytest.mark.parametrize("text", FILES)
def test_what_a_file_cannot_sweep_is_said(text: str, hydra_loader: Any) -> None:
    with pytest.raises(InputError, match=FILES[text]):
        sweep.expanded(sweeper_of(text, hydra_loader), [])


def sweeper_of(text: str, loader: Any) -> Any:
    given = {"arms": [], "params": {}, "until": None, **OmegaConf.create(text)}
    return SimpleNamespace(**given, hydra_context=SimpleNamespace(config_loader=loader))


def test_a_key_of_the_command_line_wins_over_arms_and_params(hydra_loader: Any) -> None:
    sweeper = sweeper_of("{arms: ['dropout1=0.1 dropout2=0.1'], params: {dropout2: 0.3}}", hydra_loader)
    jobs = sweep.expanded(sweeper, ["dropout2=0.4"])
    assert jobs == [["dropout1=0.1", "dropout2=0.4"]]


BLOCK = {"metric": "test_acc", "contrast": None, "reference": None, "all": False, "margin": 0.2}
FOUR = {"arms": ["dropout1=0.1,0.2", "dropout1=0.3"], "params": {"seed": "0,1", "dropout2": "0.5"}}


@pytest.mark.parametrize(
    ("primary", "typed", "said"),
    [
        (
            {"contrast": [3, 0]},
            [],
            r"contrast=\[3,0\]: must be one, two or four numbers of arms, from 0 to 2",
        ),
        (
            {"reference": 3},
            ["dropout2=0.1"],
            r"reference=3: must be a whole number of at least 0 and at most 2",
        ),
        ({"contrast": [2, 0]}, ["dropout1=0.1"], None),  # trimmed: its report says that arms are missing
        ({"contrast": [3, 0]}, ["dropout1=0.1"], r"from 0 to 2"),
        ({"contrast": [9, 0]}, ['hydra.sweeper.arms=["dropout1=0.1"]'], None),
        ({"contrast": [-1, 0]}, ['hydra.sweeper.arms=["dropout1=0.1"]'], "numbers of arms, from 0 on"),
        ({"contrast": [2, 0]}, ["dropout1=0.1", "hydra.sweeper.primary.contrast=[2,0]"], "from 0 to 0"),
        ({"metric": "tset_acc"}, [], "metric=tset_acc: must be one of test_acc"),
        ({"margin": 0.0}, ["dropout1=0.1"], "margin=0.0: must be a finite number above 0"),
        ({"reference": 0, "all": True}, [], "one of contrast, reference and all is right"),
    ],
)
def test_a_wrong_primary_in_a_file_is_refused(
    primary: dict[str, Any], typed: list[str], said: str | None, hydra_loader: Any
) -> None:
    hydra = [override for override in typed if override.startswith("hydra.")]
    task = [override for override in typed if override not in hydra]
    given = OmegaConf.create({"hydra": {"overrides": {"task": task, "hydra": hydra}}})
    context = SimpleNamespace(config_loader=hydra_loader)
    sweeper = SimpleNamespace(
        **FOUR, until=None, primary=BLOCK | primary, config=given, hydra_context=context
    )
    jobs: Any = [SimpleNamespace(run=make_run())]
    with pytest.raises(InputError, match=said) if said else contextlib.nullcontext():
        sweep._check_primary(sweeper, sweep.expanded(sweeper, task), jobs)


@pytest.mark.slow
def test_a_wrong_primary_is_refused_before_anything_trains(tmp_path: Path) -> None:
    for flag in ("hydra.sweeper.plan=true", "hydra.launcher.n_jobs=1"):
        wrong = ["-m", *SMALL, "seed=0,1", flag, "hydra.sweeper.primary.margin=0"]
        code, out, err = train_apart(tmp_path, *wrong)
        assert (code, out) == (2, "") and err.startswith("error: hydra.sweeper.primary.margin=0.0: must be")
    assert not list(tmp_path.glob("outputs"))


def test_the_folder_that_a_file_names_is_taken() -> None:
    for given, folder in ((naming.UNNAMED, "${output}/sweeps/seed=1,2"), ("/elsewhere", "/elsewhere")):
        hydra = {"sweep": {"dir": given}, "overrides": {"task": ["seed=1,2"], "hydra": []}}
        config = OmegaConf.create({"output": "out", "hydra": hydra})
        naming.name_folder(config)
        assert config.hydra.sweep.dir == folder.replace("${output}", "out")
        plain: Any = OmegaConf.to_container(config, resolve=False)
        assert plain["hydra"]["overrides"]["hydra"] == [f'hydra.sweep.dir="{folder}"']


def test_what_a_file_says_of_hydra_wins_over_our_defaults(hydra_loader: Any, tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    text = (
        "# @package _global_\nhydra: {sweep: {dir: /elsewhere}, job: {name: mine}, launcher: {n_jobs: 1}}\n"
    )
    (tmp_path / "sweep" / "made_up.yaml").write_text(text)
    given = [f"hydra.searchpath=[file://{tmp_path}]", "sweep=made_up"]
    composed = hydra_loader.load_configuration("config", given, RunMode.MULTIRUN).hydra
    assert (composed.sweep.dir, composed.job.name, composed.launcher.n_jobs) == ("/elsewhere", "mine", 1)


@pytest.mark.parametrize(
    "sweeper", [ArmsSweeper(arms=[], params={"dropout2": "0.2"}), OptunaSweeper({"dropout2": "0.2"})]
)
def test_what_refers_to_a_key_in_a_file_is_the_jobs_own(sweeper: Any) -> None:
    block = {"arms": ["dropout2=${dropout1}"], "params": {"dropout2": "${dropout1}"}}
    hydra = {"sweeper": block, "overrides": {"task": [], "hydra": ["a=${dropout1}"]}}
    config = OmegaConf.create({"dropout1": 0.2, "hydra": hydra})
    sweeper.setup(hydra_context=None, task_function=len, config=config)
    assert {"arms": sweeper.arms, "params": sweeper.params} == block
