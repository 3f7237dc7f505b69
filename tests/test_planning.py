"""From overrides to jobs: the product in order, and configs equal to Hydra's own composition."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from configs import make_job
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from src.errors import InputError
from src.sweeping.planning import Planner, _with, configured, expand, resolved, split_arm, swept_keys

PARSER = OverridesParser.create()


def expanded(overrides: list[str], arms: tuple[str, ...] = ()) -> list[list[str]]:
    return expand(PARSER.parse_overrides(overrides), [PARSER.parse_overrides(arm.split()) for arm in arms])


# The product


def test_the_last_key_moves_fastest() -> None:
    assert expanded(["a=1,2", "b=x", "c=range(2)"]) == [
        ["a=1", "b=x", "c=0"],
        ["a=1", "b=x", "c=1"],
        ["a=2", "b=x", "c=0"],
        ["a=2", "b=x", "c=1"],
    ]


def test_nothing_to_sweep_is_one_job() -> None:
    assert expanded([]) == [[]]
    assert expanded(["a=1"]) == [["a=1"]]


def test_arms_move_slowest() -> None:
    assert expanded(["s=0,1"], ("a=1 b=2", "a=2 b=1")) == [
        ["a=1", "b=2", "s=0"],
        ["a=1", "b=2", "s=1"],
        ["a=2", "b=1", "s=0"],
        ["a=2", "b=1", "s=1"],
    ]


def test_a_key_set_outside_wins_over_the_arms_and_equal_arms_are_one() -> None:
    assert expanded(["a=5"], ("a=1 b=2", "a=2 b=1")) == [["b=2", "a=5"], ["b=1", "a=5"]]
    assert expanded(["a=5", "b=0"], ("a=1 b=2", "a=2 b=1")) == [["a=5", "b=0"]]
    assert expanded(["a=5,6"], ("a=1", "a=2")) == [["a=5"], ["a=6"]]


def test_of_two_settings_the_last_wins() -> None:
    assert expanded(["a=1,2", "a=3"]) == [["a=3"]]
    assert expanded(["a=3", "a=1,2"]) == [["a=1"], ["a=2"]]


def test_forms_of_overrides_are_kept() -> None:
    assert expanded(["~a", "+b=1", "++c=[1,2]", "d='x y'"]) == [["~a", "+b=1", "++c=[1,2]", "d='x y'"]]
    assert expanded(["a=choice(1,2)", "b=glob_is_a_word"]) == [
        ["a=1", "b=glob_is_a_word"],
        ["a=2", "b=glob_is_a_word"],
    ]


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("range(0.1,0.31,0.05)", ["0.1", "0.15", "0.2", "0.25", "0.3"]),
        ("range(0.7,0.9,0.1)", ["0.7", "0.8"]),  # Hydra's has 0.9, too
        ("range(0.9,0,-0.2)", ["0.9", "0.7", "0.5", "0.3", "0.1"]),
        ("sort(range(0,0.4,0.1),reverse=true)", ["0.3", "0.2", "0.1", "0.0"]),
        ("range(1e-3,4e-3,1e-3)", ["0.001", "0.002", "0.003"]),
        ("range(0.15000000000000002,0.3,0.1)", ["0.15000000000000002", "0.25000000000000002"]),
        ("float(range(0,2))", ["0.0", "1.0"]),
        ("0.15000000000000002,0.2", ["0.15000000000000002", "0.2"]),
    ],
)
def test_a_range_gives_the_decimals_that_were_typed(typed: str, values: list[str]) -> None:
    expected = [f"a={float(value)}" for value in values]
    assert [job[0] for job in expanded([f"a={typed}"])] == [job[0] for job in expanded([], (f"a={typed}",))]
    assert [job[0] for job in expanded([f"a={typed}"])] == expected
    if "sort" not in typed:
        assert sorted(job[0] for job in expanded([f"a=shuffle({typed})"])) == sorted(expected)


def test_an_interval_is_no_list_of_values() -> None:
    with pytest.raises(InputError, match=r"a=interval\(0, ?1\): must be a list of values"):
        expanded(["a=interval(0,1)"])


VALUES = st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True)


@given(st.dictionaries(st.sampled_from("abcde"), VALUES, max_size=4), st.lists(st.integers(0, 9), max_size=3))
def test_every_combination_once(axes: dict[str, list[int]], arms: list[int]) -> None:
    jobs = expanded(
        [f"{key}={','.join(map(str, values))}" for key, values in axes.items()],
        tuple(f"x={v} y={v}" for v in arms),
    )
    count = max(1, len(set(arms)))
    for values in axes.values():
        count *= len(values)
    assert len(jobs) == len({tuple(overrides) for overrides in jobs}) == count
    assert set(swept_keys(jobs)) == {
        *(key for key, values in axes.items() if len(values) > 1),
        *(("x", "y") if len(set(arms)) > 1 else ()),
    }


def test_swept_keys_are_those_that_differ() -> None:
    jobs = [["a=1", "b=1", "+c=1", "hydra.x=1"], ["a=2", "b=1", "+c=2", "hydra.x=2"]]
    assert swept_keys(jobs) == ["a", "c"]


# Jobs


@pytest.fixture(scope="module")
def master(hydra_loader: Any) -> Any:
    return hydra_loader.load_configuration("config", ["device=cpu"], RunMode.MULTIRUN)


SAME_AS_HYDRA = [
    [],
    ["dropout1=0.3", "seed=7"],
    ["dropout1=0", "epochs=3", "resume=false", "data.root=null", "output='a b'"],
    ["optimizer.lr=1e-3", "optimizer.decay=cosine", "model.hidden1=16"],
    ["model=concise", "model.hidden1=16", "dropout2=0.1"],
    ["dropout2=0.1", "data=digits", "noise=none", "data.validation=10"],
    ["dropout1=${dropout2}", "dropout2=0.7"],
    ["model.hidden2=${model.hidden1}", "model.hidden1=9"],
    ["++dropout1=0.4", "data.root=some/folder"],
    ["seed=1", "seed=2"],
    ["output=${oc.env:HOME}/here"],
]


@pytest.mark.parametrize("overrides", SAME_AS_HYDRA, ids=" ".join)
def test_jobs_are_composed_as_hydra_composes_them(
    hydra_loader: Any, master: Any, overrides: list[str]
) -> None:
    job = Planner(hydra_loader, master).job(overrides, 3)
    composed = hydra_loader.load_sweep_config(master, overrides)
    hydra_part = OmegaConf.to_container(composed, enum_to_str=True)["hydra"]
    composed = OmegaConf.to_container(
        OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"]), resolve=True
    )
    assert job.config == composed
    assert [(key, type(value)) for key, value in job.config.items()] == [
        (k, type(v)) for k, v in composed.items()
    ]
    assert job.hydra["runtime"]["choices"] == hydra_part["runtime"]["choices"]
    assert (job.overrides, job.number) == (overrides, 3)


TEXTS = [
    "0.5",
    "1",
    "1e-3",
    "1_000",
    "-1",
    "nan",
    "inf",
    "null",
    "true",
    "False",
    "'1'",
    '"a b"',
    "word",
    "a/b",
    "''",
]


@pytest.mark.parametrize("text", TEXTS)
def test_plain_values_are_typed_as_hydra_types_them(hydra_loader: Any, master: Any, text: str) -> None:
    composed = hydra_loader.load_sweep_config(master, [f"output={text}"]).output
    values = {"output": "before"}
    override = PARSER.parse_override(f"output={text}")
    changed = _with(values, override.key_or_group, override.value())
    assert changed is not None
    assert repr(changed["output"]) == repr(composed)
    assert values == {"output": "before"}


def test_jobs_of_one_sweep_share_nothing_that_can_be_written_to(hydra_loader: Any, master: Any) -> None:
    planner = Planner(hydra_loader, master)
    first, second = planner.job(["model.hidden1=5"], 0), planner.job(["model.hidden1=6"], 1)
    assert (first.run.model["hidden1"], second.run.model["hidden1"]) == (5, 6)
    assert (first.config["model"]["hidden1"], second.config["model"]["hidden1"]) == (5, 6)
    assert planner.job([], 2).run.model["hidden1"] == 256


def test_jobs_of_one_sweep_share_what_does_not_differ(hydra_loader: Any, master: Any) -> None:
    planner = Planner(hydra_loader, master)
    first, second = planner.job(["model.hidden1=5", "seed=1"], 0), planner.job(["seed=2"], 1)
    assert first.config["optimizer"] is second.config["optimizer"]
    assert first.config["model"] is not second.config["model"]


@pytest.mark.parametrize(
    ("output", "overrides"),
    [
        ("output=${noise.name}", ["noise=none"]),
        ("output='of ${dropout1}'", ["dropout1=0.3"]),
        ("output=runs/${seed}", ["seed=1"]),
    ],
)
def test_an_output_that_differs_between_jobs_is_refused(
    hydra_loader: Any, master: Any, output: str, overrides: list[str]
) -> None:
    planner = Planner(hydra_loader, master)
    planner.job([output], 0)
    with pytest.raises(
        InputError, match=r"^output=.*: takes one value in a sweep, in which a run before has "
    ):
        planner.job([output, *overrides], 1)


@pytest.mark.parametrize(
    ("arm", "parts"),
    [
        ("a=1  b=2,3", ["a=1", "b=2,3"]),
        ("note='ä (b' a=1", ["note='ä (b'", "a=1"]),
        (r"""a="c \" d" b=choice(1, 2)""", ['a="c \\" d"', "b=choice(1, 2)"]),
        ("a=[[0, 1], {x: 1}] b=2", ["a=[[0, 1], {x: 1}]", "b=2"]),
        ("a='b c", ["a='b c"]),
        (" ", []),
    ],
)
def test_an_arm_may_have_spaces_in_quotes_and_brackets(arm: str, parts: list[str]) -> None:
    assert split_arm(arm) == parts


@pytest.mark.parametrize(
    "overrides", [["dropout1=0.3"], ["note='of ${seed}'"], ["schedule=linear", "~dropout9"], ["+seed=5"]]
)
@pytest.mark.parametrize("seed", ["7", "007", "٣", "²", "1_000", "null", "99999999999999999999", "${epochs}"])
def test_a_job_of_a_further_seed_is_as_if_it_were_the_first(
    hydra_loader: Any, master: Any, overrides: list[str], seed: str
) -> None:
    def outcome(planner: Planner) -> Any:
        try:
            job = planner.job([*overrides, f"seed={seed}", "epochs=3"], 4)
        except (InputError, HydraException) as error:
            return str(error)
        return job.run, list(job.config.items()), job.overrides, job.hydra, job.number, job.id

    used = Planner(hydra_loader, master)
    with contextlib.suppress(HydraException):
        used.job([*overrides, "seed=3", "epochs=3"], 0)
    assert outcome(used) == outcome(Planner(hydra_loader, master))


def test_overrides_of_hydras_own_part_are_none_of_the_task(hydra_loader: Any, master: Any) -> None:
    job = Planner(hydra_loader, master).job(["dropout1=0.3", "hydra.launcher.n_jobs=1"], 0)
    assert job.overrides == ["dropout1=0.3"]
    assert job.hydra["launcher"]["n_jobs"] == 1


@pytest.mark.parametrize("override", ["dropout10=0.5", "model.depth=3", "dropout1.x=3", "hydra.nothing=1"])
def test_an_unknown_key_is_refused(hydra_loader: Any, master: Any, override: str) -> None:
    with pytest.raises((HydraException, InputError)) as caught:
        Planner(hydra_loader, master).job([override], 0)
    assert override.partition("=")[0].rpartition(".")[2] in str(caught.value) or "dropout1" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("override", "said"), [("dropout1=2", "dropout1=2: "), ("dropout1=half", "dropout1=half: ")]
)
def test_a_wrong_value_is_named(hydra_loader: Any, master: Any, override: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Planner(hydra_loader, master).job([override], 0)
    assert str(caught.value).startswith(said)


def test_an_unknown_choice_is_refused(hydra_loader: Any, master: Any) -> None:
    with pytest.raises(HydraException, match="Could not find 'model/deep'"):
        Planner(hydra_loader, master).job(["model=deep"], 0)


def test_interpolations_are_resolved_against_the_jobs_own_values() -> None:
    plain = {"a": 1, "b": {"c": "${a}"}}
    assert resolved(plain) == {"a": 1, "b": {"c": 1}}
    untouched = {"a": 1}
    assert resolved(untouched) is untouched


def test_without_noise_runs_of_any_rates_are_the_same_run_and_their_rows_say_0() -> None:
    noise = {"name": "none"}
    jobs = [make_job(noise=noise, dropout1=p) for p in (0.1, 0.4)]
    assert len({job.id for job in jobs}) == 1
    assert [configured(job, "dropout1") for job in jobs] == [0, 0]
