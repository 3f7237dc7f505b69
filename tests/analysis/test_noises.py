"""The page of the comparison of noises: from the committed tables, and from made-up ones with all that may come."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browser import show

from analysis import equal_time, exercises, families, noises, page, race, races, records, winners
from analysis.equal_time import RATIOS
from analysis.exercises import new_noise
from analysis.race import FRESH, STEPS, TIME
from src import components
from src.errors import InputError

CARD = "cuda (a card)"
SEEDS = range(4)


def run(noise: str, acc: float, seed: int, **more: Any) -> dict[str, Any]:
    """A row of a race's table; `more` are its setting and what differs."""
    rates = {"dropout1": 0.1, "dropout2": 0.3, "noise.input_rate": 0.0}
    told = {"seed": seed, "epochs": 45, "id": f"{noise}{seed}", "state": "finished", "seconds": 1.0}
    values = {"train_acc": 0.9, "test_acc": 0.85, "test_ece": 0.05, "val_loss": 1 - acc, "budget": STEPS}
    values |= {"val_acc": acc + seed / 999, "device": "CPU"}
    return {"noise": noise, **rates, **told, **values, **more}


def table(folder: Path, part: str, *arms: Mapping[str, Any], seeds: range = SEEDS) -> None:
    rows = pd.DataFrame([run(seed=seed, **arm) for arm in arms for seed in seeds])
    keys = sorted(column for column in rows if column.startswith(("noise.", "dropout", "optimizer.")))
    rows[["noise", *keys, *(column for column in rows if column not in {"noise", *keys})]].to_csv(
        folder / f"{part}.csv", index=False
    )


BASIC = (
    {"noise": "none", "acc": 0.84, "noise.input_rate": None},
    {"noise": "dropout", "acc": 0.86},
    {"noise": "dropout", "acc": 0.85, "dropout1": 0.2},
    {"noise": "gaussian", "acc": 0.87},
)


def content(folder: Path) -> dict[str, Any]:
    return noises.content(folder, folder)


def test_the_best_setting_of_all_parts_and_the_edges_of_what_was_tried(tmp_path: Path) -> None:
    table(tmp_path, "noises_basic", *BASIC)
    table(
        tmp_path,
        "noises_lighter",
        {"noise": "dropout", "acc": 0.88, "dropout1": 0.05},
        {"noise": "dropout", "acc": 0.86},  # tried in the other part, too
    )
    dropout, gaussian, none = winners.winners(winners.table_of(tmp_path))
    assert (dropout.words, dropout.arms) == ("dropout1=0.05↓ dropout2=0.3 noise.input_rate=0", 3)
    assert (gaussian.edges, gaussian.arms, none.words) == ({}, 1, "")
    assert [w.noise for w in winners.winners(winners.table_of(tmp_path))] == ["dropout", "gaussian", "none"]
    found = content(tmp_path)
    (result,) = (r for r in found["results"][noises.SHOWN[0]] if r.contrast.a == "gaussian")
    assert (result.paired.n, result.paired.difference) == (4, pytest.approx(-0.01))
    assert "noises_masks" in found["missing"] and "noises_basic" not in found["missing"]
    assert "dropout_masks" in found["not_raced"] and "gaussian" not in found["not_raced"]


