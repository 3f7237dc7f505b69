"""`from dropout_sweeps import sweep, run`: the command line from Python, in the folder of the caller."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dropout_sweeps
import psutil
import pytest
from configs import REPOSITORY
from dropout_sweeps import InputError, MachineError, Sweep, _calls, _progress, load_model, plan, run, sweep
from hydra.core.override_parser.overrides_parser import OverridesParser

from src.errors import command, events

SMALL = ["data=digits", "model.hidden1=16", "model.hidden2=16", "epochs=2", "device=cpu"]


@pytest.fixture(scope="module")
def noises(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep of four runs, in a folder whose name Hydra would read as something else."""
    output = tmp_path_factory.mktemp("a") / 'o "u" (t)'
    here = ["tags=[pilot]", "hydra/launcher=basic"]
    return sweep("noise=dropout,gaussian", "seed=0,1", *SMALL, *here, output=output, progress=False)


def test_a_sweep_is_the_command_lines(noises: Sweep, compose: Any) -> None:
    from src import config
    from src.runs import store

    assert noises.folder.parent.name == "sweeps" and noises.problems == ()
    assert noises.name.startswith("data=digits__epochs=2__model.hidden1=16")
    expected = [
        store.run_id(config.result_config(config.parse(compose(f"noise={noise}", f"seed={seed}", *SMALL))))
        for noise in ("dropout", "gaussian")
        for seed in (0, 1)
    ]
    assert noises.ids == expected
    table = noises.table()
    assert list(table["noise"]) == ["dropout", "dropout", "gaussian", "gaussian"]
    assert list(table["seed"]) == [0, 1, 0, 1] and table["test_acc"].notna().all()
    epochs = noises.epochs()
    assert len(epochs) == 8 and list(epochs["epoch"]) == [1, 2] * 4


def test_the_command_line_trains_nothing_again_and_adds_tags(
    noises: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_calls, "_call", train_here)
    records = [noises.run(name).folder / "run.json" for name in noises.ids]
    before = [path.stat().st_mtime_ns for path in records]
    output = noises.folder.parent.parent
    again = sweep("noise=dropout,gaussian", "seed=0,1", *SMALL, "tags=[final]", output=output, progress=False)
    assert again.folder == noises.folder
    assert [path.stat().st_mtime_ns for path in records] == before
    assert json.loads((noises.folder / "tags.json").read_text())["tags"] == ["pilot", "final"]
    assert not list(output.glob("runs/*/tags.json")), "they are the sweep's"


@pytest.mark.slow
def test_compare_gives_facts_figures_and_a_page(noises: Sweep) -> None:
    compared = noises.compare()
    assert compared.page.is_file() and all(path.is_file() for path in compared.figures)
    (judged,) = compared.facts["judged"]
    assert {judged["a"], judged["b"]} == {"noise=dropout", "noise=gaussian"}
    assert json.loads(json.dumps(dict(compared.facts))) == compared.facts
    assert compared.conclusion in compared._repr_html_()
    part = noises.compare(where="noise=gaussian")
    assert part.page.parent == noises.folder / "where" / "noise=gaussian"
    assert [arm["arm"] for arm in part.facts["arms"]] == ["noise=gaussian"]


def test_weights_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from src import data

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_calls, "_call", train_here)
    trained = run(*SMALL, "save_model=true", "note=a try", "noise=concrete")
    net = load_model(trained.id)
    assert not net.training
    _, _, images, labels = data.load({"name": "digits"})
    with torch.no_grad():
        accuracy = (net(images).argmax(1) == labels).float().mean().item()
    assert accuracy == pytest.approx(trained.final["test_acc"])
    assert trained.state == "finished" and trained.error is None and len(trained.epochs()) == 2
    assert json.loads((trained.folder / "tags.json").read_text()) == {"tags": [], "note": "a try"}
    (trained.folder / "model.pt").unlink()
    with pytest.raises(InputError, match=r"model.pt is not there; .* save_model=true"):
        trained.load_model()
    with pytest.raises(InputError, match="holds no run that has ended"):
        load_model("nowhere")


def train_here(arguments: list[str], progress: bool) -> dict[str, Any]:
    """`_call` in this process, which has torch already."""
    import contextlib
    import io

    from hydra.core.global_hydra import GlobalHydra

    from src import train

    GlobalHydra.instance().clear()
    told, before = io.StringIO(), sys.argv
    try:
        sys.argv = ["train.py", "--json", *arguments]
        with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
            train.main()
    finally:
        sys.argv = before
    last: dict[str, Any] = json.loads(told.getvalue().splitlines()[-1])
    return last


@pytest.mark.slow
def test_bad_input_is_an_exception_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^dropout1=2: must be a finite number from 0 to 1$") as caught:
        sweep("dropout1=0.5,2", *SMALL, "hydra.launcher.n_jobs=1")
    assert (caught.value.key, caught.value.value) == ("dropout1", 2)
    assert capfd.readouterr() == ("", ""), "it is raised, and not printed as well"
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="is no override"):
        run("-m", "seed=0")
    with pytest.raises(InputError, match=r"no runs\.csv"):
        Sweep(tmp_path)


