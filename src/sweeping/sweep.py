"""A sweep from its overrides to `runs.csv`: plan, train through a campaign, say how it went.

What brings torch is imported once the engine has started, whose workers import it at the same time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from src import engines, importing
from src.engines import Engine, settings
from src.engines.settings import Settings
from src.errors import SOME_RUNS_LOST, InputError
from src.runs import store, sweep_folder, tags
from src.sweeping import naming, planning

if TYPE_CHECKING:
    from src.config import Run
    from src.runs.job import Job, Record
    from src.sweeping.campaign import Campaign
    from src.sweeping.decisions import Decisions
    from src.sweeping.display import Display


def sweep(sweeper: Any, arguments: Sequence[str]) -> None:
    """The arms sweeper's work: expand the overrides, check every job, and train all.

    Raises:
        InputError: before anything is written, for the first thing that is wrong.
        SystemExit: with code 1, once all have ended, if a run failed or diverged.
    """
    job_overrides = expanded(sweeper, arguments)
    swept = planning.swept_keys(job_overrides)
    chosen = packed(sweeper.config)
    folder = checked_folder(sweeper.config)
    with started(None if sweeper.plan else chosen) as engine:
        with importing():
            from src.runs.job import ready
            from src.sweeping import dry_run
            from src.sweeping.display import Display
        if decisions := _decisions(sweeper, job_overrides, swept, folder):
            jobs = decisions.every if sweeper.plan else decisions.first
        else:
            jobs = planning.distinct(plan(sweeper, job_overrides), swept)
            _check_primary(sweeper, job_overrides, jobs)
        plan_of_looks = decisions.until.text() if decisions else ""
        sweep_folder.check(folder, _text_of(sweeper.config), plan_of_looks)
        if sweeper.plan:
            dry_run.show(jobs, folder, chosen)
            if decisions:
                print(f"at least {len(decisions.first)} of these runs: {decisions.line()}")
            return
        ready([job.run for job in jobs], here=trains_here(chosen))
        claim(sweeper.config, jobs[0].run, plan_of_looks)
        save_multirun(folder, sweeper.config)
        display = Display(swept, best=decisions.line if decisions else None)
        at_once = decisions.largest_wave if decisions else None
        with campaign_of(sweeper, engine, display, at_once) as campaign:
            if decisions:
                jobs = decisions.run(campaign)
            else:
                campaign.train(jobs)
    if decisions:
        decisions.show()
    if _end(campaign, jobs):
        raise SystemExit(SOME_RUNS_LOST)


def _check_primary(sweeper: Any, job_overrides: Sequence[Sequence[str]], jobs: Sequence[Job]) -> None:
    """Refuses what a sweep without looks declares wrongly, as `until.check_primary`."""
    from src.sweeping import until
    from src.sweeping.arms import groups_of

    typed = [naming.key_of(override) for override in naming.given(sweeper.config)[1]]
    count = len(groups_of(job_overrides))
    arms: int | None = count
    if not {f"{until.PRIMARY}.contrast", f"{until.PRIMARY}.reference"} & {*typed}:
        # a file speaks of its own arms, which the command line may have trimmed, or replaced
        replaced = any(key.startswith((naming.ARMS, f"{naming.SWEEPER}.params")) for key in typed)
        arms = None if replaced else max(count, len(groups_of(expanded(sweeper, []))))
    until.check_primary(sweeper.primary, arms, [job.run for job in jobs])


def _looks(sweeper: Any) -> tuple[int, ...]:
    if (sweeper.until or {}).get("looks") is None:
        return ()
    from src.sweeping import until  # brings scipy, for which no other sweep need wait

    return until.looks_of(sweeper)


def _decisions(
    sweeper: Any, job_overrides: Sequence[Sequence[str]], swept: Sequence[str], folder: Path
) -> Decisions | None:
    """The looks that this sweep takes; None where it takes none."""
    if not (looks := _looks(sweeper)):
        return None
    from src.sweeping import until
    from src.sweeping.arms import arms_of
    from src.sweeping.decisions import Decisions

    arms = arms_of(looks, planner_of(sweeper), job_overrides, swept)
    return Decisions(until.parse(sweeper, [arm.jobs(1)[0].run for arm in arms]), arms, folder)


def launch(launcher: Any, job_overrides: Sequence[Sequence[str]], first_number: int) -> Sequence[JobReturn]:
    """The packed launcher's work under another sweeper than ours, which may launch once or in batches.

    Raises:
        InputError: before anything is written, for the first thing that is wrong.
    """
    from src.runs.job import ready
    from src.sweeping.display import Display

    if not job_overrides:
        raise InputError("this sweep holds no run")
    chosen, earlier = settings.parse(launcher.config.hydra.launcher), launcher.earlier
    overrides = [*(job.overrides for job, _ in earlier), *job_overrides]
    swept = planning.swept_keys(overrides)
    planning.check_keys(overrides)
    jobs = plan(launcher, job_overrides, first_number)
    different = planning.distinct([*(job for job, _ in earlier), *jobs], swept)
    checked_folder(launcher.config)
    ready([job.run for job in jobs], here=trains_here(chosen))
    claim(launcher.config, jobs[0].run)
    with started(chosen) as engine, campaign_of(launcher, engine, Display(swept)) as campaign:
        campaign.table.extend(different)
        campaign.table.records |= {record["id"]: record for _, record in earlier}
        campaign.train([job for job in different if job.id not in campaign.table.records])
    records = campaign.table.records
    launcher.earlier = [(job, records[job.id]) for job in different]
    if _end(campaign, different):
        launcher.hydra_context.callbacks.callbacks.insert(0, _SomeFailed())
    return [_job_return(job, records[job.id]) for job in jobs]


class _SomeFailed(Callback):
    """Ends the process with code 1 once the sweeper has launched everything; the first one is called last."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        raise SystemExit(SOME_RUNS_LOST)


