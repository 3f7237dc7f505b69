"""The chapter's report: every exercise's answer from its tables, on one page and in one text.

`trained` and `kept` take the tables from an output folder or from the files that an earlier report kept;
`answered` asks the exercises; `write` puts `index.html`, `report.md`, `figures/` and the tables into the
report's folder. No sentence stands here: the templates have them all.
"""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from analysis import design, exercises, figures, measures, page, phrases, tables
from analysis.design import Design
from analysis.exercises import Facts
from analysis.runs import InputError
from analysis.tables import Table
from src.runs import store


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


@dataclass(frozen=True)
class Chapter:
    """What a report says, and where it is written."""

    folder: Path
    source: Source
    sections: Sequence[Section]


def sweeps() -> list[str]:
    """Names of the exercises' sweeps, in the order of the exercises."""
    return list(dict.fromkeys(sweep for name in exercises.names() for sweep in exercises.load(name).SWEEPS))


def trained(output: Path, folder: Path, small: bool) -> Source:
    """Tables of an output folder's sweeps, kept in `folder` as well.

    A sweep's table is that of the folder with its name alone, which is its full size; with `small`, that of the
    folder with overrides behind the name, of several the one changed last.

    Raises:
        InputError: if no exercise has a usable sweep there.
    """
    root = output / "sweeps"
    changed = {path.parent.name: path.stat().st_mtime for path in sorted(root.glob("*/runs.csv"))}
    found: dict[str, Table] = {}
    unreadable: dict[str, str] = {}
    unused = []
    for sweep in sweeps():
        trimmed = sorted(_trimmed(changed, sweep), key=lambda name: changed[name])
        names, others = (trimmed, [sweep]) if small else ([sweep], trimmed)
        name = names[-1] if names else ""
        if name not in changed:
            unused += [f"{other} is not used: {_other(small)}" for other in others if other in changed]
            continue
        try:
            table = tables.collect(root / name)
        except InputError as error:
            unreadable[sweep] = str(error)
            continue
        tables.save(table, folder)
        # as it is read back: the kept files then give the same report
        found[sweep] = tables.load(folder, table.name)
    if not found:
        reasons = [*unreadable.values(), *unused]
        right = f"python -m analysis.reproduce{' --small' * small} trains the exercises"
        raise InputError(reasons[0] if reasons else f"{root} has no exercise's sweep; {right}")
    return Source(found, unused, unreadable)


def _trimmed(names: Iterable[str], sweep: str) -> list[str]:
    return [name for name in names if name.partition("__")[0] == sweep and name != sweep]


def _other(small: bool) -> str:
    return (
        "it is of full size; without --small it is" if small else "it is a small version; with --small it is"
    )


def kept(source: Path, folder: Path, small: bool) -> Source:
    """Tables that an earlier report left in `source`, kept in `folder` as well.

    Of a sweep's sizes the full one goes first, with `small` the trimmed one changed last. A table that cannot be
    read costs its exercise alone.

    Raises:
        InputError: if there is none that can be read.
    """
    changed = {path.stem: path.stat().st_mtime for path in sorted(source.glob("*.json"))}
    found: dict[str, Table] = {}
    unreadable: dict[str, str] = {}
    for sweep in sweeps():
        trimmed = sorted(_trimmed(changed, sweep), key=lambda name: changed[name])
        full = [sweep] * (sweep in changed)
        if names := [*full, *trimmed] if small else [*trimmed, *full]:
            try:
                found[sweep] = tables.load(source, names[-1])
            except InputError as error:
                unreadable[sweep] = str(error)
                continue
            if folder.resolve() != source.resolve():
                tables.save(found[sweep], folder)
    if not found:
        right = f"{source} has no exercise's table; a folder that analysis.report wrote is right"
        raise InputError(next(iter(unreadable.values()), right))
    return Source(found, unreadable=unreadable)


def answered(source: Source, folder: Path) -> Chapter:
    """Every exercise's answer; its figures are written into `folder`/figures."""
    sections = [_section(name, source, folder / "figures") for name in exercises.names()]
    drawn = {name for section in sections for name in (*section.figures, section.card)}
    for path in sorted((folder / "figures").glob("*")):
        if path.stem not in drawn and path.stem.startswith(tuple(f"{name}_" for name in exercises.names())):
            path.unlink()  # of an earlier report
    return Chapter(folder, source, sections)


