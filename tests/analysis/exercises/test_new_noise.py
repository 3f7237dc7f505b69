"""What is said of new noises follows from the runs; a clone of dropout must not win."""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from tables import macros, made

from analysis import design, measures, noises, page, race, tables
from analysis.exercises import new_noise, word
from src.stats import paired

ARMS = design.read("new_noise").arms
NOISES = ["none", "dropout", "dropout_clone", "tangent", "dropout_same_rates"]
"""Of the arms, by the exercise's names."""
FIRST = "tangent"


def chance(*of: Any) -> float:
    """A standard normal number that depends on nothing else."""
    return float(np.random.default_rng(zlib.crc32(repr(of).encode())).normal())


def facts(
    effects: Mapping[str, float],
    *,
    losses: Mapping[str, float] | None = None,
    seeds: Sequence[int] = range(10, 20),
    among: Sequence[str] = NOISES,
    sd: float = 0.001,
    at_chance: Sequence[tuple[str, int]] = (),
) -> Any:
    """Of these effects on accuracy, and on cross-entropy, over dropout's; a seed's part is common to all.

    Args:
        at_chance: noises and seeds of the runs that end where guessing would.
    """

    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        noise, common = name(of), chance("seed", seed)
        return {
            "test_acc": 0.88 + 0.002 * common + effects.get(noise, 0) + sd * chance(noise, seed),
            "test_loss": 0.35
            - 0.005 * common
            + (losses or {}).get(noise, 0)
            + sd * chance(noise, seed, "loss"),
            "test_ece": 0.03 + sd * chance(noise, seed, "ece"),
            **({"test_acc": 0.1} if (noise, seed) in at_chance else {}),
        }

    keys = dict.fromkeys(key for arm in ARMS for key in arm)
    arms = [{key: arm.get(key) for key in keys} for arm in ARMS if name(arm) in among]
    table = made("new_noise", arms, seeds, metrics)
    return new_noise.analyse({table.sweep: table})


def name(arm: Mapping[str, Any]) -> str:
    """The exercise's: the last arm is dropout once more."""
    (place,) = [place for place, other in enumerate(ARMS) if other.items() <= arm.items()]
    return NOISES[place]


HELPS = {"none": -0.02}
VERDICTS: dict[str, tuple[dict[str, float], float, str]] = {
    "a noise is better": ({**HELPS, FIRST: 0.006}, 0.001, "a noise wins"),
    "it is, though dropout helps not": ({FIRST: 0.006}, 0.001, "a noise wins"),
    "the clone is better": ({**HELPS, FIRST: 0.006, "dropout_clone": 0.006}, 0.001, "untrustworthy"),
    "the clone is worse": ({**HELPS, "dropout_clone": -0.006}, 0.001, "untrustworthy"),
    "dropout is no better than none": ({}, 0.001, "no yardstick"),
    "none is better by the margin": (HELPS, 0.0003, "none better"),
    "too few seeds for that": ({**HELPS, "none": -0.05}, 0.008, "undecided"),
}


@pytest.mark.parametrize(("effects", "sd", "verdict"), VERDICTS.values(), ids=VERDICTS)
def test_verdicts(effects: dict[str, float], sd: float, verdict: str) -> None:
    found = facts(effects, sd=sd)
    assert found.verdict == verdict
    won = verdict == "a noise wins"
    assert [r.contrast.a for r in found.winners] == [FIRST] * won


def test_every_other_arm_is_one_family_against_dropout() -> None:
    found = facts({FIRST: -0.006, **HELPS})
    assert [r.contrast.a for r in found.primary] == [noise for noise in NOISES if noise != "dropout"]
    size = len(NOISES) - 1
    assert {(r.contrast.b, r.family, r.paired.n) for r in found.primary} == {("dropout", size, 10)}
    assert [r.contrast.a for r in found.others if word(r) == "worse"] == [FIRST]
    raw = {
        r.contrast.a: r.paired.p
        for r in found.described
        if r.contrast.b == "dropout" and r.measure is found.first.measure
    }
    for result in found.primary:
        assert result.p == pytest.approx(min(1, size * raw[result.contrast.a]))
        assert result.paired.interval is not None
        assert result.paired.interval.excludes(0) == (result.p < 0.05)


def test_a_noise_must_beat_the_clone_as_well() -> None:
    found = facts({**HELPS, FIRST: 0.006})
    assert found.versus(FIRST, "dropout_clone", found.first.measure).gain > 0
    beaten = facts({**HELPS, FIRST: 0.004, "dropout_clone": 0.004})
    assert beaten.judged(FIRST).side > 0 and not beaten.winners