def expanded(sweeper: Any, arguments: Sequence[str]) -> list[list[str]]:
    """Overrides of each job of the arms sweeper."""
    if sweeper.arms is None:
        raise InputError("hydra.sweeper.arms", None, "this sweep's arms must be given; its file says how")
    _check_texts(sweeper, {naming.key_of(argument) for argument in arguments})
    parser, overrides = parsed(sweeper, arguments)
    arms = [parser.parse_overrides(planning.split_arm(arm)) for arm in sweeper.arms]
    given = {override.key_or_group for override in itertools.chain(overrides, *arms)}
    if (looks := _looks(sweeper)) and "seed" not in given:
        overrides += parser.parse_overrides([f"seed=range({looks[-1]})"])
    return planning.expand(overrides, arms)


def parsed(sweeper: Any, arguments: Sequence[str]) -> tuple[OverridesParser, list[Override]]:
    """A sweeper's params and behind them the command line's overrides, and what has parsed them."""
    parser = OverridesParser.create(config_loader=sweeper.hydra_context.config_loader)
    params = [f"{key}={value}" for key, value in sweeper.params.items()]
    return parser, [o for o in parser.parse_overrides([*params, *arguments]) if o.key_or_group != "sweep"]


def _check_texts(sweeper: Any, overridden: Set[str]) -> None:
    """Raises InputError for arms and params that are no texts, or of which something would be dropped: a sweep that
    they name, and an arm's settings of a key that params set as well.

    Args:
        overridden: keys of the command line, which win over both.
    """
    for arm in sweeper.arms:
        if not isinstance(arm, str):
            raise InputError("hydra.sweeper.arms", arm, 'must hold texts such as "dropout1=0.2 dropout2=0.5"')
    of_arms = {naming.key_of(override) for arm in sweeper.arms for override in planning.split_arm(arm)}
    if "sweep" in {*sweeper.params, *of_arms}:
        raise InputError("a sweep cannot name another one; sweep=NAME belongs on the command line")
    for key, value in sweeper.params.items():
        right = ""
        if isinstance(value, Mapping):
            right = f"must be a text such as 0.1,0.2; a key inside it is written {key}.KEY"
        elif key in of_arms - overridden:
            right = "would win over what arms say of this key; one of the two places is right"
        if right:
            raise InputError(f"hydra.sweeper.params.{key}", value, right)


