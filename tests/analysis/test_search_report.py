"""A search's part of a report: Optuna's numbers, and what is said where they cannot be had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis import measures, search

OBJECTIVES = [measures.VAL_ACC, measures.VAL_LOSS]
Study = Callable[..., Path]


@pytest.fixture
def study_folder(tmp_path: Path) -> Study:
    """A sweep's folder with a study of known trials: each its parameters, and values or the name of a state."""
    optuna = pytest.importorskip("optuna", reason="a search needs optuna: pip install -e '.[optuna]'")
    from src.sweeping import study

    def made(*trials: tuple[dict[str, float], Any], metric: tuple[str, ...] = ("val_acc",)) -> Path:
        space = {key: optuna.distributions.FloatDistribution(0, 1) for key in trials[0][0]}
        directions = [{"val_acc": "maximize", "val_loss": "minimize"}[name] for name in metric]
        about = {"metric": list(metric), "sampler": "tpe", "seed": 3, "space": dict.fromkeys(space, "")}
        own = study.Study(tmp_path, directions, space, lambda _: optuna.samplers.RandomSampler(seed=0), about)  # type: ignore[arg-type]
        for params, values in trials:
            own._live.enqueue_trial(params)
            number = own.ask().number
            own.write()
            if isinstance(values, str):
                own.tell(number, optuna.trial.TrialState[values])
            else:
                own.tell(number, optuna.trial.TrialState.COMPLETE, values)
        (tmp_path / "multirun.yaml").write_text(f"hydra:\n  sweeper:\n    metric: [{', '.join(metric)}]\n")
        return tmp_path

    return made


def a_search() -> list[tuple[dict[str, float], Any]]:
    """What is best follows from a alone, what is worst from b alone: importance is that of being among the best."""

    def accuracy(a: float, b: float) -> float:
        return 0.5 + 0.4 * a if a > 0.75 else 0.2 + 0.1 * b if b > 0.75 else 0.5

    values = [0.1 * i for i in range(10)]
    return [({"a": a, "b": b}, [accuracy(a, b)]) for b in values[::3] for a in values]


def test_what_is_said_of_a_search(study_folder: Study) -> None:
    folder = study_folder(*a_search(), ({"a": 1, "b": 1}, "PRUNED"), ({"a": 1, "b": 0}, "FAIL"))
    found = search.read(folder)
    assert found is not None
    assert (found.sampler, found.seed, found.trials) == ("tpe", 3, 42)
    assert (found.states["PRUNED"], found.states["FAIL"]) == (1, 1)
    (best,) = found.best
    assert (best.number, best.params, best.values) == (10, {"a": 0.9, "b": 0}, [pytest.approx(0.86)])
    assert search.metric(folder) == "val_acc"


def test_the_best_is_judged_by_the_validation_sets_own_error(study_folder: Study) -> None:
    found = search.read(
        study_folder(*[({"a": a}, [acc]) for a, acc in ((0.1, 0.9), (0.2, 0.89), (0.3, 0.7))])
    )
    assert found is not None
    assert found.error(900) == pytest.approx(0.01)  # the root of 0.9 * 0.1 / 900
    assert (found.tied(900), found.tied(900_000), found.error(0)) == (1, 0, None)


def test_importances_are_optunas_and_the_history_is_the_best_so_far(study_folder: Study) -> None:
    folder = study_folder(*a_search())
    found = search.read(folder)
    assert found is not None
    drawn = found.figures()
    (axis,) = drawn["search_history"].axes
    steps = axis.lines[0].get_ydata()
    assert list(steps) == sorted(steps) and steps[-1] == pytest.approx(86)
    (bars,) = drawn["search_importances"].axes
    shares = dict(
        zip(
            [t.get_text() for t in bars.get_yticklabels()], [p.get_width() for p in bars.patches], strict=True
        )
    )
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["a"] > shares["b"]


def test_several_objectives_have_a_panel_each(study_folder: Study) -> None:
    trials = [(params, [values[0], 1 - values[0]]) for params, values in a_search()]
    found = search.read(study_folder(*trials, metric=("val_acc", "val_loss")))
    assert found is not None and all(len(trial.params) > 0 for trial in found.best)
    history, bars = found.figures().values()
    assert [axis.get_ylabel() for axis in history.axes] == [each.label for each in OBJECTIVES]
    worst_so_far = history.axes[1].lines[0].get_ydata()
    assert list(worst_so_far) == sorted(worst_so_far, reverse=True)
    assert len(bars.axes[0].patches) == 4


def test_few_trials_and_one_parameter_have_fewer_figures(study_folder: Study) -> None:
    found = search.read(study_folder(({"a": 0.1}, [0.5])))
    assert found is not None and found.figures() == {}


def test_one_parameter_has_no_importance(study_folder: Study) -> None:
    found = search.read(study_folder(*[({"a": a}, [a]) for a in (0.1, 0.2, 0.3)]))
    assert found is not None and list(found.figures()) == ["search_history"]


def test_a_few_huge_losses_do_not_flatten_the_others() -> None:
    trials = [search.Trial(i, {}, [loss]) for i, loss in enumerate([0.3, 0.4, 0.5, 9e4])]
    figure = search.history(trials, OBJECTIVES[1:])
    assert figure.axes[0].get_yscale() == "log"


def test_without_a_study_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert search.read(tmp_path) is None
    assert search.metric(tmp_path) is None


def test_without_optuna_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / search.FILE).touch()
    monkeypatch.setattr(search, "find_spec", lambda name: None)
    found = search.read(tmp_path)
    assert found is not None and found.figures() == {} and found.missing == "optuna"


def test_a_damaged_study_is_said_not_raised(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    (tmp_path / search.FILE).write_bytes(b"no database" * 100)
    found = search.read(tmp_path)
    assert found is not None and "study.db is no study of Optuna" in found.missing