def answer(found: Any, language: str) -> str:
    return block("answer", found, language)


def block(part: str, found: Any, language: str) -> str:
    template = page.environment(language).get_template("exercises/new_noise.md")
    given = {"f": found, "measures": measures, "m": new_noise, "noises": "noises/report.md"}
    context = template.new_context(given | macros(language))
    return "".join(template.blocks[part](context)).strip()


@pytest.mark.parametrize(("helped", "verdict"), [(HELPS, "undecided"), ({}, "no yardstick")])
def test_without_runs_of_the_clone_no_noise_wins_and_the_answer_says_so(
    helped: dict[str, float], verdict: str
) -> None:
    effects = {**helped, FIRST: 0.006}
    found = facts(effects, among=[noise for noise in NOISES if noise != "dropout_clone"])
    assert word(found.judged(FIRST)) == "better" and found.control is None
    assert (found.winners, found.verdict) == ([], verdict)
    assert "better than dropout and its clone, of which there are no runs; " in answer(found, "en")
    assert "（克隆没有运行）；" in answer(found, "zh")
    whole = facts(effects)
    assert "no runs" not in answer(whole, "en") and [r.contrast.a for r in whole.winners] == [FIRST]


def test_a_lower_cross_entropy_must_be_below_the_clones_too_and_wins_nothing() -> None:
    found = facts(HELPS, losses={FIRST: -0.01})
    assert found.better_in(measures.TEST_LOSS) == [FIRST] and found.better_in(measures.TEST_ECE) == []
    assert not found.winners
    assert facts(HELPS, losses={FIRST: -0.01, "dropout_clone": -0.01}).better_in(measures.TEST_LOSS) == []


def test_what_the_block_does_not_declare_is_judged_at_the_level_of_the_noise() -> None:
    found = facts({**HELPS, FIRST: 0.006})
    level = 0.05 / found.first.family
    for r in found.undeclared:
        plain = paired(*r.samples, alpha=level)
        assert (r.contrast.a, r.paired.interval) == (FIRST, plain.interval)
        assert plain.p is not None and r.p == pytest.approx(min(1, plain.p * 0.05 / level))
        assert r.margin == (found.first.margin if r.measure is measures.TEST_ACC else None)
    rows = [(r.contrast.b, r.measure.column, r.contrast.setting[1:]) for r in found.undeclared]
    assert rows == [
        ("dropout_clone", "test_acc", ()),
        ("dropout_same_rates", "test_acc", ()),
        *((of, column, ()) for column in ("test_loss", "test_ece") for of in ("dropout", "dropout_clone")),
    ]


def test_sound_runs_are_judged_by_themselves_where_some_broke_down() -> None:
    found = facts({**HELPS, FIRST: 0.006}, at_chance=[("dropout", 12)])
    whole = found.judged(FIRST)
    of_sound = [r for r in found.undeclared if r.contrast.setting == ("test", "sound runs")]
    assert [r.contrast.b for r in of_sound] == ["dropout", "dropout_clone"]
    assert (whole.paired.n, [r.paired.n for r in of_sound]) == (10, [9, 10])
    assert whole.paired.difference > 0.05 > of_sound[0].paired.difference


def test_the_committed_clone_is_beaten_at_the_level_of_the_look_and_over_its_seeds() -> None:
    results = tables.NOISES.parent
    found = new_noise.analyse({sweep: tables.load(results, sweep) for sweep in new_noise.SWEEPS})
    look = found.others[0].contrast.look
    assert look is not None and (look.level, len(look.seeds)) == (0.004962, 20)
    clone, *_ = found.undeclared
    assert clone.paired.interval is not None and found.winners and found.helps and found.input_alone
    values = (clone.paired.difference, clone.paired.interval.lower, clone.paired.interval.upper)
    assert [round(100 * value, 2) for value in values] == [0.21, 0.07, 0.34]
    assert clone.paired.n == 20
    splits = found.sensitivity.splits
    # of the race's table, by pandas
    assert splits is not None and splits.paired.n == 6
    assert splits.paired.difference == pytest.approx(0.0014333, abs=1e-7)
    assert splits.paired.sd / 6**0.5 == pytest.approx(0.00053458, abs=5e-9)


