"""What a call returns: sweeps, runs and comparisons, read from the files that they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import InputError
from src.runs import store, sweep_folder

from . import _project

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from analysis.runs import Problem


def _analysis(name: str) -> Any:
    """A module of `analysis`, which takes a second to import: pandas."""
    return _project.module(f"analysis.{name}")


class Sweep:
    """A sweep's folder, OUTPUT/sweeps/NAME.

        Sweep("outputs/sweeps/rate_order").table()

    Raises:
        InputError: if it is no sweep's folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        _analysis("runs").read_list(self.folder)

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def ids(self) -> list[str]:
        """Of its runs, in the order of `runs.csv`."""
        listed, _ = _analysis("runs").read_list(self.folder)
        return list(dict.fromkeys(listed["id"]))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Runs without a result: failed, diverged, unfinished, damaged or missing, each with its reason."""
        return _analysis("runs").read(self.folder).problems

    def table(self) -> pd.DataFrame:
        """`runs.csv`: a row a run, with or without a result: id, state, the swept keys, seed, the last epoch's
        metrics (losses in nats, accuracies in [0, 1])."""
        import pandas as pd

        runs = _analysis("runs")
        listed, keys = runs.read_list(self.folder)
        whole = pd.read_csv(self.folder / "runs.csv", dtype={"id": str})
        typed = {key: listed[key] for key in (*keys, "seed")}  # where "null" and "none" are words
        return whole.loc[listed.index].assign(**typed).reset_index(drop=True)

    def epochs(self) -> pd.DataFrame:
        """A row a finished run and epoch: id, state, the swept keys, seed, then the columns of `metrics.csv`."""
        return _analysis("runs").read(self.folder).epochs

    def compare(
        self,
        metric: str | None = None,
        baseline: str | None = None,
        where: str | Sequence[str] = (),
        to: str | Path | None = None,
    ) -> Comparison:
        """The report of `python -m analysis.compare`, written beside the sweep.

        Args:
            metric, baseline, where, to: as `--metric`, `--baseline`, `--where`, `--to`.

        Raises:
            InputError: if there is nothing to compare.
        """
        comparison, programs = _analysis("comparison"), _analysis("programs")
        conditions = [where] if isinstance(where, str) else list(where)
        compared = comparison.compare(self.folder, metric, baseline, conditions)
        page = comparison.write(compared, Path(to) if to else None)
        return Comparison(page, programs.facts(compared, page))

    def run(self, id: str) -> Run:  # noqa: A002 - it is called so everywhere
        """One of its runs."""
        if id not in self.ids:
            raise InputError(f"{self.folder} has no run {id!r}; one of table()['id'] is right")
        return Run(sweep_folder.runs_of(self.folder) / id)

    def load_model(self, id: str) -> nn.Module:  # noqa: A002
        """The net of one of its runs, as `load_model`."""
        return self.run(id).load_model()

    def __repr__(self) -> str:
        return f"Sweep({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        table = self.table()
        bad = int((table["state"] != store.FINISHED).sum())
        text = f"{len(table)} runs" + (f", {bad} of them without a result" if bad else "")
        return f"<div><b>{escape(self.name)}</b>: {text}, in {escape(str(self.folder))}</div>"


class Run:
    """A run's folder, OUTPUT/runs/ID, with its record.

    Raises:
        InputError: if it holds no run that has ended.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            record = store.read_record(self.folder)
        except store.Damaged as error:
            raise InputError(str(error)) from None
        if record is None:
            raise InputError(f"{self.folder} holds no run that has ended; OUTPUT/runs/ID is right")
        self.record: dict[str, Any] = record
        """Content of `run.json`, see src/runs/README.md."""

    @property
    def id(self) -> str:
        return str(self.record["id"])

    @property
    def state(self) -> str:
        """finished, failed or diverged."""
        return str(self.record["state"])

    @property
    def error(self) -> str | None:
        """Why it has no result."""
        return self.record["error"]

    @property
    def final(self) -> Mapping[str, Any]:
        """The last epoch's metrics."""
        return dict(self.record["final"])

    def epochs(self) -> pd.DataFrame:
        """`metrics.csv`: a row an epoch."""
        import pandas as pd

        return pd.read_csv(self.folder / "metrics.csv")

    def load_model(self) -> nn.Module:
        """The trained net, in evaluation mode, on the CPU; its images are those of `src.data.load`, in [0, 1].

        Raises:
            InputError: if the run kept no weights.
        """
        import torch

        from src import config, data, models
        from src.stacks import OF_NOISE

        path = self.folder / store.WEIGHTS
        if not path.is_file():
            raise InputError(
                f"{path} is not there; the same call with save_model=true trains the run again with it"
            )
        run = config.parse(self.record["config"])
        images = data.load_bytes(**run.data)
        net = models.build(run.model, images.train_images[0].numel(), images.classes, run.seed)
        state = torch.load(path, map_location="cpu", weights_only=True)
        net.load_state_dict({key: value for key, value in state.items() if not key.startswith(OF_NOISE)})
        return net.eval()

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        final = self.final
        text = self.error or ", ".join(
            f"{name} {final[key]:.4f}"
            for name, key in (("test accuracy", "test_acc"), ("test loss", "test_loss"))
            if final.get(key) is not None
        )
        return f"<div><b>run {self.id}</b> {self.state}: {escape(text)}, in {escape(str(self.folder))}</div>"


def load_model(id: str, output: str | Path = "outputs") -> nn.Module:  # noqa: A002
    """The trained net of a run with weights (`save_model=true`), see `Run.load_model`.

    Args:
        id: of the run; or its folder.
        output: where `runs/ID` is.
    """
    folder = Path(id)
    return Run(folder if folder.is_dir() else store.run_folder(output, id)).load_model()


@dataclass(frozen=True)
class Comparison:
    """A sweep's report."""

    page: Path
    """index.html, which needs no other file and no network; beside it report.md."""
    facts: Mapping[str, Any] = field(repr=False)
    """What `python -m analysis.compare --json` says, see src/runs/README.md: arms, contrasts and their verdicts."""

    @property
    def figures(self) -> list[Path]:
        return [self.page.parent / "figures" / name for name in self.facts["figures"]]

    @property
    def conclusion(self) -> str:
        return str(self.facts["conclusion"])

    def _repr_html_(self) -> str:
        return f"<div>{escape(self.conclusion)}</div><div>The whole report: {escape(str(self.page))}</div>"
