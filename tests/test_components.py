"""Components are found by their file's name, and a wrong name is answered with the right ones."""

from __future__ import annotations

import copy
import importlib
import pickle
import sys
from pathlib import Path

import pytest
from configs import make_run

from src import components
from src.errors import InputError, one_line
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


def test_a_file_that_comes_while_a_process_goes_on_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = importlib.import_module("src.schedules")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    with pytest.raises(InputError, match="there is no such schedule"):
        components.find("schedule", "newest")
    (tmp_path / "newest.py").write_text("def rate(progress, configured):\n    return configured\n")
    importlib.invalidate_caches()
    try:
        assert (
            "newest" in components.names("schedule") and components.find("schedule", "newest").rate(0, 1) == 1
        )
    finally:
        sys.modules.pop("src.schedules.newest", None)
        vars(package).pop("newest", None)
        components.find.cache_clear()


TYPO = "def f(:\n"
BROKEN: dict[str, tuple[str, str]] = {
    "syntax": (TYPO, "SyntaxError: invalid syntax (broken.py, line 1); it cannot be imported"),
    "import": (
        "x = 1\nimport nowhere\n",
        "line 2: ModuleNotFoundError: No module named 'nowhere'; it cannot",
    ),
    "name": ("from src.noise import Nois\n", "line 1: ImportError: cannot import name 'Nois' from"),
    "raises": ("raise RuntimeError('a\\nb')\n", "line 1: RuntimeError: a b; it cannot be imported"),
    "exits": ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3; it cannot be imported"),
    "bytes": ("\udcff", "SyntaxError: (unicode error) 'utf-8' codec"),
    "empty": ("x = 1\n", " must define "),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("group", components.PACKAGES)
def test_a_broken_file_is_one_line_for_who_asks_for_it_alone(
    group: str, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, said = BROKEN[case]
    (tmp_path / "broken.py").write_bytes(text.encode(errors="surrogateescape"))
    package = importlib.import_module(components.PACKAGES[group])
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    components.find.cache_clear()
    try:
        components.find("noise", "dropout")
        with pytest.raises(InputError) as caught:
            components.find(group, "broken")
    finally:
        monkeypatch.undo()
        sys.modules.pop(f"{package.__name__}.broken", None)
        components.find.cache_clear()
    line = one_line(caught.value)
    assert line.startswith(f"{group}=broken: {package.__name__.replace('.', '/')}/broken.py") and said in line
    assert "\n" not in line


def test_options_are_checked_by_the_component() -> None:
    typed = components.check_options("noise", {"name": "dropout", "input_rate": 0})
    assert typed == components.Options(name="dropout", input_rate=0.0)
    assert type(typed.input_rate) is float
    for values, said in [
        ({"name": "dropout", "input_rate": 2}, "noise.input_rate=2: must be a finite number from 0 to 1"),
        ({"name": "dropout"}, "noise.input_rate=null: must be given; its place is conf/noise/dropout.yaml"),
        ({"name": "none", "input_rate": 0}, "noise.input_rate=0: there is no such key; known here: none"),
        ({"input_rate": 0}, "noise.name=null: must be given"),
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