def test_a_rate_in_a_hidden_layer_is_not_on_the_input_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert facts(HELPS).input_alone
    setting = new_noise._setting
    monkeypatch.setattr(
        new_noise, "_setting", lambda name: {**setting(name), "dropout2": 0.06 * (name == FIRST)}
    )
    assert not facts(HELPS).input_alone


def test_dropout_at_the_noises_rates_is_a_control_and_cannot_win() -> None:
    found = facts({**HELPS, "dropout_same_rates": 0.006})
    assert word(found.judged("dropout_same_rates")) == "better"
    assert not found.winners and [r.contrast.a for r in found.others] == [FIRST]
    assert found.beyond_rates.gain < 0
    assert facts({**HELPS, FIRST: 0.006}).beyond_rates.gain > 0


def test_a_noise_without_runs_costs_no_other() -> None:
    found = facts(HELPS, among=[noise for noise in NOISES if noise != FIRST])
    assert found.verdict != "a noise wins" and found.beyond_rates is None
    assert FIRST not in {r.contrast.a for r in found.primary}


def test_few_images_are_judged_by_their_own_sweep() -> None:
    arms = design.read("new_noise_5000").arms
    keys = dict.fromkeys(key for arm in arms for key in arm)
    effects = {"none": -0.02, "tangent": 0.006, "random_rate": -0.006}

    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        acc = 0.85 + effects.get(of["noise"], 0) + 0.0005 * chance(of["noise"], seed)
        return {"test_acc": acc, "test_loss": 0.5, "test_ece": 0.05}

    few = made("new_noise_5000", [{key: arm.get(key) for key in keys} for arm in arms], range(10), metrics)
    all_images = made("new_noise", [{key: arm.get(key) for key in keys} for arm in ARMS], range(10), metrics)
    found = new_noise.analyse({table.sweep: table for table in (few, all_images)})
    words = {r.contrast.a: word(r) for r in found.others_on_few}
    assert words == {"tangent": "better", "balanced": "equivalent", "random_rate": "worse"}
    assert found.images == 5000


@pytest.mark.parametrize(
    ("nearest", "any_other", "against"),
    [(0.004, 0.0, False), (0.004, 0.004, True), (0.0, 0.004, True), (0.0, 0.0, True)],
)
def test_any_other_image_that_serves_as_well_contradicts_the_reasoning(
    nearest: float, any_other: float, against: bool
) -> None:
    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        gains = {"nearest": nearest, "any": any_other}
        partner = of.get("noise.partner")
        acc = 0.85 + gains.get(str(partner), 0) + 0.0001 * chance(of["noise"], partner, seed)
        return {"test_acc": acc, "test_loss": 0.5, "test_ece": 0.05}

    found = found_with("new_noise_partner", metrics)
    assert {r.contrast.a for r in found.partners} == {"tangent", "dropout"}
    assert {r.contrast.b for r in found.partners} == {"tangent_any"}
    assert found.contradicted == against
    assert not facts(HELPS).contradicted and facts(HELPS).partner is None


def test_the_smallest_training_set_is_judged_by_its_own_sweep() -> None:
    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        acc = 0.8 + 0.01 * (of["noise"] == "tangent") + 0.0005 * chance(of["noise"], seed)
        return {"test_acc": acc, "test_loss": 0.5, "test_ece": 0.05}

    (result,) = found_with("new_noise_1000", metrics).fewest
    assert (result.contrast.a, result.contrast.b, word(result)) == ("tangent", "dropout", "better")


@pytest.mark.parametrize(
    ("gain", "verdict", "only"), [(0.01, "better", False), (-0.01, "worse", True), (0.0, "equivalent", True)]
)
def test_equal_time_is_judged_by_its_own_sweep(gain: float, verdict: str, only: bool) -> None:
    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        is_ours = of["noise"] == "tangent" and "epochs" in of
        acc = 0.9 + gain * is_ours + 0.0005 * chance(of["noise"], seed)
        loss = 0.3 - 0.01 * is_ours + 0.0005 * chance(of["noise"], seed, "loss")
        return {"test_acc": acc, "test_loss": loss, "test_ece": 0.03 + 0.002 * is_ours}

    found = found_with("new_noise_time", metrics)
    (result,) = found.timed.judged
    assert (result.contrast.a, result.contrast.b, word(result)) == ("tangent", "dropout", verdict)
    assert (found.timed.epochs, found.only_by_steps) == ({"dropout": 45, "tangent": 23}, only)
    loss, ece = found.timed.beside
    assert (loss.gain, ece.gain, loss.margin) == (1, -1, None)
    assert loss.paired.interval == paired(*loss.samples, alpha=result.level).interval
    for language, words in (("en", "cross-entropy is lower."), ("zh", "它的交叉熵更低。")):
        assert words in block("sure", found, language)