def plan(plugin: Any, job_overrides: Sequence[Sequence[str]], first_number: int = 0) -> list[Job]:
    """Checked jobs of these overrides; `plugin` is a sweeper or launcher that Hydra has set up."""
    planner = planner_of(plugin)
    return [planner.job(overrides, number) for number, overrides in enumerate(job_overrides, first_number)]


def planner_of(plugin: Any) -> planning.Planner:
    return planning.Planner(plugin.hydra_context.config_loader, plugin.config)


def packed(config: DictConfig) -> Settings | None:
    """What the config says of our own launcher, checked; None where it names another one."""
    is_ours = config.hydra.launcher._target_.endswith(".PackedLauncher")
    return settings.parse(config.hydra.launcher) if is_ours else None


def trains_here(chosen: Settings | None) -> bool:
    """Whether runs train on this machine's devices."""
    return chosen is None or chosen.here


def started(chosen: Settings | None) -> AbstractContextManager[Engine | None]:
    """The engine of these settings, whose workers import while we plan; None without settings."""
    return nullcontext() if chosen is None else closing(engines.start(chosen))


def _text_of(config: DictConfig) -> str:
    """What this sweep sweeps, by which its folder is known."""
    task, hydra = naming.given(config)
    return naming.sweep_text([*task, *hydra])


def checked_folder(config: DictConfig) -> Path:
    """The sweep's folder; InputError where it is another sweep's, or has no name."""
    if not config.hydra.sweep.dir:
        raise InputError(
            "hydra.sweep.dir", "", "must be the folder of this sweep, such as outputs/sweeps/mine"
        )
    folder = Path(config.hydra.sweep.dir)
    sweep_folder.check(folder, _text_of(config))
    return folder


def claim(config: DictConfig, run: Run, plan_of_looks: str = "") -> None:
    """Makes the folder this sweep's, with the tags of its runs, which are the same for all."""
    folder = Path(config.hydra.sweep.dir)
    sweep_folder.claim(folder, _text_of(config), run.output, plan_of_looks)
    tags.add(folder, run.tags, run.note)


def campaign_of(
    plugin: Any,
    engine: Engine | None,
    display: Display,
    at_once: int | None = None,
    kept: Callable[[], str] | None = None,
) -> Campaign:
    """The campaign of a sweeper or launcher on our engine, or without one through another launcher of Hydra's."""
    from src.sweeping.campaign import Campaign, Launched

    folder, chosen = Path(plugin.config.hydra.sweep.dir), packed(plugin.config)
    if engine is None or chosen is None:
        return Launched(folder, display.swept, plugin.hydras_launcher(), display, kept=kept)
    options = {"pack_size": chosen.pack_size, "at_once": at_once}
    return Campaign(folder, display.swept, engine, display, **options, kept=kept)


def save_multirun(folder: Path, hydra_config: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    store.sweep_up(folder)
    store.write_whole(folder / "multirun.yaml", OmegaConf.to_yaml(hydra_config))


def _end(campaign: Campaign, jobs: Sequence[Job]) -> bool:
    """A summary; whether a run failed or diverged."""
    from src.sweeping.display import summary

    results = [(job, campaign.table.records[job.id]) for job in jobs]
    summary(results, campaign.table.swept, campaign.table.folder)
    return any(record["state"] != store.FINISHED for _, record in results)


def _job_return(job: Job, record: Record) -> JobReturn:
    returned = JobReturn(overrides=job.overrides, working_dir=str(job.folder), task_name="train")
    returned.status, returned.return_value = JobStatus.COMPLETED, record
    return returned
