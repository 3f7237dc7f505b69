"""The chapter's report: every exercise's answer from its tables, on one page and in one text.

`tables_of` takes the tables from an output folder or from the files that an earlier report kept; `answered` asks
the exercises and draws their figures; `write` puts a language's page and text into the report's folder. No sentence
stands here: the templates have them all.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis import charts, design, exercises, figures, lengths, measures, page, phrases, tables, translated
from analysis.arm_stats import ArmStats
from analysis.contrasts import Result
from analysis.design import Design
from analysis.exercises import Facts
from analysis.runs import InputError
from analysis.tables import Table

CURVES = f"{exercises.BOOK}_curves"


@dataclass(frozen=True)
class Source:
    """Where a report's tables came from."""

    tables: Mapping[str, Table]
    """By their sweep's name."""
    unused: Sequence[str] = ()
    """Lines about sweeps that are there in another size than asked for."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """By the sweep's name, why a sweep that is there gives no table."""


@dataclass(frozen=True)
class Section:
    """One exercise of the report."""

    name: str
    module: ModuleType
    tables: Mapping[str, Table]
    facts: Facts | None = None
    figures: Sequence[str] = ()
    """Names of the files, the most important one first."""
    card: str = ""
    """Name of the small picture's file."""
    error: str = ""
    """Why there is no answer although the exercise was run."""

    @property
    def beside(self) -> dict[str, Table]:
        """The tables that `make reproduce` does not train."""
        return {name: table for name, table in self.tables.items() if name not in self.module.SWEEPS}

    @property
    def choices(self) -> dict[str, Path]:
        """The committed tables there are of sweeps that chose settings, by their commands."""
        return {what: path for what, path in getattr(self.module, "CHOICES", {}).items() if path.exists()}


@dataclass(frozen=True)
class Chapter:
    """What a report says, and where it is written."""

    folder: Path
    source: Source
    sections: Sequence[Section]
    implementations: Result | None = None
    """From scratch minus concise; None where they were not compared."""
    unsteady: Sequence[ArmStats] = ()
    """Those of the two of which runs diverged or broke down."""


def sweeps() -> list[str]:
    """Names of the chapter's sweeps, in the order of the exercises."""
    of_exercises = (
        sweep for name in exercises.names() for sweep in exercises.sweeps_of(exercises.load(name))
    )
    return list(dict.fromkeys([exercises.BOOK, *of_exercises]))


def tables_of(source: Path, folder: Path, small: bool, kept: bool) -> Source:
    """Tables of the exercises' sweeps, left in `folder` as well.

    A sweep's full size goes by its name alone; trimmed ones have overrides behind the name, and of several the one
    changed last counts. Finished sweeps are taken in the size asked for. What an earlier report kept is taken in
    the other size where there is no such one.

    Args:
        source: OUTPUT/sweeps, or with `kept` an earlier report's folder.
        small: whether a trimmed sweep is asked for.

    Raises:
        InputError: if no exercise has a table that can be read; one alone costs its exercise.
    """
    paths = sorted(source.glob("*.json" if kept else "*/runs.csv"))
    changed = {path.stem if kept else path.parent.name: path.stat().st_mtime for path in paths}
    other_size = "of full size; without --small it is" if small else "a small version; with --small it is"
    by_sweep: dict[str, Table] = {}
    unreadable: dict[str, str] = {}
    unused = []
    for sweep in sweeps():
        full = [sweep] * (sweep in changed)
        trimmed = [name for name in changed if name.partition("__")[0] == sweep and name != sweep]
        trimmed.sort(key=changed.__getitem__)
        others, wanted = (full, trimmed) if small else (trimmed, full)
        names = [*others, *wanted] if kept else wanted
        if kept and not names and (source / f"{sweep}.csv.gz").exists():
            unreadable[sweep] = f"{source / sweep}.json, which belongs to {sweep}.csv.gz, is missing"
        if not names:
            unused += [f"{other} is not used: it is {other_size}" for other in others]
            continue
        try:
            table = tables.load(source, names[-1]) if kept else tables.collect(source / names[-1])
        except InputError as error:
            unreadable[sweep] = str(error)
            continue
        if folder.resolve() != source.resolve():
            tables.save(table, folder)
        # as it is read back: the kept files then give the same report
        by_sweep[sweep] = table if kept else tables.load(folder, table.name)
    if not by_sweep:
        right = f"{source} has no exercise's table; a folder that analysis.report wrote is right"
        if not kept:
            what = f"python -m analysis.reproduce{' --small' * small} trains the exercises"
            right = f"{source} has no exercise's sweep; {what}"
        raise InputError(next(iter([*unreadable.values(), *unused]), right))
    return Source(by_sweep, unused, unreadable)


