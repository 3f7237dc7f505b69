"""Sweeps from Python: `pip install -e .` makes this importable from scripts and notebooks in any folder.

    from dropout_sweeps import sweep
    noises = sweep("noise=dropout,gaussian", "seed=range(10)", "epochs=3")
    noises.table()        # a row a run
    noises.compare()      # verdicts, figures and a page

Overrides, files, IDs and resuming are those of `python -m src.train`. Each call starts it as a process of its own,
which sees the code as it is now and leaves nothing behind in this one. See sweeps/README.md.
"""

from importlib.metadata import version

from . import _project as _project  # first: what follows imports src
from ._calls import InputError, MachineError, plan, run, sweep
from ._results import Comparison, Run, Sweep, load_model

__version__ = version("dropout-sweeps")
__all__ = [
    "Comparison",
    "InputError",
    "MachineError",
    "Run",
    "Sweep",
    "load_model",
    "plan",
    "run",
    "sweep",
]