def test_dropout_tuned_in_whole_stands_beside_the_ranking(tmp_path: Path) -> None:
    table(
        tmp_path, "noises_basic", *({**arm, "budget": budget} for arm in BASIC for budget in (STEPS, FRESH))
    )
    assert content(tmp_path)["tuned"] is None
    arms = [
        {"noise": "dropout", "acc": 0.865, "optimizer.lr": 0.1},
        {"noise": "dropout", "acc": 0.80, "optimizer.lr": 0.2},
        {"noise": "none", "acc": 0.85, "optimizer.lr": 0.1},
    ]
    table(tmp_path, races.TUNED, *({**arm, "budget": budget} for arm in arms for budget in (STEPS, FRESH)))
    found = content(tmp_path)
    (gain,), (to_none,), (gaussian,) = (found["tuned"][key] for key in ("gain", "to_none", "to_others"))
    assert (gain.paired.n, gain.paired.difference) == (4, pytest.approx(0.005))
    assert to_none.paired.difference == pytest.approx(-0.015)
    assert (gaussian.contrast.a, gaussian.paired.difference) == ("gaussian", pytest.approx(0.005))
    assert found["tuned"]["clone"] == []
    assert found["dropout"].arms == 2, "its settings do not race with the others"
    assert [part["runs"] for part in found["parts"]] == [4 * 2 * 4, 3 * 2 * 4]
    noises.write(tmp_path, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "dropout minus dropout of the ranking is +0.50 (" in text
    assert "the best of 1 setting, optimizer.lr=0.1, is −1.50 (" in text
    assert "n = 4" in text and "Its clone" not in text
    guard = {"noise": "dropout_clone", "acc": 0.862, "optimizer.lr": 0.1, "budget": FRESH}
    table(
        tmp_path,
        races.TUNED,
        *({**arm, "budget": budget} for arm in arms for budget in (STEPS, FRESH)),
        guard,
    )
    (clone,), (to_clone, *_) = (content(tmp_path)["tuned"][key] for key in ("clone", "to_clone"))
    assert clone.paired.difference == pytest.approx(-0.003)
    assert (to_clone.contrast.a, to_clone.paired.difference) == ("gaussian", pytest.approx(0.008))
    noises.write(tmp_path, tmp_path)
    text, chinese = ((tmp_path / page.name(page.TEXT, language)).read_text() for language in ("en", "zh"))
    equal = "(all equal)"
    assert (
        f"under other masks, is −0.30 (−0.30 to −0.30 {equal}) pp from it, n = 4; Gaussian dropout is +0.80"
        in text
    )
    assert "减它为 −0.30" in chinese and "减这个克隆为 +0.80" in chinese
    # fresh seeds had no part in the choice: without them nothing is said
    table(tmp_path, races.TUNED, *({**arm, "budget": STEPS} for arm in arms))
    assert content(tmp_path)["tuned"] is None
    table(tmp_path, races.TUNED, {**arms[2], "budget": FRESH})
    assert content(tmp_path)["tuned"] is None
    alone = {**arms[0], "budget": FRESH}
    table(tmp_path, races.TUNED, {**arms[0], "budget": STEPS}, alone, seeds=range(1))
    assert content(tmp_path)["tuned"] is None, "one seed says nothing"
    table(
        tmp_path,
        races.TUNED,
        arms[0],
        alone,
        {**arms[2], "noise": "gaussian"},
        {**alone, "noise": "gaussian"},
    )
    assert content(tmp_path)["tuned"]["to_none"] == []
    table(tmp_path, races.TUNED, {**arms[0], "epochs": 10})
    with pytest.raises(InputError, match=r"tuned_dropout.csv: .* epochs=10: 45 are right"):
        content(tmp_path)
    table(tmp_path, races.TUNED, {"noise": "dropout", "acc": 0.1, "train_acc": 0.1, "test_acc": 0.1})
    assert content(tmp_path)["broken"] == [("dropout", 0, 4, 20)]
    lost = {"state": "diverged", "val_acc": None, "train_acc": None, "test_acc": None}
    table(
        tmp_path,
        races.TUNED,
        *({**arm, "budget": of} for arm in arms for of in (STEPS, FRESH)),
        {**guard, **lost},
    )
    assert content(tmp_path)["broken"] == [("dropout_clone", 4, 0, 4)], "which is no winner of a race"
    table(
        tmp_path,
        races.TUNED,
        *({**arm, "budget": of} for arm in arms for of in (STEPS, FRESH)),
        {**guard, "device": CARD},
    )
    assert content(tmp_path)["tuned"]["elsewhere"]


def test_noises_tuned_at_equal_time_stand_beside_those_that_were_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = [{**arm, "budget": budget} for arm in BASIC for budget in (STEPS, FRESH)]
    again = {"noise": "jumpout", "acc": 0.850, "budget": TIME, "epochs": 30}
    jumpout = [{**again, "budget": budget, "acc": 0.856, "epochs": 45} for budget in (STEPS, FRESH)]
    table(tmp_path, "noises_basic", *fresh, *jumpout, again)
    (tmp_path / RATIOS).write_text("noise,ratio\nnone,1\ndropout,1.2\njumpout,1.8\nbalanced,2.4\n")
    assert content(tmp_path)["retuned"] == []
    raced = {"noise": "jumpout", "acc": 0.857, "epochs": 30, "dropout1": 0.05}
    other = {**raced, "acc": 0.80, "dropout1": 0.2}
    table(tmp_path, "equal_time_jumpout", raced, other, {**raced, "budget": FRESH})
    balanced = {"noise": "balanced", "acc": 0.864, "epochs": 20}
    table(tmp_path, "equal_time_balanced", balanced)
    with pytest.raises(InputError, match=r"equal_time_balanced.csv: .* budget=steps epochs=20: 22 epochs"):
        content(tmp_path)
    epochs = 22  # half of 45
    table(
        tmp_path,
        "equal_time_balanced",
        *({**balanced, "epochs": epochs, "budget": of} for of in (STEPS, FRESH)),
    )
    found = content(tmp_path)
    (first, gain), (second, loss) = found["retuned"]
    assert (first.noise, gain.paired.difference) == ("balanced", pytest.approx(0.004))
    assert (second.noise, second.arms, loss.paired.difference) == ("jumpout", 2, pytest.approx(-0.003))
    assert found["runs"] == 4 * (8 + 3 + 3 + 2)
    noises.write(tmp_path, tmp_path)
    text, chinese = ((tmp_path / page.name(page.TEXT, language)).read_text() for language in ("en", "zh"))
    assert (
        "The settings of 2 noises raced anew" in text and "Not so tuned: Gaussian dropout. The mean" in text
    )
    assert "of the 2 [tuned anew](#equal_time) for that time, 1." in text
    assert "dropout's 45, all on 4 seeds; the best then" in text
    # jumpout's other setting gains 0.7 points in that time; balanced masks trained at equal time here alone
    assert found["moved"] == [pytest.approx(0.007)]
    assert "the mean is higher for 1, lower for none and the same for none: +0.70 pp on average" in text
    assert "提高的有 1 种，降低的一种也没有，不变的一种也没有，平均相差 +0.70 个百分点" in chinese
    assert "The mean is higher than dropout's for 1; the interval" in text
    assert "| jumpout | 30 | dropout1=0.05↓ dropout2=0.3 noise.input_rate=0 | 2 | −0.30 (" in text
    assert "2 种噪声的设置重新竞赛" in chinese and "平均精度高于暂退法的有 1 种" in chinese
    assert not found["several_devices"]
    on_card = [{**balanced, "epochs": epochs, "budget": of, "device": CARD} for of in (STEPS, FRESH)]
    table(tmp_path, "equal_time_balanced", *on_card)
    found = content(tmp_path)
    assert found["elsewhere"] == {"balanced": ["tuned at equal time"]} and found["mixed"] == {}
    # of one arm some runs here, some there
    fresh = on_card[1]
    table(tmp_path, "equal_time_balanced", fresh, {**fresh, "budget": STEPS, "device": "CPU"})
    rows = pd.read_csv(tmp_path / "equal_time_balanced.csv")
    rows.loc[(rows["budget"] == STEPS) & (rows["seed"] > 1), "device"] = CARD
    rows.to_csv(tmp_path / "equal_time_balanced.csv", index=False)
    assert content(tmp_path)["mixed"] == {"balanced": ["tuned at equal time"]}
    noises.write(tmp_path, tmp_path)
    text, chinese = ((tmp_path / page.name(page.TEXT, language)).read_text() for language in ("en", "zh"))
    assert "**From several kinds in one arm: balanced masks (tuned at equal time).**" in text
    assert "**一个设置的运行来自几种机器的有：均衡掩码（在同样时间下调参）。**" in chinese
    assert capsys.readouterr().err == ""
    (tmp_path / RATIOS).write_text("noise,ratio\nnone,1\ndropout,1.2\njumpout,1.8\n")
    found = content(tmp_path)
    assert [winner.noise for winner, _ in found["retuned"]] == ["jumpout"], "whose time is known"
    assert found["unused"] == ["equal_time_balanced"]
    noises.write(tmp_path, tmp_path)
    why = f"by sweeps/noises_*.yaml and {tmp_path / RATIOS} there is no such race"
    assert capsys.readouterr().err == f"{tmp_path / 'equal_time_balanced.csv'} is not used: {why}\n"
    (tmp_path / "equal_time_nope.csv").write_text("")
    assert content(tmp_path)["unused"] == ["equal_time_balanced", "equal_time_nope"]
    (tmp_path / "equal_time_nope.csv").unlink()
    # the setting of equal steps once more: nothing moves
    kept = (tmp_path / "equal_time_jumpout.csv").read_bytes()
    same = {key: of for key, of in again.items() if key != "budget"}
    table(tmp_path, "equal_time_jumpout", {**same, "budget": STEPS}, {**same, "budget": FRESH})
    assert content(tmp_path)["moved"] == [0.0]
    (tmp_path / "equal_time_jumpout.csv").write_bytes(kept)
    assert found["not_retuned"] == ["gaussian"]
    (tmp_path / "equal_time_jumpout.csv").rename(tmp_path / "kept")
    assert content(tmp_path)["not_retuned"] == ["gaussian", "jumpout"]
    (tmp_path / "kept").rename(tmp_path / "equal_time_jumpout.csv")
    # without fresh seeds it is the race's own number, which flatters
    table(tmp_path, "equal_time_jumpout", raced, other)
    assert content(tmp_path)["retuned"] == []


def test_a_lost_run_and_a_part_that_raced_anew_make_no_rungs_of_their_own(tmp_path: Path) -> None:
    def rungs(**seeds: int) -> list[tuple[int, int]]:
        rows = [
            (noise, f"{noise}{arm}", seed)
            for noise in "abc"
            for arm in range(4)
            for seed in range(seeds.get(f"{noise}{arm}", 4))
        ]
        return noises._rungs(pd.DataFrame(rows, columns=["noise", "arm", "seed"]))

    finalists = {f"{noise}0": 8 for noise in "abc"}
    assert rungs(**finalists) == [(4, 4), (8, 1)]
    assert rungs(**finalists, a1=3) == [(4, 4), (8, 1)]
    assert rungs(**finalists, a2=1, a3=1) == [(4, 4), (8, 1)]
    assert rungs(**finalists, **{f"{noise}{arm}": 1 for noise in "abc" for arm in (2, 3)}) == [
        (1, 4),
        (4, 2),
        (8, 1),
    ]


@pytest.mark.parametrize(("noise", "pixels"), [("neighbours", 0.1), ("tangent", 0.0), ("dropblock", 0.1)])
def test_the_control_of_augmentation_is_dropout_at_its_rates(
    tmp_path: Path, noise: str, pixels: float
) -> None:
    table(tmp_path, "noises_basic", *BASIC, {"noise": "dropout", "acc": 0.83, "noise.input_rate": 0.1})
    own = {"noise.pixel_rate": pixels} if noise == "neighbours" else {}
    rate = 0.2 if noise == "neighbours" else pixels
    table(tmp_path, "noises_pixels", {"noise": noise, "acc": 0.88, "noise.input_rate": rate, **own})
    (result,) = content(tmp_path)["control"]
    assert result.paired.difference == pytest.approx(0.05 if pixels == 0.1 else 0.02)
    table(tmp_path, "noises_pixels", {"noise": noise, "acc": 0.88, "dropout2": 0.45, **own})
    assert content(tmp_path)["control"] == []


@pytest.mark.parametrize(("rate", "n", "difference"), [(0.1, 6, 0.03), (0.0, 4, 0.04)])
def test_a_control_with_fresh_seeds_is_compared_on_them(
    tmp_path: Path, rate: float, n: int, difference: float
) -> None:
    """Dropout at input rate 0.1 has fresh seeds, though it did not win; at 0 its race's seeds alone."""
    dropouts = {0.0: 0.84, 0.1: 0.85, 0.3: 0.86}
    raced = [{"noise": "dropout", "acc": acc, "noise.input_rate": of} for of, acc in dropouts.items()]
    tangent = {"noise": "tangent", "acc": 0.88, "noise.input_rate": rate}
    fresh = [{**arm, "budget": FRESH} for arm in (*raced[1:], tangent)]
    table(tmp_path, "noises_basic", *raced, tangent)
    table(tmp_path, "noises_pixels", *fresh, seeds=range(100, 106))
    (result,) = content(tmp_path)["control"]
    assert (result.paired.n, result.paired.difference) == (n, pytest.approx(difference))


def test_augmentation_stands_behind_all_that_are_ranked(tmp_path: Path) -> None:
    table(tmp_path, "noises_basic", *BASIC)
    table(
        tmp_path,
        "noises_pixels",
        {"noise": "tangent", "acc": 0.89, "noise.input_rate": 0.2},
        {"noise": "neighbours", "acc": 0.83, "noise.pixel_rate": 0.1},
    )
    assert [winner.noise for winner in content(tmp_path)["raced"]] == [
        *("gaussian", "dropout", "none"),
        *("tangent", "neighbours"),
    ]
    noises.write(tmp_path, tmp_path)
    for language, words in (
        ("en", "1 of the 1 that use no knowledge of images"),
        ("zh", "不利用图像知识的 1 种之中"),
    ):
        text = (tmp_path / page.name(page.TEXT, language)).read_text()
        ranking, apart = text.split('<a id="apart"></a>')
        name = page.phrases(language).arm("tangent")
        assert words in ranking and f"| {name} |" not in ranking and f"| {name} |" in apart
        assert "| dropout1=0.1 dropout2=0.3 noise.input_rate=0.1 |" in apart  # the control of neighbours


def test_machines_are_told_apart_and_runs_that_went_wrong_are_counted(tmp_path: Path) -> None:
    table(tmp_path, "noises_basic", *BASIC)
    lost = {"state": "diverged", "val_acc": None, "train_acc": None, "test_acc": None}
    table(
        tmp_path,
        "noises_masks",
        {"noise": "dropout_masks", "acc": 0.87, "device": CARD},
        {"noise": "dropout_masks", "acc": 0.9, "dropout1": 0.2, "device": CARD, **lost},
        {"noise": "dropout_importance", "acc": 0.8, "test_acc": 0.1, "device": CARD},
    )
    found = content(tmp_path)
    by_noise = {winner.noise: winner for winner in found["raced"]}
    assert found["devices"] == ["CPU", CARD] and by_noise["dropout"].devices == (("CPU",), ("CPU",), ())
    masks = by_noise["dropout_masks"]
    assert (masks.setting["dropout1"], masks.devices) == (0.1, ((CARD,), (CARD,), ()))
    assert found["broken"] == [("dropout_masks", 4, 0, 8), ("dropout_importance", 0, 4, 4)]
    rows = pd.read_csv(tmp_path / "noises_masks.csv")
    rows.assign(device=rows["device"].where(rows["seed"] > 0, "CPU")).to_csv(
        tmp_path / "noises_masks.csv", index=False
    )
    noises.write(tmp_path, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| CPU and cuda |" in text and "from dropout on" not in text
    assert f"| all | | 19 | 19.0 s | CPU |\n| all | | 9 | 9.0 s | {CARD} |\n" in text
    assert "**From several kinds in one arm: mean loss of several masks, importance-weighted masks.**" in text
    assert "mean loss of several masks: 4 runs diverged, 0 ended near chance, of 8." in text


def test_equal_time_stands_beside_equal_steps(tmp_path: Path) -> None:
    table(tmp_path, "noises_basic", *BASIC, {"noise": "gaussian", "acc": 0.855, "epochs": 30, "budget": TIME})
    (tmp_path / RATIOS).write_text("noise,ratio\nnone,1\ndropout,1.2\ngaussian,1.8\nuniform,1.2\n")
    noises.write(tmp_path, tmp_path)
    text, chinese = ((tmp_path / page.name(page.TEXT, language)).read_text() for language in ("en", "zh"))
    assert "| 1.50 | 30 epochs: −0.50 (−0.50 to −0.50 (all equal)) |" in text
    assert "| 1.00 | as at equal steps |" in text and "45 epochs in batches" in text
    assert (
        "At equal time, of all 1, none has a higher mean than dropout" in text
        and "高于暂退法的一种也没有。" in chinese
    )
    assert "| 1.50 | 30 轮：−0.50（−0.50" in chinese and "| 1.00 | 与同样步数时相同 |" in chinese


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ({"fresh": CARD}, "Gaussian dropout"),
        ({"steps": CARD}, "Gaussian dropout (in the race)"),
        ({"time": CARD}, "Gaussian dropout (at equal time)"),
        ({"steps": CARD, "time": CARD}, "Gaussian dropout (in the race and at equal time)"),
    ],
)
def test_at_equal_time_a_noise_is_compared_on_fresh_seeds(
    tmp_path: Path, on: dict[str, str], said: str
) -> None:
    again = [
        {**arm, "budget": TIME, "epochs": 30, "acc": 0.854} for arm in WINNERS if arm["noise"] == "gaussian"
    ]
    table(tmp_path, "noises_basic", *BASIC)
    fresh = [run(seed=seed, **arm) for arm in [*WINNERS, *again] for seed in range(100, 106)]
    rows = pd.concat([pd.read_csv(tmp_path / "noises_basic.csv"), pd.DataFrame(fresh)])
    (tmp_path / RATIOS).write_text("noise,ratio\nnone,1\ndropout,1.2\ngaussian,1.8\n")
    rows.to_csv(tmp_path / "noises_basic.csv", index=False)
    found = content(tmp_path)
    (timed,) = found["again"]
    dropout = next(arm["acc"] for arm in WINNERS if arm["noise"] == "dropout")
    assert (timed.paired.n, timed.paired.difference) == (6, pytest.approx(0.854 - dropout))
    assert not found["several_devices"]
    of_noise = rows["noise"] == "gaussian"
    for budget, device in on.items():
        rows.loc[of_noise & (rows["budget"] == budget), "device"] = device
    rows.to_csv(tmp_path / "noises_basic.csv", index=False)
    noises.write(tmp_path, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert f"Compared with dropout on another kind: {said}. **From several kinds in one arm: none.**" in text
    assert "on the fresh seeds, and is compared with dropout's best there" in text


WINNERS = [{**arm, "budget": FRESH} for arm in BASIC if arm.get("dropout1") is None]
"""Of `BASIC` each noise's best."""


def test_fresh_seeds_rank_the_noises_and_the_race_stands_beside(tmp_path: Path) -> None:
    table(tmp_path, "noises_basic", *BASIC)
    fresh = [
        run(seed=seed, **{**arm, "acc": 1.73 - arm["acc"]}) for arm in WINNERS for seed in range(100, 106)
    ]
    raced = pd.read_csv(tmp_path / "noises_basic.csv")
    pd.concat([raced, pd.DataFrame(fresh)]).to_csv(tmp_path / "noises_basic.csv", index=False)
    found = content(tmp_path)
    assert [winner.noise for winner in found["raced"]] == ["none", "dropout", "gaussian"]
    assert [winner.setting.get("dropout1") for winner in found["raced"]] == [None, 0.1, 0.1]
    differences = {r.contrast.a: (r.paired.n, r.paired.difference) for r in found["ranked"]}
    assert differences == {"gaussian": (6, pytest.approx(-0.01))}
    in_race = {r.contrast.a: (r.paired.n, r.paired.difference) for r in found["in_race"]}
    assert in_race == {"none": (4, pytest.approx(-0.02)), "gaussian": (4, pytest.approx(0.01))}
    noises.write(tmp_path, tmp_path)
    text, chinese = ((tmp_path / page.name(page.TEXT, language)).read_text() for language in ("en", "zh"))
    assert "best then trains on 6 fresh seeds" in text and "用 6 个新的种子训练" in chinese
    for shown in (text, chinese):
        assert "| −1.00" in shown and "| +1.00" in shown


def test_where_a_noise_lacks_fresh_seeds_the_race_ranks_all(tmp_path: Path) -> None:
    table(tmp_path, "noises_basic", *BASIC)
    fresh = pd.DataFrame([run(seed=seed, **arm) for arm in WINNERS[:-1] for seed in range(100, 106)])
    raced = pd.read_csv(tmp_path / "noises_basic.csv")
    pd.concat([raced, fresh]).to_csv(tmp_path / "noises_basic.csv", index=False)
    found = content(tmp_path)
    assert found["fresh"] == 0 and {r.paired.n for r in found["ranked"]} == {4}
    noises.write(tmp_path, tmp_path)
    text, chinese = ((tmp_path / page.name(page.TEXT, language)).read_text() for language in ("en", "zh"))
    assert "| in the race (pp) |" not in text and "best then trains on" not in text
    assert "竞赛中（百分点）" not in chinese


@pytest.mark.parametrize("lost", [3, 6])
def test_a_winner_that_diverges_on_fresh_seeds_counts_what_ended_and_stands_last_without_any(
    tmp_path: Path, lost: int
) -> None:
    table(tmp_path, "noises_basic", *BASIC)
    fresh = pd.DataFrame([run(seed=seed, **arm) for arm in WINNERS for seed in range(100, 106)])
    diverged = fresh.index[fresh["noise"] == "gaussian"][:lost]
    fresh.loc[diverged, "state"] = "diverged"
    fresh.loc[diverged, [column for column in fresh if race.is_metric(column)]] = None
    raced = pd.read_csv(tmp_path / "noises_basic.csv")
    pd.concat([raced, fresh]).to_csv(tmp_path / "noises_basic.csv", index=False)
    found = content(tmp_path)
    order = ["gaussian", "dropout", "none"] if lost < 6 else ["dropout", "none", "gaussian"]
    assert [winner.noise for winner in found["raced"]] == order
    assert {r.contrast.a: r.paired.n for r in found["ranked"]} == ({"gaussian": 3} if lost < 6 else {})
    noises.write(tmp_path, tmp_path)
    text = (tmp_path / page.name(page.TEXT, "en")).read_text()
    (row,) = [
        line for line in text.splitlines() if line.startswith("| Gaussian dropout |") and "dropout1=" in line
    ]
    assert f" {6 - lost} | " in row and f"Gaussian dropout: {lost} runs diverged" in text


def relabelled(folder: Path, part: str, rows: str, **values: object) -> None:
    """Change columns of the rows that a query picks."""
    kept = pd.read_csv(folder / f"{part}.csv")
    kept.loc[kept.eval(rows), [*values]] = [*values.values()]
    kept.to_csv(folder / f"{part}.csv", index=False)


AGAIN = {"noise": "gaussian", "acc": 0.855, "epochs": 30, "budget": TIME}


@pytest.mark.parametrize(
    ("rows", "values", "line"),
    [
        ("budget == 'time'", {"budget": STEPS}, "seed=0 budget=steps epochs=30: 45 epochs are right"),
        ("budget == 'time' and seed == 3", {"budget": STEPS}, "seed=3 budget=steps epochs=30: 45 epochs are right"),
        ("noise == 'gaussian' and seed == 2", {"budget": TIME}, "seed=2 budget=time epochs=30: it is there twice"),
        ("budget == 'time'", {"epochs": 45, "budget": STEPS}, "seed=0 budget=steps epochs=45: it is there twice"),
        ("budget == 'time'", {"epochs": 31}, r"budget=time epochs=31: 30 epochs are right by ratios\.csv"),
        ("noise == 'dropout' and dropout1 == 0.2", {"dropout1": 0.1}, "dropout1=0.1 .*seed=0 .*there twice"),
        ("noise == 'none'", {"budget": "step"}, "seed=0 budget=step epochs=45: steps, fresh or time is right"),
    ],
)  # fmt: skip
def test_rows_that_contradict_others_are_refused_in_one_line(
    tmp_path: Path, rows: str, values: dict[str, object], line: str
) -> None:
    table(tmp_path, "noises_basic", *BASIC, AGAIN)
    (tmp_path / RATIOS).write_text("noise,ratio\nnone,1\ndropout,1.2\ngaussian,1.8\n")
    content(tmp_path)
    relabelled(tmp_path, "noises_basic", rows, **values)
    with pytest.raises(InputError, match=rf"^noises_basic\.csv: noise=.*{line}") as refused:
        content(tmp_path)
    assert "\n" not in str(refused.value)


def with_cell(column: str, value: str) -> Callable[[str], str]:
    """Of a table's text, the value in its second row."""

    def change(text: str) -> str:
        rows = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
        rows.loc[1, column] = value
        return rows.to_csv(index=False)

    return change


def without(column: str) -> Callable[[str], str]:
    return lambda text: pd.read_csv(io.StringIO(text), dtype=str).drop(columns=column).to_csv(index=False)


def line_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says of bad input."""
    assert noises.main(["--from", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1) and not (folder / "report.md").exists()
    return err.strip()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        *((without(column), f": the column {column} is missing; a table of python -m analysis.race is right")
          for column in ("noise", "seed", "epochs", "budget", "val_acc")),
        (with_cell("seed", "first"), ", line 3: seed=first: must be a whole number of at least 0"),
        (with_cell("seed", ""), ", line 3: seed=: must be a whole number of at least 0"),
        (with_cell("epochs", "45.5"), ", line 3: epochs=45.5: must be a whole number of at least 1"),
        (with_cell("val_acc", "high"), ", line 3: val_acc=high: must be a finite number from 0 to 1"),
        (with_cell("val_acc", "87.2"), ", line 3: val_acc=87.2: must be a finite number from 0 to 1"),
        (with_cell("val_loss", "nan"), ", line 3: val_loss=nan: must be a finite number"),
        (with_cell("dropout1", "half"), ", line 3: dropout1=half: must be a finite number from 0 to 1"),
        (with_cell("noise.input_rate", "much"), ", line 3: noise.input_rate=much: must be a finite number"),
        (with_cell("noise", "drpout"), ", line 3: noise=drpout: must be one of additive, advanced, "),
        (with_cell("state", "done"), ", line 3: state=done: must be one of finished, diverged"),
        (lambda text: text.replace("dropout2", "dropout1", 1), ": the column dropout1 is there twice; "),
        (lambda text: text.replace("seed,epochs", "epochs,seed", 1), ": epochs is no setting, and must stand behi"),
        (lambda text: text[:-10], ", line 17: must have 16 cells, and has 15; a table of python -m "),
        (lambda text: re.sub(r"(?m)(?<=\d|U)$", ",1", text), ", line 2: must have 16 cells, and has 17; a table"),
        (lambda text: text.partition("\n")[0] + "\n", ": no run is listed; a table of python -m analysis.race is"),
        (lambda text: "", " is empty; a table of python -m analysis.race is right"),
        (lambda text: text.encode("utf-16"), " cannot be read ('utf-8' codec can't decode byte 0xff"),
    ],
)  # fmt: skip
def test_a_table_that_no_race_wrote_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[str], str | bytes], line: str
) -> None:
    table(tmp_path, "noises_basic", *BASIC)
    path = tmp_path / "noises_basic.csv"
    changed = change(path.read_text())
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    assert line_of(tmp_path, capsys).startswith(f"error: {path}{line}")


def test_a_byte_order_mark_and_windows_ends_of_lines_are_no_fault(tmp_path: Path) -> None:
    table(tmp_path, "noises_basic", *BASIC)
    plain = winners.table_of(tmp_path)
    path = tmp_path / "noises_basic.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(winners.table_of(tmp_path), plain)


def test_of_races_in_which_every_run_diverged_there_is_no_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table(tmp_path, "noises_basic", *({**arm, "state": "diverged"} for arm in BASIC))
    path = tmp_path / "noises_basic.csv"
    rows = pd.read_csv(path)
    rows.drop(columns=[*filter(race.is_metric, rows)]).to_csv(path, index=False)
    assert line_of(tmp_path, capsys).startswith(
        f"error: {tmp_path / 'noises_*.csv'}: each run has diverged; "
    )


def test_a_setting_in_words_is_at_no_edge(tmp_path: Path) -> None:
    arms = [{"noise": "dropout", "acc": acc, "noise.kind": kind} for acc, kind in ((0.86, "a"), (0.85, "b"))]
    table(tmp_path, "noises_basic", {"noise": "none", "acc": 0.8, "noise.kind": ""}, *arms)
    best, _ = winners.winners(winners.table_of(tmp_path))
    assert best.setting["noise.kind"] == "a" and best.edges == {}


@pytest.mark.parametrize(
    ("ratios", "line"),
    [
        ("", " is empty; columns noise and ratio, and a row a noise, dropout among them, are right"),
        ("noise,time\ndropout,1\n", ": the column ratio is missing; columns noise and ratio, and a row a noise, "),
        ("name,ratio\ndropout,1\n", ": the column noise is missing; "),
        ("noise,ratio\n", ": noise=dropout is not there; "),
        ("noise,ratio\ngaussian,1\n", ": noise=dropout is not there; "),
        ("noise,ratio\ndropout,slow\n", ", line 2: ratio=slow: must be a finite number above 0"),
        ("noise,ratio\ndropout,1\ngaussian,\n", ", line 3: ratio=: must be a finite number above 0"),
        ("noise,ratio\ndropout,1\ngaussian,inf\n", ", line 3: ratio=inf: must be a finite number above 0"),
        ("noise,ratio\ndropout,1\ndropout,2\n", ": noise=dropout is there twice; "),
        ("noise,ratio\ndropout,1\ngaussian\n", ", line 3: must have 2 cells, and has 1; "),
        (None, " cannot be read ([Errno 21] Is a directory: "),
    ],
)  # fmt: skip
def test_odd_ratios_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ratios: str | None, line: str
) -> None:
    table(tmp_path, "noises_basic", *BASIC)
    path = tmp_path / RATIOS
    if ratios is None:
        path.mkdir()
    else:
        path.write_text(ratios)
    assert line_of(tmp_path, capsys).startswith(f"error: {path}{line}")


def test_tables_of_dropout_alone_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(tmp_path, "noises_basic", {"noise": "dropout", "acc": 0.86})
    assert (
        line_of(tmp_path, capsys)
        == f"error: {tmp_path}: no table has a noise beside dropout, so nothing is compared"
    )


def test_models_of_one_kind_of_processor_are_one_kind() -> None:
    def cpu(maker: str, model: str, instructions: str, kernel: str = "torch") -> str:
        processor = {"maker": maker, "model": model, "instructions": instructions}
        return str(records.device({"device": "cpu", "processor": processor, "matmul": kernel}))

    first = cpu("GenuineIntel", "Xeon(R), second @ 2.50GHz", "AVX512")
    assert winners.kind(first) == winners.kind(cpu("GenuineIntel", "Xeon(R)", "AVX512"))
    for other in (
        cpu("AuthenticAMD", "Xeon(R)", "AVX512"),
        cpu("GenuineIntel", "Xeon(R)", "AVX2"),
        cpu("GenuineIntel", "Xeon(R)", "AVX512", "openblas"),
        CARD,
        "cpu",
    ):
        assert winners.kind(other) != winners.kind(first)
    assert (winners.kind(CARD), winners.kind("cpu")) == (CARD, "cpu")


def test_while_fresh_seeds_are_missing_equal_time_has_its_comparison(tmp_path: Path) -> None:
    """As long as a part has not trained on them, the race ranks; equal time stays on fresh seeds."""
    again = [
        {**arm, "budget": TIME, "epochs": 30, "acc": 0.854} for arm in WINNERS if arm["noise"] == "gaussian"
    ]
    table(tmp_path, "noises_basic", *BASIC)
    fresh = [run(seed=seed, **arm) for arm in [*WINNERS, *again] for seed in range(100, 106)]
    rows = pd.concat([pd.read_csv(tmp_path / "noises_basic.csv"), pd.DataFrame(fresh)])
    rows.to_csv(tmp_path / "noises_basic.csv", index=False)
    table(tmp_path, "noises_masks", {"noise": "dropout_masks", "acc": 0.87})
    (tmp_path / RATIOS).write_text("noise,ratio\nnone,1\ndropout,1.2\ngaussian,1.8\n")
    found = content(tmp_path)
    assert found["fresh"] == 0
    (timed,) = found["again"]
    assert timed.paired.n == 6 and timed.paired.difference < 0


def test_where_nothing_was_compared_at_equal_time_nothing_is_said_of_it(tmp_path: Path) -> None:
    table(tmp_path, "noises_basic", *BASIC)
    (tmp_path / RATIOS).write_text("noise,ratio\ndropout,1.2\ngaussian,1.8\nnone,0.6\n")
    noises.write(tmp_path, tmp_path)
    text, chinese = ((tmp_path / page.name(page.TEXT, language)).read_text() for language in ("en", "zh"))
    assert "At equal time" not in text and "同样时间下，全部" not in chinese


def test_no_committed_row_is_dropped() -> None:
    rows = sum(len(pd.read_csv(path)) for path in noises.RESULTS.glob("noises_*.csv"))
    whole = winners.table_of(noises.RESULTS)
    assert len(whole) == rows
    again = whole[whole["budget"] == TIME].groupby("noise")["seed"].agg(set)
    assert all(seeds == {*races.FRESH_SEEDS} for seeds in again)
    ratios = equal_time.read_ratios(noises.RESULTS / RATIOS)
    slower = (equal_time.slowness(ratios, noise) for noise in whole["noise"].unique())
    assert len(again) == sum(not equal_time.is_same(ratio) for ratio in slower if ratio)


def test_the_page_says_where_its_ratios_were_measured(tmp_path: Path) -> None:
    table(tmp_path, "noises_basic", *BASIC)
    (tmp_path / RATIOS).write_text("noise,ratio\nnone,1\ndropout,1.2\n")
    noises.write(tmp_path, tmp_path)
    assert "a machine that `ratios.csv` does not name" in (tmp_path / "report.md").read_text()
    (tmp_path / RATIOS).write_text('noise,ratio,machine,date\nnone,1,"A, B",2026-11-30\ndropout,1.2,,\n')
    noises.write(tmp_path, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert (
        "was measured on A, B, 2026-11-30 (no noise); for the others on a machine that `ratios.csv`" in text
    )
    assert (
        "一轮用时：测量于 A, B, 2026-11-30（无噪声）；其余噪声测量于一台"
        in (tmp_path / "report.zh.md").read_text()
    )
    (tmp_path / RATIOS).write_text(
        "noise,ratio,machine,date\nnone,1,A,2026-11-30\ndropout,1.2,A,2026-11-30\n"
    )
    noises.write(tmp_path, tmp_path)
    assert "was measured on A, 2026-11-30." in (tmp_path / "report.md").read_text()
    assert "一轮用时：测量于 A, 2026-11-30。" in (tmp_path / "report.zh.md").read_text()


def test_parts_tell_their_time_and_our_candidates_their_numbers() -> None:
    found = noises.content(noises.RESULTS, noises.RESULTS)
    learned = pd.read_csv(noises.RESULTS / "noises_learned.csv")
    of_part = [part for part in found["parts"] if part["part"] == "noises_learned"]
    assert sum(part["runs"] for part in of_part) == len(learned)
    assert sum(part["seconds"] for part in of_part) == pytest.approx(learned["seconds"].sum())
    assert {part["device"] for part in of_part} == {*learned["device"]}
    assert all(set(part["noises"]) == {"concrete", "variational"} for part in of_part)
    assert [r.contrast.a for r in found["ours"]] == ["tangent", "balanced", "neighbours", "blend"]
    (everything, best), (few, judged) = found["tested"]
    assert (everything, few) == (None, 5000)
    assert "tangent" in {r.contrast.a for r in best} and "balanced" in {r.contrast.a for r in judged}


def test_both_languages_have_the_same_numbers() -> None:
    pages = [(noises.RESULTS / page.name(page.TEXT, language)).read_text() for language in ("en", "zh")]
    # "95%" stands beside each interval or once above them; the head of a column says what counts as 1
    named = re.compile(r"95%|dropout: 1\b")
    sections = [re.split(r"^## ", named.sub("", text), flags=re.M) for text in pages]
    for english, chinese in zip(*sections, strict=True):
        if english.startswith("What each noise does"):  # in words that spell some numbers out
            continue
        found = [sorted(re.findall(r"[−+±]?\d[\d,.]*(?<![,.])", part)) for part in (english, chinese)]
        assert found[0] == found[1], english.partition("\n")[0]


def test_bad_tables_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no noises_\*\.csv"):
        winners.table_of(tmp_path)
    table(tmp_path, "noises_batch", {"noise": "blend", "acc": 0.8})
    with pytest.raises(InputError, match="no table has dropout"):
        content(tmp_path)


def test_every_noise_says_what_it_does_in_both_languages() -> None:
    known = [noise for of in families.FAMILIES.values() for noise in of]
    raced = {*races.raced_in()}
    assert len(known) == len({*known}) and raced - {"none"} <= {*known} <= {*components.names("noise")}
    say = page.phrases("zh").say
    for noise in raced:
        words = families.description(noise)["words"]
        assert say(words) != words, f"words.yaml lacks {words!r}"
    assert families.description("random_rate") == {
        "words": "dropout at a rate that is drawn for each image",
        "source": "Bouthillier et al. 2015",
    }
    assert all(say(family) != family for family in families.FAMILIES)


def test_a_noise_with_a_class_beside_it_is_described(component: Callable[[str, str, str], None]) -> None:
    helper = "class Helper:\n    pass\n\n\n"
    noise = 'class _Mine(Noise):\n    """Source: Me 2026."""\n    def factor(self, h, rate, site): pass\n'
    component("noise", "mine", f'"""Mine: what it does."""\nfrom src.noise import Noise\n\n\n{helper}{noise}')
    assert families.description("mine") == {"words": "what it does", "source": "Me 2026"}


@pytest.mark.slow
def test_the_committed_page_is_that_of_the_committed_tables(tmp_path: Path) -> None:
    kept = {}
    folder = tmp_path / "noises"
    folder.mkdir()
    for path in noises.RESULTS.glob("*.csv"):
        (folder / path.name).write_bytes(path.read_bytes())
    for sweep in exercises.sweeps_of(new_noise):
        for path in noises.RESULTS.parent.glob(f"{sweep}.*"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    pages = noises.write(folder, folder)
    root = content(folder)["root"]
    for language in ("en", "zh"):
        name = page.name(page.TEXT, language)
        kept[language] = (noises.RESULTS / name).read_text()
        assert (folder / name).read_text().replace(root, "../../..") == kept[language]
    for width in (1280, 390):
        shown = show(pages[0].read_text(), width)
        assert shown.errors == [] and shown.scroll <= width