def answered(source: Source, folder: Path, languages: Sequence[str] = ("en",)) -> Chapter:
    """Every exercise's answer; its figures are written into `folder`/figures, in each language."""
    sections = [_section(name, source, folder / "figures", languages) for name in exercises.names()]
    drawn = {name for section in sections for name in (*section.figures, section.card)} | {CURVES}
    for path in sorted((folder / "figures").glob("*")):
        stem = path.name.partition(".")[0]
        if stem not in drawn and stem.startswith(tuple(f"{name}_" for name in exercises.names())):
            path.unlink()  # of an earlier report
    return Chapter(folder, source, sections, *_implementations(source, folder / "figures", languages))


def _implementations(
    source: Source, folder: Path, languages: Sequence[str]
) -> tuple[Result | None, list[ArmStats]]:
    """The chapter's own curves, drawn; the difference of its two implementations, and which of them went wrong."""
    table = source.tables.get(exercises.BOOK)
    if table is None or "model" not in table.keys:
        return None, []
    save(charts.book_curves(table.epochs), folder, CURVES, languages)
    design, _ = exercises.promised(exercises.BOOK)
    arms, judged = exercises.judged(table, {arm["model"]: arm for arm in design.arms})
    return next(iter(judged), None), [arm for arm in arms.stats(()) if arm.bad]


def save(figure: Figure, folder: Path, name: str, languages: Sequence[str]) -> None:
    """Write a figure, in each language, into a folder."""
    figures.save(figure, folder, name)
    for language in sorted({*languages} - {"en"}):
        translated.save(figure, folder, f"{name}.{language}", page.phrases(language).label)


def _section(name: str, source: Source, folder: Path, languages: Sequence[str]) -> Section:
    module = exercises.load(name)
    read = {sweep: source.tables[sweep] for sweep in exercises.sweeps_of(module) if sweep in source.tables}
    if module.SWEEPS[0] not in read:
        return Section(name, module, read, error=source.unreadable.get(module.SWEEPS[0], ""))
    try:
        facts = module.analyse(read)
        drawn = {f"{name}_{figure}": of for figure, of in module.draw(facts).items()}
        card = {f"{name}_card": figures.card(facts.primary, phrases.named)} if facts.tested else {}
        for figure, of in {**drawn, **card}.items():
            save(of, folder, figure, languages)
    except InputError as error:
        return Section(name, module, read, error=str(error))
    except Exception as error:  # one exercise's fault must not cost the others' answers
        traceback.print_exc(file=sys.stderr)
        return Section(name, module, read, error=f"{type(error).__name__}: {' '.join(str(error).split())}")
    return Section(name, module, read, facts, list(drawn), next(iter(card), ""))


def is_small(table: Table) -> bool:
    """Whether a table is that of a small version."""
    return table.name != table.sweep


def faults(chapter: Chapter) -> list[str]:
    """A line for each run, sweep and exercise without a result."""
    lost = [str(problem) for table in chapter.source.tables.values() for problem in table.problems]
    failed = [f"exercise {section.name}: {section.error}" for section in chapter.sections if section.error]
    first = {section.module.SWEEPS[0] for section in chapter.sections}
    unreadable = [f"{sweep}: {why}" for sweep, why in chapter.source.unreadable.items() if sweep not in first]
    return [*lost, *failed, *unreadable]


def content(chapter: Chapter, language: str) -> dict[str, Any]:
    """Everything that the templates are given: numbers and names, no sentence."""
    environment = page.environment(language)
    noises = Path(os.path.relpath(tables.NOISES, chapter.folder))
    given = chapter.source.tables
    of_exercises = [table for name, table in given.items() if name != exercises.BOOK]
    rest = of_exercises or list(given.values())
    shared: dict[str, Any] = {
        "small": any(map(is_small, rest)),
        "rests_on": rests_on(rest),
        "lengths": _lengths(chapter),
        "left_out": _left_out(chapter),
        "by_name": {section.name: section.facts for section in chapter.sections if section.facts},
        "measures": measures,
        "layer": dropout_layer(),
        "curves": CURVES,
        "implementations": chapter.implementations,
        "unsteady": chapter.unsteady,
        "book": given.get(exercises.BOOK),
        "noises": (noises / page.name(page.TEXT, language)).as_posix(),
    }
    sections = [_said(section, chapter.source.unreadable) for section in chapter.sections]
    for section in sections:
        template = environment.get_template(f"exercises/{section['name']}.md")
        blocks = environment.get_template("exercise.md").blocks | template.blocks
        section["designs"] = [page.translated(design, language) for design in section["designs"]]
        context = template.new_context({**shared, **section})
        is_tested = section["f"] is not None and section["f"].tested
        for block in ("title", "question", *["answer"] * is_tested):
            section[block] = phrases.Markup("".join(blocks[block](context)).strip())
        section["text"] = phrases.Markup(template.render({**shared, **section}))
    return {**shared, "sections": sections}