CONTEST = ["dropout_clone", "tangent", "tangent_in_time", "dropout_masks", "dropout_masks_in_time"]
"""The arms of the second contest, but for dropout and the last one, by the exercise's names."""


@pytest.mark.parametrize(
    ("in_time", "words"), [(-0.01, "and worse in as much time"), (0.0, "but not in as much time")]
)
def test_the_contest_once_more_is_judged_by_its_own_sweep(in_time: float, words: str) -> None:
    """Where tangent noise takes as long as dropout on two machines, it is called worse only if it is so on both."""

    def effect(of: Mapping[str, Any]) -> float:
        if of["noise"] == "dropout_masks":
            return 0.004 if of["epochs"] == 45 else -0.01
        return {45: 0.006, 32: in_time, 23: -0.01}.get(of.get("epochs", 45), 0) * (of["noise"] == "tangent")

    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        noise = [of["noise"], of.get("schedule"), of.get("optimizer.max_norm"), of.get("epochs")]
        acc = 0.9 + effect(of) - 0.01 * (of["noise"] == "none") + 0.0003 * chance(*noise, seed)
        return {"test_acc": acc, "test_loss": 0.3, "test_ece": 0.03}

    found = found_with("new_noise_again", metrics, "new_noise_time")
    assert [r.contrast.a for r in found.again.judged] == [*CONTEST, "dropout_masks_setting"]
    assert {(r.contrast.b, r.family, r.paired.n) for r in found.again.judged} == {("dropout", 6, 10)}
    verdicts = {r.contrast.a: word(r) for r in found.again.judged}
    assert verdicts["dropout_masks"] == verdicts["tangent"] == "better"
    assert verdicts["dropout_masks_in_time"] == "worse" and verdicts["dropout_masks_setting"] == "equivalent"
    assert (found.again.epochs["tangent_in_time"], found.again.epochs["dropout_masks_in_time"]) == (32, 12)
    # accuracy is judged against dropout, and shown against the other controls; all else against all of them
    beside = {(r.contrast.a, r.contrast.b, r.measure) for r in found.again.beside}
    wanted = set()
    for noise in [*CONTEST[1:], "dropout_masks_setting"]:
        others = ["dropout_clone", *["dropout_masks_setting"] * noise.startswith("dropout_masks")]
        wanted |= {(noise, of, measures.TEST_ACC) for of in others if of != noise}
        further = itertools.product([*others, "dropout"], (measures.TEST_LOSS, measures.TEST_ECE))
        wanted |= {(noise, of, measure) for of, measure in further if of != noise}
    assert beside == wanted and len(found.again.beside) == len(wanted) == 31
    level = found.again.of("tangent").level
    for r in found.again.beside:
        assert r.paired.interval == paired(*r.samples, alpha=level).interval
    assert words in answer(found, "en")
    chinese = "用时相同时更差" if in_time < 0 else "用时相同时并不优于它"
    assert chinese in answer(found, "zh")
    for language in ("en", "zh"):
        assert ("32" in block("sure", found, language)) and "+0.40" in block("seen", found, language)
    assert "several masks is better (+0.40 pp), and worse in as much time." in block("seen", found, "en")
    alone = found_with("new_noise_again", metrics)
    assert "Trained as long as dropout, by one machine's times (32 epochs; fresh" in block(
        "sure", alone, "en"
    )
    assert "训练用时与暂退法相同时，按一台机器的用时（32 轮" in block("sure", alone, "zh")
    assert "By a newer machine's times (32 epochs" in block("sure", found, "en")
    assert "多个掩码的平均损失更好（+0.40 个百分点）；用时相同时更差。" in block("seen", found, "zh")