@pytest.mark.parametrize(
    ("told", "code", "said", "kind", "line"),
    [
        ({"message": "no key"}, 2, "", InputError, "no key"),
        ({"message": "disk full", "key": None}, 3, "", MachineError, "disk full"),
        ({}, 1, "a\nValueError: b", RuntimeError, "src.train ended with exit code 1: ValueError: b"),
        ({}, -9, "", RuntimeError, "src.train ended with exit code -9: it said nothing"),
    ],
)
def test_exit_codes_are_exceptions(
    told: dict[str, Any], code: int, said: str, kind: type[Exception], line: str
) -> None:
    error = _calls._error(told, code, said)
    assert type(error) is kind and str(error) == line


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [("dropout1=2: no", "dropout1", 2), ("+noise=none: no", "noise", "none"), ("~foo: no", "foo", None),
     ("mine.yaml cannot be read", None, None)],
)  # fmt: skip
def test_bad_input_keeps_its_line_its_key_and_its_value(line: str, key: str | None, value: Any) -> None:
    told = {"message": line, "key": key, "value": value, "right": "no"}
    error = pickle.loads(pickle.dumps(_calls._error(told, 2, "")))
    assert isinstance(error, InputError) and str(error) == line
    assert (error.key, error.value, error.right) == (key, value, "no")


@pytest.mark.parametrize(
    ("error", "code"), [(InputError("no key"), 2), (MachineError("disk full"), 3), (KeyboardInterrupt(), 130)]
)
def test_what_a_call_raises_is_not_printed_as_well(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @command
    def refuse() -> None:
        events.begin()
        raise error

    assert refuse() == code and capsys.readouterr().err
    monkeypatch.setattr(events, "is_call", True)
    assert refuse() == code
    told, said = capsys.readouterr()
    assert json.loads(told)["code"] == code and not said


def test_plan_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_calls, "_call", train_here)
    told = plan("noise=dropout,gaussian", *SMALL)
    assert (told["runs"], told["done"], told["to_train"]) == (2, 0, 2)
    assert not (tmp_path / "outputs").exists()
    with pytest.raises(InputError, match=r"dropout_sweeps.plan"):
        sweep("noise=dropout,gaussian", "hydra.sweeper.plan=true", *SMALL)


@pytest.mark.slow
def test_ctrl_c_ends_every_process(tmp_path: Path) -> None:
    me, seen = psutil.Process(), dict[int, psutil.Process]()
    others = {child.pid for child in me.children(recursive=True)}  # idle workers of tests before

    def interrupt() -> None:
        while not any((tmp_path / "runs").glob("*/train.log")):
            time.sleep(0.1)
        seen.update({child.pid: child for child in me.children(recursive=True) if child.pid not in others})
        me.send_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt, match="0 of 4 runs are done and kept"):
            sweep("seed=range(4)", *SMALL, "epochs=100000", output=tmp_path, progress=False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(seen) >= 2
    _, alive = psutil.wait_procs(list(seen.values()), timeout=120)  # at most; seconds on a quiet machine
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
def test_importing_it_takes_no_torch_and_minds_no_other_src(tmp_path: Path) -> None:
    for name in ("src", "analysis"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "runs.py").write_text("raise RuntimeError('the wrong one')\n")
    code = (
        "import sys, dropout_sweeps as d; print(not {'torch', 'hydra', 'pandas'} & set(sys.modules));"
        "print(d._results._analysis('runs').__file__); print(sys.path[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["True", str(REPOSITORY / "analysis" / "runs.py"), ""], done.stderr
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import src; import dropout_sweeps"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert f"ImportError: a package src of another project was imported before: {tmp_path}" in done.stderr


@pytest.mark.parametrize("output", ["a b", 'a"b', "a\\b", "a\\", 'a\\"b', "a\\\\b\\\\"])
def test_a_folder_of_any_name_is_the_one_that_is_meant(output: str) -> None:
    (override,) = OverridesParser.create().parse_overrides(_calls._checked((), output))
    assert override.value() == output


def test_an_output_below_ones_home_is_found_there_and_two_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert _calls._checked((), "~/results") == ['output="/somewhere/results"']
    assert _calls._checked(("output=a",), "outputs") == ["output=a"]
    with pytest.raises(InputError, match="output=b: is given as an override, too"):
        _calls._checked(("output=a",), "b")


def test_the_bar_in_a_notebook_says_how_far_it_is() -> None:
    event = {"event": "progress", "runs": 8, "finished": 3, "failed": 1, "skipped": 2, "seconds_left": 61.2}
    said = _progress._counts(event)
    assert said == "3 of 8 runs trained, 2 done before, 1 failed or diverged, 0:01:01 left"
    assert 'value="0.7500"' in _progress._bar(0.75, said, "<best>") and "&lt;best&gt;" in _progress._bar(
        None, said, "<best>"
    )
    assert (
        _progress._end({"runs": 8, "finished": 7, "failed": 1})
        == "7 of 8 runs finished, 1 failed or diverged"
    )
    assert _progress._end({"state": "finished", "trained": False}) == "finished, and not trained again"
    assert not _progress.in_notebook()


def test_the_bar_in_a_notebook_outlives_a_loss_that_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[str] = []
    cell = SimpleNamespace(update=lambda html: pages.append(html.data))
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: cell)
    row = events.plain({"epoch": 1, "train_loss": float("nan"), "test_acc": 0.1})
    _progress.Progress().show({"event": "epoch", "epochs": 2, "row": row})
    assert "epoch 1 of 2" in pages[-1] and "train loss nan, test accuracy 0.1000" in pages[-1]


def test_the_names_are_there() -> None:
    assert all(hasattr(dropout_sweeps, name) for name in dropout_sweeps.__all__)
