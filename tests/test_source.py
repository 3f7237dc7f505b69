"""The code of a component as part of a run's ID: what it means counts, and how it is written does not."""

from __future__ import annotations

import ast
import pickle
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from configs import REPOSITORY, make_job, make_run
from hypothesis import given
from hypothesis import strategies as st

from src import components, config, data, provenance
from src.provenance import source
from src.runs import store
from src.runs.job import Job
from src.runs.pack import train_jobs
from src.runs.record import make_record
from src.sweeping.campaign import _launched_record

SOURCE = textwrap.dedent('''\
    """A noise."""

    from src.checks import real


    class Mine(Noise):
        """h + 1."""

        scale: float = 2.0
        names = {"a": 1, **other}

        def activation(self, h, rate, site, *, by=None, **rest):
            """Doc."""
            if rate > 0.5:
                return h * 0x10 + f"{rate:.2f} of {h!r}"
            for x in (1, 2, -3):
                pass
            return lambda y: (y, b"1", None, True, ..., 1j)
    ''')


def checksum(text: str) -> str:
    return source.checksum(text.encode())


def test_the_checksum_is_the_same_for_ever_and_in_every_version_of_python() -> None:
    assert checksum(SOURCE) == "a5e95dc20081f8ad"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""A noise."""', '"""Another text."""'),
        ('"""A noise."""\n', ""),
        ('        """Doc."""\n', "        # a comment\n"),
        ('        """Doc."""\n', '        "alone"\n        ...\n'),
        ("rate > 0.5", "(rate>.50)"),
        ("0x10", "16"),
        ('"a"', "'a'"),
        ("(1, 2, -3)", "(\n                1, 2,\n                -3,\n            )"),
        ('f"{rate:.2f} of {h!r}"', "f'{rate:.2f}' f' of ' '' f'{h!r}'"),
        ("            pass", "            pass; pass"),
    ],
)
def test_how_it_is_written_does_not_count(before: str, after: str) -> None:
    assert before in SOURCE
    assert checksum(SOURCE.replace(before, after)) == checksum(SOURCE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("0.5", "0.6"),
        ("rate > 0.5", "rate >= 0.5"),
        ("scale: float = 2.0", "scale: float = 2"),
        ("True", "1"),
        ("None", "False"),
        ('b"1"', '"1"'),
        ("-3", "3"),
        ("**other", '"b": other'),
        ("by=None", "by"),
        ("by=None", "bye=None"),
        ("*, by=None", "by=None"),
        ("{h!r}", "{h!s}"),
        (":.2f", ":.3f"),
        (" of ", "  of "),
        ("(y, b", "(h, b"),
        ("        return lambda", "            return lambda"),
        ("import real", "import real as real_"),
        ("class Mine(Noise)", "class Mine(Other)"),
        ("    scale", "    def f(self): ...\n\n    scale"),
    ],
)
def test_what_it_means_counts(before: str, after: str) -> None:
    changed = SOURCE.replace(before, after, 1)
    assert changed != SOURCE and checksum(changed) != checksum(SOURCE)


@given(st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary())))
def test_constants_are_told_apart(values: list[object]) -> None:
    texts = {repr(value).replace("nan", "'nan'") for value in values}
    assert len({checksum(f"x = {text}") for text in texts}) == len(texts)


def test_long_and_broken_sources_have_a_checksum() -> None:
    terms = " + ".join(["x"] * 3000)
    assert checksum(f"y = {terms}") != checksum(f"y = {terms} + x")
    assert checksum("def (") != checksum("def [")
    assert source.checksum(b"\xff\x00") != source.checksum(b"\xff")


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Writes files below a root, and gives the closure of src/noise/mine.py there."""

    def closure(**files: str) -> dict[str, str]:
        for path in tmp_path.rglob("*.py"):
            path.unlink()
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py".replace("INIT", "__init__")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        source._read.cache_clear()
        return source.closure("src.noise.mine", tmp_path / "src/noise/mine.py", tmp_path)

    return closure


IMPORTS = [
    ("from src.noise import _helper", "src__noise___helper"),
    ("from src.noise._helper import f", "src__noise___helper"),
    ("import src.helpers as h", "src__helpers"),
    ("from . import tools", "src__noise__tools"),
    ("from .tools import f", "src__noise__tools"),
    ("from ..own import f", "src__own"),
    ("import helpers", "helpers"),
    ("from analysis.mine import f", "analysis__mine"),
    ("from src.own.deep import f", "src__own__deep"),
    ("from src.own.deep import f", "src__own__INIT"),
    ("from src.own import *", "src__own__deep"),
    ("from src.own import *", "src__own___hidden"),
    ("from src.own import *", "src__own__deep__INIT"),
    ("import importlib\nimportlib.import_module('src.own.deep')", "src__own__deep"),
    ("from importlib import import_module\nimport_module('.tools', __package__)", "src__noise__tools"),
    ("tools = __import__('src.helpers')\n__import__('....beyond')", "src__helpers"),
    ("from src.stacks.own import Stack", "src__stacks__own"),
    ("def f():\n    from src import helpers", "src__helpers"),
    ("try:\n    import helpers\nexcept ImportError:\n    pass", "helpers"),
]


@pytest.mark.parametrize(("line", "name"), IMPORTS)
def test_an_edit_in_what_is_imported_counts(
    tree: Callable[..., dict[str, str]], line: str, name: str
) -> None:
    parts = {"src__noise__mine": f"{line}\nx = 1", "src__noise__other": "x = 1"}
    before = tree(**parts, **{name: "def f(x):\n    return x + 1"})
    assert len(before) == 2, "its own file and the other one"
    assert tree(**parts, **{name: "def f(x):  # one more\n    return (x + 1)"}) == before
    after = tree(**parts, **{name: "def f(x):\n    return x + 2"})
    assert provenance.changes(before, after) == [p for p in before if p != "src/noise/mine.py"]
    assert source.total(before) != source.total(after)