@pytest.mark.parametrize(
    ("gain", "in_time", "sd", "words", "chinese"),
    [
        (0.0, 0.0, 0.0003, "is equivalent (± pp), and equivalent in", "等效（± 个百分点）；用时相同时等效"),
        (-0.01, 0.01, 0.0003, "is worse (± pp), and better in", "更差（± 个百分点）；用时相同时更好"),
        (
            0.0021,
            0.0,
            0.0012,
            "is better (± pp) in less than half of the analyses, and",
            "更好（± 个百分点），少数分析如此；",
        ),
    ],
)
def test_of_the_mean_loss_each_verdict_is_its_own(
    gain: float, in_time: float, sd: float, words: str, chinese: str
) -> None:
    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        noise = [of["noise"], of.get("schedule"), of.get("optimizer.max_norm"), of.get("epochs")]
        masks = {45: gain, 12: in_time}.get(of.get("epochs", 0), 0) * (of["noise"] == "dropout_masks")
        acc = 0.9 + masks - 0.01 * (of["noise"] == "none") + sd * chance(*noise, seed)
        return {"test_acc": acc, "test_loss": 0.3, "test_ece": 0.03}

    found = found_with("new_noise_again", metrics)
    holds = found.again.sensitivities["dropout_masks"]
    assert bool(holds.other) == ("half of" in words)
    shown = {language: block("seen", found, language) for language in ("en", "zh")}
    diff = found.again.of("dropout_masks").paired.difference
    diff = measures.TEST_ACC.shown(diff, signed=True)
    assert words.replace("±", diff) in shown["en"] and chinese.replace("±", diff) in shown["zh"]


def test_a_later_contest_of_a_single_seed_says_that_nothing_was_tested() -> None:
    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        return {"test_acc": 0.9 + 0.001 * chance(*of.values(), seed), "test_loss": 0.3, "test_ece": 0.03}

    whole, again = found_with("new_noise_again", metrics), design.read("new_noise_again").arms
    keys = dict.fromkeys(key for arm in again for key in arm)
    for arms in (again, [arm for arm in again if arm["noise"] != "dropout_masks"]):
        table = made(
            "new_noise_again", [{key: arm.get(key) for key in keys} for arm in arms], [4000], metrics
        )
        found = dataclasses.replace(
            whole, again=new_noise._further({"new_noise_again": table}, new_noise.AGAIN, {})
        )
        for language, words in (("en", "tangent noise: nothing was tested"), ("zh", "切向噪声：没有检验")):
            assert words in block("tables", found, language)
            assert "n/a" not in block("seen", found, language)
        has_masks = "of the mean loss, by the times" in block("tables", found, "en")
        assert has_masks == ("several masks" in block("seen", found, "en")) == (arms is again)


def test_the_second_contest_has_the_winner_of_the_committed_race() -> None:
    table = race.read_table(noises.RESULTS / "new_noise_masks.csv")
    keys = list(table.columns[: list(table.columns).index("seed")])
    (best,) = race.best(table, keys, len(table), least=1)
    arms, shared = new_noise._named("new_noise_again"), design.read("new_noise_again").fixed

    def setting(arm: Mapping[str, Any]) -> dict[str, Any]:
        return without_idle({**shared, **arm, "epochs": None, "noise": None, "optimizer.momentum": None})

    wanted = without_idle({**values(best), "noise": None})
    for name in ("dropout_masks", "dropout_masks_in_time", "dropout_masks_setting"):
        found = setting(arms[name])
        assert {key: found[key] for key in wanted} == wanted
    main = {
        name: without_idle({**design.read("new_noise").fixed, **arm})
        for name, arm in zip(NOISES, ARMS, strict=True)
    }
    for name in ("dropout", "dropout_clone", "tangent"):
        again = without_idle({**shared, **arms[name]})
        assert again == main[name], name
    assert not {*range(4000, 4060)} & {seed for _, seed in design.read("new_noise").runs}


def test_at_a_higher_lr_none_of_the_three_is_better_on_the_splits_that_chose_it() -> None:
    table = race.read_table(noises.RESULTS / "new_noise_lr.csv")
    means = 100 * table.pivot_table(index="seed", columns=["noise", "optimizer.lr"], values="val_acc")
    for noise, lower in (("dropout", 0.08), ("tangent", 0.10), ("dropout_masks", 0.04)):
        differences = (means[noise][0.2] - means[noise][0.14]).dropna()
        assert len(differences) == 6 and differences.mean() == pytest.approx(-lower, abs=0.005)
        assert means[noise][0.28].count() == 1 and means[noise][0.28][0] < means[noise][0.14][0]
    chosen = {arm["noise"]: arm for arm in design.read("new_noise_again").arms if arm["epochs"] == 45}
    chosen |= {arm["noise"]: arm for arm in design.read("new_noise").arms if arm["noise"] == "tangent"}
    chosen["dropout"] = design.read("new_noise_again").arms[0]
    checked = design.read("new_noise_lr")
    assert len(checked.settings) == 9
    for of in checked.settings:
        if of["optimizer.lr"] == 0.14:
            wanted = without_idle({**chosen[of["noise"]], "epochs": None, "optimizer.momentum": None})
            assert {key: of.get(key) for key in wanted if wanted[key] is not None} == {
                key: value for key, value in wanted.items() if value is not None
            }


