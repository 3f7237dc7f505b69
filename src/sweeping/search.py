"""A search: Optuna proposes settings, a campaign trains them, Optuna is told, and so on.

    python -m src.train -m hydra/sweeper=optuna data.validation=10000 'dropout1=interval(0,0.8)'

Trials are asked for as workers become free, or in batches, which make the search reproducible. They train through
one campaign, so ids, skipping, packs and isolation are those of `src.sweeping.campaign`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from src.errors import SOME_RUNS_LOST, InputError
from src.runs import sweep_folder, tags
from src.runs.job import Record, ready
from src.sweeping import dry_run, planning, samplers, search_options, study
from src.sweeping.space import parse as parse_space
from src.sweeping.sweep import packed, parsed, save_multirun, started, text_of, trains_here
from src.sweeping.trials import Search


def search(sweeper: Any, arguments: Sequence[str]) -> list[list[Record]]:
    """The Optuna sweeper's work; `sweeper` is set up by Hydra.

    Raises:
        InputError: before anything is written, for the first thing that is wrong.
        SystemExit: with code 1, once all trials have ended, if one has no result.
    """
    options = search_options.parse(sweeper.options)
    seeds, given = search_options.seeds(parsed(sweeper, arguments)[1])
    space = parse_space(given)
    search_options.check_space(space, options)
    search_options.check_pruner(options, seeds)
    chosen, folder = packed(sweeper.config), Path(sweeper.config.hydra.sweep.dir)
    planner = planning.Planner(sweeper.hydra_context.config_loader, sweeper.config)
    sweep_folder.check(folder, text_of(sweeper.config))
    with started(None if sweeper.plan else chosen) as engine:
        corners = search_options.corners(planner, space, seeds)
        if sweeper.plan:
            runs_of, ended = max(1, len(seeds)), search_options.ended_before(folder)
            dry_run.show(
                corners, folder, chosen, runs_of * search_options.total(space, options), runs_of * ended
            )
            return []
        ready([job.run for job in corners], here=trains_here(chosen))
        options = search_options.batched(options, chosen, corners[0].run)
        about = search_options.about(space, options, seeds)
        search_options.check_same(folder, about)
        with _alone(folder):
            first = corners[0].run
            sweep_folder.claim(folder, text_of(sweeper.config), first.output)
            tags.add(folder, first.tags, first.note)
            save_multirun(folder, sweeper.config)
            sampler = samplers.sampler_by_name(
                options.sampler, options.seed, options.batch_size, search_options.grid(space, options)
            )
            memory = study.Study(
                folder,
                options.directions,
                space.distributions,
                sampler,
                about,
                is_durable=options.batch_size is None,
            )
            searching = Search(planner, space, options, memory, folder, seeds)
            returned = searching.run(engine, chosen, sweeper)
    if searching.end():
        raise SystemExit(SOME_RUNS_LOST)
    return returned


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps a second process from the folder's search; the system frees a dead owner's lock."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".search.lock", timeout=0):
            yield
    except Timeout:
        raise InputError(
            f"{folder}: another process is at this search; wait for its end, or end it"
        ) from None