def _section(name: str, source: Source, folder: Path) -> Section:
    module = exercises.load(name)
    own = {sweep: source.tables[sweep] for sweep in module.SWEEPS if sweep in source.tables}
    if module.SWEEPS[0] not in own:
        return Section(name, module, own, error=source.unreadable.get(module.SWEEPS[0], ""))
    try:
        facts = module.analyse(own)
        drawn = {f"{name}_{figure}": of for figure, of in module.draw(facts).items()}
        card = {f"{name}_card": figures.card(facts.primary)} if facts.tested else {}
        for figure, of in {**drawn, **card}.items():
            figures.save(of, folder, figure)
    except InputError as error:
        return Section(name, module, own, error=str(error))
    except Exception as error:  # one exercise's fault must not cost the others' answers
        traceback.print_exc(file=sys.stderr)
        return Section(name, module, own, error=f"{type(error).__name__}: {' '.join(str(error).split())}")
    return Section(name, module, own, facts, list(drawn), next(iter(card), ""))


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
    found = list(chapter.source.tables.values())
    said: dict[str, Any] = {
        "small": any(map(is_small, found)),
        "rests_on": rests_on(found),
        "by_name": {section.name: section.facts for section in chapter.sections if section.facts},
        "measures": measures,
        "layer": dropout_layer(),
    }
    sections = [_said(section, chapter.source.unreadable) for section in chapter.sections]
    for section in sections:
        template = environment.get_template(f"exercises/{section['name']}.md")
        blocks = environment.get_template("exercise.md").blocks | template.blocks
        context = template.new_context({**said, **section})
        is_tested = section["f"] is not None and section["f"].tested
        for block in ("title", "question", *["answer"] * is_tested):
            section[block] = phrases.Markup("".join(blocks[block](context)).strip())
        section["text"] = phrases.Markup(template.render({**said, **section}))
    return {**said, "sections": sections}


def _said(section: Section, unreadable: Mapping[str, str]) -> dict[str, Any]:
    """What the templates are given of one exercise."""
    module, first = section.module, section.tables.get(section.module.SWEEPS[0])
    designs = _designs(section)
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
        "trimmed": [table for table in section.tables.values() if is_small(table)],
        "missing": {sweep: found for sweep, found in missing.items() if found},
        "not_run": {
            sweep: unreadable.get(sweep, "") for sweep in module.SWEEPS if sweep not in section.tables
        },
        "commands": [_training(designs[s].command, section.tables.get(s), first) for s in module.SWEEPS],
        "runs": sum(len(table.runs) for table in section.tables.values()),
        "seconds": sum(table.runs["seconds"].sum() for table in section.tables.values()),
        "problems": [
            (table.sweep, problem) for table in section.tables.values() for problem in table.problems
        ],
    }


def _designs(section: Section) -> dict[str, Design]:
    """Of each sweep; arms that an earlier one chooses are those that it does choose."""
    first, *others = section.module.SWEEPS
    chosen: Sequence[str] = ()
    if others and first in section.tables:
        try:
            chosen = section.module.choose(section.tables[first])
        except InputError:
            chosen = ()
    return {sweep: design.read(sweep, chosen if sweep in others else ()) for sweep in section.module.SWEEPS}


def _training(command: str, table: Table | None, first: Table | None) -> str:
    """The command that trains a sweep, with what trimmed it, and the first one, which may choose its arms."""
    if first is not None and is_small(first):
        choice = f"analysis.choose {first.sweep}"
        command = command.replace(choice, f"{choice} --sweep {shlex.quote(first.name)}")
    trimmed = table.overrides if table is not None and is_small(table) else ()
    return " ".join([command, *map(shlex.quote, trimmed)])


def rests_on(found: Sequence[Table]) -> dict[str, Any]:
    """What the report rests on; a run that several sweeps share counts once."""
    every = pd.concat([table.runs for table in found])
    recorded = every.drop_duplicates("id")
    lost = {problem.id for table in found for problem in table.problems} - set(recorded["id"])
    return {
        "runs": len(recorded),
        "lost": len(lost),
        "shared": int((every["id"].value_counts() > 1).sum()),
        "run_epochs": int(recorded["epochs"].sum()),
        "seconds": float(recorded["seconds"].sum()),
        "data": phrases.distinct(recorded["data"]),
        "parameters": phrases.ends(recorded["parameters"]),
        "machine": phrases.distinct(table.machine for table in found),
        "device": phrases.distinct(recorded["device"]),
        "versions": phrases.distinct(recorded["versions"]),
        "commit": phrases.distinct(table.commit for table in found),
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
    said = content(chapter, language)
    text = page.render("chapter.md", said, language)
    title = text.partition("\n")[0].removeprefix("# ")
    store.write_whole(chapter.folder / page.name(page.TEXT, language), text)
    path = chapter.folder / page.name(page.PAGE, language)
    store.write_whole(path, page.html(text, title, chapter.folder, language))
    return path
