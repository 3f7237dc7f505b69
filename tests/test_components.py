"""Components are found by their file's name, and a wrong name is answered with the right ones."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
from configs import make_run

from src import components
from src.errors import InputError
from src.noise import Noise
from src.noise.dropout import Dropout
from src.optimizers import Optimizer

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("group", components.PACKAGES)
def test_each_component_has_its_yaml_and_the_other_way_round(group: str) -> None:
    yamls = {path.stem for path in (REPOSITORY / "conf" / group).glob("*.yaml")}
    assert yamls == set(components.names(group))


@pytest.mark.parametrize("group", components.PACKAGES)
def test_each_component_can_be_imported_and_holds_what_its_group_asks(group: str) -> None:
    for name in components.names(group):
        module = components.find(group, name)
        if group == "noise":
            assert issubclass(components.find_class(group, name, Noise), Noise)
        elif group == "optimizer":
            assert issubclass(components.find_class(group, name, Optimizer), Optimizer)
        else:
            assert callable(getattr(module, {"data": "read", "model": "build", "schedule": "rate"}[group]))


def test_finds_the_class() -> None:
    assert components.find_class("noise", "dropout", Noise) is Dropout


@pytest.mark.parametrize("name", ["dropuot", "", "__init__", "os.path", "../dropout"])
def test_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(InputError) as caught:
        components.find("noise", name)
    assert str(caught.value).startswith(f"noise={name}: there is no such noise; choose one of ")
    assert all(known in str(caught.value) for known in ("dropout", "none"))


def test_a_file_must_define_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"constant\.py must define one subclass of Noise"):
        components.find_class("schedule", "constant", Noise)


def test_options_are_checked_by_the_component() -> None:
    typed = components.check_options("noise", {"name": "dropout", "input_rate": 0})
    assert typed == components.Options(name="dropout", input_rate=0.0)
    assert type(typed.input_rate) is float
    for values, said in [
        ({"name": "dropout", "input_rate": 2}, "noise.input_rate=2: must be a finite number from 0 to 1"),
        ({"name": "dropout"}, "noise.input_rate=null: must be given"),
        ({"name": "none", "input_rate": 0}, "noise.input_rate=0: there is no such key; known here: none"),
        ({"input_rate": 0}, "noise=None: there is no such noise"),
    ]:
        with pytest.raises(InputError) as caught:
            components.check_options("noise", values)
        assert str(caught.value).startswith(said)


def test_options_are_attributes_that_stay_as_they_were_checked() -> None:
    options = make_run(model={"hidden1": 32}).model
    assert (options.name, options.hidden1) == ("scratch", 32)
    with pytest.raises(AttributeError, match="hidden1 is checked"):
        options.hidden1 = 64
    with pytest.raises(AttributeError):
        options.depth  # noqa: B018 - a typo is seen
    for again in (pickle.loads(pickle.dumps(options)), copy.deepcopy(options)):
        assert again == options and type(again) is components.Options