def _said(section: Section, unreadable: Mapping[str, str]) -> dict[str, Any]:
    """What the templates are given of one exercise."""
    module, first = section.module, section.tables.get(section.module.SWEEPS[0])
    designs, read = _designs(section), section.tables.values()
    missing = {
        sweep: designs[sweep].missing(table)
        for sweep, table in section.tables.items()
        if not is_small(table) and designs[sweep].runs
    }
    return {
        "name": section.name,
        "number": module.NUMBER,
        "f": section.facts,
        "m": module,
        "error": section.error,
        "figures": section.figures,
        "card": section.card,
        "rules": module.RULES,
        "designs": list(designs.values()),
        "trimmed": [table for table in read if is_small(table)],
        "missing": {sweep: lack for sweep, lack in missing.items() if lack},
        "not_run": {
            name: unreadable.get(name, "")
            for name in exercises.sweeps_of(module)
            if name not in section.tables and (name in module.SWEEPS or name in unreadable)
        },
        "commands": [_training(of.command, section.tables.get(s), first) for s, of in designs.items()],
        "problems": [(table.sweep, problem) for table in read for problem in table.problems],
    }


def _lengths(chapter: Chapter) -> dict[str, lengths.Length]:
    """By their commands: of each exercise that was run, of all, and of what `_left_out` counts."""
    run = [section for section in chapter.sections if section.tables]
    beside = {name: of for section in run for name, of in section.beside.items()}
    read = {
        f"make reproduce ONLY={s.module.NUMBER}": [of for name, of in s.tables.items() if name not in beside]
        for s in run
    }
    read["make reproduce"] = [of for name, of in chapter.source.tables.items() if name not in beside]
    read |= {design.read(name).command: [of] for name, of in beside.items()}
    chosen = {command: path for section in run for command, path in section.choices.items()}
    return {command: lengths.length(table.runs for table in of) for command, of in read.items() if of} | {
        command: lengths.length([pd.read_csv(path)]) for command, path in chosen.items()
    }


def _left_out(chapter: Chapter) -> dict[str, dict[int, int]]:
    """Sweeps that `make reproduce` leaves out, by exercise: those `beside` its own, those that `chose` settings."""
    run = [section for section in chapter.sections if section.tables]
    return {
        "beside": {section.module.NUMBER: len(section.beside) for section in run if section.beside},
        "chose": {section.module.NUMBER: len(section.choices) for section in run if section.choices},
    }


def _designs(section: Section) -> dict[str, Design]:
    """Of each sweep; arms that an earlier one chooses are those that it does choose."""
    first, second = (*section.module.SWEEPS, None)[:2]
    chosen: Sequence[str] = ()
    if hasattr(section.module, "choose") and first in section.tables:
        with contextlib.suppress(InputError):
            chosen = section.module.choose(section.tables[first])
    read = (
        s for s in exercises.sweeps_of(section.module) if s in section.module.SWEEPS or s in section.tables
    )
    return {sweep: design.read(sweep, chosen if sweep == second else ()) for sweep in read}


def _training(command: str, table: Table | None, first: Table | None) -> str:
    """The command that trains a sweep, with what trimmed it, and the first one, which may choose its arms."""
    if first is not None and is_small(first):
        choice = f"analysis.choose {first.sweep}"
        command = command.replace(choice, f"{choice} --sweep {shlex.quote(first.name)}")
    trimmed = table.overrides if table is not None and is_small(table) else ()
    return " ".join([command, *map(shlex.quote, trimmed)])


def rests_on(read: Sequence[Table]) -> dict[str, Any]:
    """What the report rests on; a run that several sweeps share counts once."""
    every = pd.concat([table.runs for table in read])
    recorded = every.drop_duplicates(lengths.TRAINING)
    lost = {problem.id for table in read for problem in table.problems} - set(recorded["id"])
    return {
        "runs": len(recorded),
        "lost": len(lost),
        "shared": int((every.value_counts(lengths.TRAINING) > 1).sum()),
        "again": len(recorded) - recorded["id"].nunique(),
        "run_epochs": int(recorded["epochs"].sum()),
        "machine": phrases.distinct(table.machine for table in read),
        "commit": phrases.distinct(table.commit for table in read),
        **phrases.recorded(recorded),
    }


def dropout_layer() -> list[tuple[float, str]]:
    """The book's `dropout_layer` on the numbers 0 to 15, at three rates, as text."""
    import torch

    from src.noise.dropout import dropout_layer as layer

    X = torch.arange(16, dtype=torch.float32).reshape(2, 8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [(rate, str(layer(X, rate))) for rate in (0.0, 0.5, 1.0)]


def write(chapter: Chapter, language: str = "en") -> Path:
    """Write `index.html` and `report.md`; path of the page, which needs no other file and no network."""
    return page.write("chapter.md", content(chapter, language), chapter.folder, language)
