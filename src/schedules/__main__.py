"""`python -m src.schedules`: draws how the rates move over training, for a config or several."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MultipleLocator
from omegaconf import OmegaConf

from src import components, config, schedules
from src.config import Run
from src.errors import REPOSITORY, InputError, MachineError, Parser, command
from src.runs import store
from src.sweeping.planning import expand

STEPS = 1000
LAYERS = (("dropout1", "#0072B2", "-"), ("dropout2", "#D55E00", "--"))
"""Each layer's rate, with a colour of Okabe and Ito's palette and a dash that tells them apart in grey, too."""

MOST_PANELS = 48
SUFFIXES = (".png", ".svg", ".pdf")


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = Parser(
        prog="python -m src.schedules",
        description="Draws the rates dropout1 and dropout2 over training, one panel for each config. Without a "
        "schedule among the overrides it draws every schedule there is.",
        epilog="An example is `python -m src.schedules schedule=early schedule.cutoff=0.25,0.5 dropout1=0.4`. The "
        "exit code is 0 if the figure is drawn, 2 if a value is wrong, 130 if you interrupt it.",
    )
    parser.add_argument(
        "overrides",
        metavar="KEY=VALUE",
        nargs="*",
        help="A change of the config as `python -m src.train` takes it. Several values with commas between them "
        "make a panel each.",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help=f"The file to write; its ending, {', '.join(SUFFIXES)}, says in which format. It is schedules.png in "
        "the config's output folder if you do not give one.",
    )
    given = parser.parse_intermixed_args(arguments)
    runs = composed(given.overrides)
    path = given.out or Path(runs[0].output) / "schedules.png"
    if path.suffix not in SUFFIXES:
        raise InputError("--out", path, f"must end in {', '.join(SUFFIXES)}")
    figure = draw(runs)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        store.write_figure(path, figure, dpi=150)
    except MachineError:
        raise
    except OSError as error:
        raise InputError("--out", path, f"cannot be written ({error.strerror})") from None
    print(f"figure: {path}")


def composed(overrides: Sequence[str]) -> list[Run]:
    """The checked configs of these overrides, each schedule and pair of rates once.

    Raises:
        InputError, HydraException, OmegaConfBaseException: if an override is wrong.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    given = {override.get_key_element(): override for override in parsed}
    if "schedule" not in given:
        for key, override in given.items():
            if key.startswith("schedule."):
                value = override.get_value_element_as_str()
                raise InputError(key, value, "say of which schedule: add schedule=NAME")
        every = ",".join(components.names("schedule"))
        parsed = OverridesParser.create().parse_overrides([*overrides, f"schedule={every}"])
    combinations, runs = expand(parsed, []), {}
    if len(combinations) > MOST_PANELS:
        raise InputError(f"these are {len(combinations)} configs; the figure has room for {MOST_PANELS}")
    with hydra.initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        for settings in combinations:
            plain: Any = OmegaConf.to_container(hydra.compose("config", settings), resolve=True)
            run = config.parse(plain)
            runs[repr((run.schedule, run.dropout1, run.dropout2))] = run
    return list(runs.values())


def draw(runs: Sequence[Run]) -> Figure:
    """One panel a run: the rates of both layers over the share of training done."""
    columns = min(len(runs), 4)
    rows = -(-len(runs) // columns)
    rates_differ = len({(run.dropout1, run.dropout2) for run in runs}) > 1
    layout = ConstrainedLayoutEngine(wspace=0.06, hspace=0.04)
    figure = Figure(figsize=(1.2 + 2.7 * columns, 1.1 + 2.5 * rows), layout=layout)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    highest = max(max(run.dropout1, run.dropout2) for run in runs)
    for axis, run in zip(axes.flat, runs, strict=False):
        for layer, color, dash in LAYERS:
            p = getattr(run, layer)
            used = schedules.rates(run.schedule, p, STEPS)
            label = layer if rates_differ else f"{layer} = {p:g}"
            axis.plot([step / STEPS for step in range(STEPS)], used, dash, color=color, label=label, lw=1.8)
        axis.set_title(run.schedule.name, loc="left", fontsize=11, fontweight="bold", pad=18)
        settings = _settings(run, rates_differ)
        axis.text(0, 1.03, settings, transform=axis.transAxes, fontsize=8, color="0.35").set_in_layout(False)
        axis.set(xlim=(0, 1), ylim=(-0.03 * (highest or 1), 1.06 * (highest or 1)))
        axis.xaxis.set_major_locator(MultipleLocator(0.25))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.grid(color="0.9")
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(runs) :]:
        axis.set_visible(False)
    figure.supxlabel("share of training done", fontsize=10)
    figure.supylabel("rate (probability of dropping)", fontsize=10)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False, fontsize=10)
    return figure


def _settings(run: Run, with_rates: bool) -> str:
    """The panel's settings in small print."""
    words = [_said(key, value) for key, value in run.schedule.items() if key != "name" and value is not False]
    if with_rates:
        words.append(f"rates {run.dropout1:g} and {run.dropout2:g}")
    return textwrap.shorten(", ".join(words), 44, placeholder=" …")


def _said(key: str, value: Any) -> str:
    if value is True:
        return key
    if isinstance(value, list):
        return f"{key} {' '.join(f'({u:g}, {factor:g})' for u, factor in value)}"
    return f"{key} {value:g}"


if __name__ == "__main__":
    sys.exit(main())
