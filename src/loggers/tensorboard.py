"""TensorBoard: an event file a run in OUTPUT/tensorboard, with its parameters for the page HParams."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

from src.loggers import LoggedRun, Logger

PACKAGE = "tensorboard"
LONGEST = 80
"""Characters of a run's name in its folder's."""


class Tracker(Logger):
    """A folder a run, named by its overrides and its ID; it is there in one step, whole."""

    def __init__(self, output: Path) -> None:
        self._folder = output / "tensorboard"

    @property
    def place(self) -> str:
        return f"{self._folder} (tensorboard --logdir {self._folder})"

    def known(self) -> set[str]:
        return {path.name.rpartition("-")[2] for path in self._folder.glob("[!.]*")}

    def log(self, run: LoggedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        # beside the folder: what lies in it TensorBoard would show
        unfinished = self._folder.with_name(".tensorboard") / run.id
        shutil.rmtree(unfinished, ignore_errors=True)
        writer = SummaryWriter(str(unfinished))
        try:
            for row, time in zip(run.rows, run.times(), strict=True):
                for name, value in row.items():
                    if name != "epoch":
                        writer.add_scalar(name, value, int(row["epoch"]), walltime=time)
            last = {
                name: value for name, value in (run.rows[-1] if run.rows else {}).items() if name != "epoch"
            }
            params = {key: "null" if value is None else value for key, value in run.params.items()}
            for summary in hparams({"sweep": run.sweep, "state": run.state, **params}, last):
                writer._get_file_writer().add_summary(summary)
        finally:
            writer.close()
        name = re.sub(r"[^\w=.,+-]+", ",", run.name, flags=re.ASCII)[:LONGEST].strip(",")
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished.replace(self._folder / f"{name}-{run.id}")
        with contextlib.suppress(OSError):  # another process may have one there
            unfinished.parent.rmdir()