def test_imports_are_followed_through_files_and_circles(tree: Callable[..., dict[str, str]]) -> None:
    files = tree(
        src__noise__mine="import torch\nfrom src.a import f",
        src__a="from src import b, streams\nfrom src.stacks import mlp",
        src__b="import src.a",
        src__streams="x = 1",
        src__stacks__mlp="x = 1",
        src__noise__INIT="from src import c",
        src__c="x = 1",
    )
    assert list(files) == ["src/a.py", "src/b.py", "src/noise/mine.py"], "the framework's own stay out"


def test_the_list_of_the_frameworks_own_is_right() -> None:
    for name in source.FRAMEWORK:
        path = REPOSITORY.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert path.is_file(), name
        package = ".".join(name.split(".")[:2])
        for other in source.imports(ast.parse(path.read_text()), package):
            is_inside = (
                other.startswith(f"{package}.")
                and REPOSITORY.joinpath(*other.split(".")).with_suffix(".py").is_file()
            )
            assert not is_inside or other in source.FRAMEWORK, f"{other}, which {name} imports"
    rooms = {package.replace(".", "/") for package in components.PACKAGES.values()}
    for group in components.PACKAGES:
        for name in components.names(group):
            for path in source.files(components.find(group, name)):
                folder, _, file = path.rpartition("/")
                assert folder in rooms and file[:-3] in components.names(
                    next(
                        g for g, package in components.PACKAGES.items() if package == folder.replace("/", ".")
                    )
                ), f"{path}, of {group}={name}, belongs into source.FRAMEWORK"


@pytest.mark.parametrize("name", provenance.SHIPPED)
def test_what_is_known_of_the_shipped_data_sets_is_right(name: str) -> None:
    code, arrays = provenance.SHIPPED[name]
    assert source.total(source.files(components.find("data", name))) == code, (
        "edited? then write the new one there"
    )
    assert data._checksum(*data._key(data.defaults(name))) == arrays


NOISE = """
from src.noise import Noise

class Mine(Noise):
    def factor(self, h, rate, site):
        return site.keep(h.shape, rate) * {scale}  {comment}
"""
MINE = {"name": "mine"}


@pytest.fixture
def edited(component: Callable[[str, str, str], None]) -> Callable[..., None]:
    def edit(scale: float = 1.5, comment: str = "") -> None:
        component("noise", "mine", NOISE.format(scale=scale, comment=comment))

    return edit


def run_id(**changes: object) -> str:
    return store.run_id(config.result_config(make_run(**changes)))


def test_an_edit_of_a_noise_changes_the_id_of_its_runs_alone(edited: Callable[..., None]) -> None:
    edited()
    mine, other = run_id(noise=MINE), run_id()
    edited(comment="# a comment")
    assert run_id(noise=MINE) == mine
    edited(scale=1.6)
    assert run_id(noise=MINE) != mine
    assert run_id() == other
    edited(scale=1.5)
    assert run_id(noise=MINE) == mine


def test_a_worker_whose_file_differs_fails_that_run_alone(
    edited: Callable[..., None], tmp_path: Path
) -> None:
    small = {"data": {"name": "digits", "root": None, "validation": 0, "split": 0, "train": None}}
    small |= {"epochs": 1, "output": str(tmp_path), "model": {"hidden1": 8, "hidden2": 8}}
    edited()
    jobs = [make_job(number, noise=noise, **small) for number, noise in enumerate([MINE, {"name": "none"}])]
    sent = pickle.loads(pickle.dumps(jobs))
    edited(scale=1.6)
    failed, trained = train_jobs(sent)
    assert failed["error"] == "src/noise/mine.py changed while the sweep ran"
    assert (failed["state"], trained["state"]) == (store.FAILED, store.FINISHED)
    assert [record["id"] for record in (failed, trained)] == [job.id for job in jobs]
    assert failed["code"]["files"] == dict(jobs[0].provenance.files)
    edited(scale=1.5)
    assert train_jobs(pickle.loads(pickle.dumps(jobs)))[0]["state"] == store.FINISHED


def test_a_worker_whose_data_differ_fails_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job()
    provenance.check(job.run, job.provenance)
    monkeypatch.setattr(provenance, "arrays_checksum", lambda options: "other")
    with pytest.raises(ValueError, match=r"^the arrays of data=fashion_mnist changed while the sweep ran$"):
        provenance.check(job.run, job.provenance)


def test_jobs_of_a_sweep_share_their_provenance() -> None:
    first, second = (make_job(seed=seed) for seed in range(2))
    assert first.provenance is second.provenance


def test_the_record_names_code_and_commit(tmp_path: Path) -> None:
    record = make_job().provenance.record()
    assert set(record["code"]["files"]) == {
        *("src/models/scratch.py", "src/noise/dropout.py"),
        *("src/schedules/constant.py", "src/optimizers/sgd.py"),
    }
    assert record["code"]["checksum"] == source.total(record["code"]["files"])
    assert record["arrays"] == provenance.SHIPPED["fashion_mnist"][1]


def test_a_launcher_whose_process_found_other_code_fails_that_run_alone(
    edited: Callable[..., None], tmp_path: Path
) -> None:
    def planned() -> Job:
        return make_job(noise=MINE, output=str(tmp_path))

    edited()
    job = planned()
    edited(scale=1.6)
    there = make_record(planned(), store.FINISHED)
    failed = _launched_record(job, there)
    assert (failed["id"], failed["state"]) == (job.id, store.FAILED)
    assert failed["error"] == "src/noise/mine.py changed while the sweep ran"
    assert _launched_record(planned(), there) is there