def test_the_committed_second_contest() -> None:
    """Differences by pandas."""
    results = tables.NOISES.parent
    read = {sweep: tables.load(results, sweep) for sweep in (*new_noise.SWEEPS, *new_noise.BESIDE)}
    found = new_noise.analyse(read)
    last = pd.read_csv(results / "new_noise_again.csv.gz").sort_values("epoch").groupby("id").tail(1)
    arms = {
        key: of.set_index("seed")["test_acc"] for key, of in last.groupby(["noise", "epochs", "schedule"])
    }
    dropout = arms["dropout", 45, "linear"]
    for name, key, verdict in (
        ("dropout_clone", ("dropout_clone", 45, "linear"), "equivalent"),
        ("tangent", ("tangent", 45, "linear"), "better"),
        ("tangent_in_time", ("tangent", 32, "linear"), "equivalent"),
        ("dropout_masks", ("dropout_masks", 45, "curriculum"), "better"),
        ("dropout_masks_in_time", ("dropout_masks", 12, "curriculum"), "worse"),
        ("dropout_masks_setting", ("dropout", 45, "curriculum"), "equivalent"),
    ):
        result = found.again.of(name)
        assert result.paired.n == 20 and word(result) == verdict
        assert result.paired.difference == pytest.approx((arms[key] - dropout).mean(), abs=1e-12)
    shown = {(r.contrast.a, r.contrast.b, r.measure): r for r in found.again.beside}
    for noise in ("tangent", "dropout_masks"):
        assert shown[noise, "dropout_clone", measures.TEST_ACC].gain > 0, "both are above the clone, too"
    losses = {
        key: of.set_index("seed")["test_loss"] for key, of in last.groupby(["noise", "epochs", "schedule"])
    }
    gained = losses["dropout_masks", 45, "curriculum"] - losses["dropout", 45, "curriculum"]
    of_setting = shown["dropout_masks", "dropout_masks_setting", measures.TEST_LOSS]
    assert of_setting.paired.difference == pytest.approx(gained.mean(), abs=1e-12) and of_setting.gain == 0


def test_where_no_noise_has_the_lower_cross_entropy_dropout_is_no_yardstick_in_it() -> None:
    for none, is_yardstick in ((0.01, True), (-0.005, False)):
        found = facts(HELPS, losses={FIRST: -0.01, "none": none})
        for language, words in (
            ("en", ", so not by that"),
            ("zh", "所以不能按交叉熵排名"),
        ):
            assert (words in block("seen", found, language)) != is_yardstick


def found_with(sweep: str, metrics: Any, *more: str) -> Any:
    """The exercise's facts of these sweeps beside the main one, of ten seeds."""
    read = {}
    for name in (sweep, *more, "new_noise"):
        arms = design.read(name).arms
        keys = dict.fromkeys(key for arm in arms for key in arm)
        read[name] = made(name, [{key: arm.get(key) for key in keys} for arm in arms], range(10), metrics)
    return new_noise.analyse(read)


def test_the_arms_are_winners_of_the_committed_race() -> None:
    table = pd.read_csv(noises.RESULTS / "new_noise_race.csv")
    keys = list(table.columns[: list(table.columns).index("seed")])
    best = [without_idle(values(arm)) for arm in race.best(table, keys, len(table), least=1)]
    of_noise = {str(arm["noise"]): arm for arm in best}
    chosen = dict(zip(NOISES, map(without_idle, ARMS), strict=True))
    assert [chosen[noise] for noise in of_noise] == list(of_noise.values())
    assert set(of_noise) == {"none", "dropout", "tangent"}
    assert chosen["dropout_clone"] == {**chosen["dropout"], "noise": "dropout_clone"}
    rest = {key: value for key, value in chosen["tangent"].items() if key != "noise.stretch"}
    assert chosen["dropout_same_rates"] == {**rest, "noise": "dropout"}


def without_idle(arm: Mapping[str, Any]) -> dict[str, Any]:
    """Of a setting what is on."""
    return {key: value for key, value in arm.items() if value and value != "constant"}


def values(arm: str) -> dict[str, Any]:
    """The setting of an arm, as its overrides say it."""
    return {
        key: OmegaConf.create(f"x: {value}").x for key, value in (part.split("=") for part in arm.split())
    }
