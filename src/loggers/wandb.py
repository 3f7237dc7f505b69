"""Weights & Biases: offline in OUTPUT/wandb, to be sent by `wandb sync`, or at once with WANDB_MODE=online."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

from src.loggers import PROJECT, LoggedRun, Logger

PACKAGE = "wandb"
PATIENCE = 30
"""Seconds for a server's first answer, of which its own default is 90, and for the end of a run's file."""
BLOCK = 32768
"""Bytes of a block of that file."""


class Tracker(Logger):
    """A run of W&B a run, whose id is ours, in the project WANDB_PROJECT or `dropout-sweeps`.

    It is known by its folder: what was sent from another machine is sent once more, under the same id.
    """

    def __init__(self, output: Path) -> None:
        self._folder = output / "wandb"
        self._mode = os.environ.get("WANDB_MODE", "offline")

    @property
    def place(self) -> str:
        if self._mode == "offline":
            return f"{self._folder} (wandb sync {self._folder}/offline-run-*)"
        return f"W&B ({self._mode})"

    def known(self) -> set[str]:
        return {path.name.rpartition("-")[2] for path in self._folder.glob("*run-*")}

    def log(self, run: LoggedRun) -> None:
        import wandb

        unfinished = self._folder.with_name(".wandb") / run.id
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        mode: Any = self._mode
        settings = wandb.Settings(
            silent=True,
            console="off",
            save_code=False,
            disable_git=True,
            x_disable_stats=True,
            init_timeout=PATIENCE,
        )
        began = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.id,
            name=run.name,
            group=run.sweep or None,
            config={**run.params, "state": run.state},
            dir=unfinished,
            mode=mode,
            resume="allow" if mode == "online" else None,
            reinit="create_new",
            settings=settings,
        )
        try:
            for row in run.rows:
                began.log(
                    {name: value for name, value in row.items() if name != "epoch"}, step=int(row["epoch"])
                )
        finally:
            began.finish(exit_code=int(run.diverged))
        if mode == "offline":
            self._await(unfinished, run)
        self._folder.mkdir(parents=True, exist_ok=True)
        for folder in (unfinished / "wandb").glob("*run-*"):  # there in one step, whole
            if folder.is_dir() and not folder.is_symlink():
                folder.replace(self._folder / folder.name)
        shutil.rmtree(unfinished, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process may have one there
            unfinished.parent.rmdir()

    def _await(self, folder: Path, run: LoggedRun) -> None:
        """Until W&B's own process has written the whole run: on a busy machine it may not when `finish` returns.

        Raises:
            TimeoutError: if it does not.
        """
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            content = b"".join(path.read_bytes() for path in folder.glob("wandb/offline-run-*/*.wandb"))
            # an epoch's row names its step; a name on the border of two of the file's blocks is not seen
            rows = content.count(b"_step") + len(content) // BLOCK
            if run.id.encode() in content and rows >= len(run.rows):
                return
            time.sleep(0.1)
        raise TimeoutError(f"W&B has not written the run after {PATIENCE} seconds")
