"""The chapter's report: every exercise's answer from its tables, on one page and in one text.

`read` takes the tables from an output folder or from the files that an earlier report kept; `answered` asks the
exercises; `write` puts `index.html`, `report.md`, `figures/` and the tables into the report's folder. No sentence
about a result is typed here: each comes from an exercise or from `statements`.
"""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from analysis import comparison, exercises, figures, pages, statements, statistics, tables, wording
from analysis.exercises import Answer, Grid, Picture
from analysis.runs import InputError
from analysis.tables import Table
from src import store

TITLE = "What dropout does: the chapter's exercises, answered by experiment"
PAGE, TEXT = comparison.PAGE, comparison.TEXT

NOTES = (
    comparison.LAST_EPOCH
    + " An exercise that looks at the course of training, or at the best epoch, says so.",
    "Accuracies are in percent and their differences in percentage points (pp); cross-entropies are means in "
    "nats. “Noise off” is the net as it predicts; a train accuracy without these words is the running mean over "
    "the epoch with the noise on.",
    "SD: sample standard deviation over the seeds. 95% CI: interval of the mean over the seeds, Student's t "
    f"below {statistics.SMALLEST_BOOTSTRAP} seeds and above {statistics.LARGEST_BOOTSTRAP:,}, BCa bootstrap in "
    "between. It says how far new seeds may move the mean; it does not cover the choice of the test images.",
    comparison.PAIRED,
    statistics.RULE,
)


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
    answer: Answer | None = None
    parts: Sequence[Mapping[str, Any]] = ()
    """The answer's parts as text, with the data of each picture."""
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

    Of a sweep's sizes the full one goes first, with `small` the trimmed one changed last.

    Raises:
        InputError: if there is none, or one cannot be read.
    """
    changed = {path.stem: path.stat().st_mtime for path in sorted(source.glob("*.json"))}
    found: dict[str, Table] = {}
    for sweep in sweeps():
        trimmed = sorted(_trimmed(changed, sweep), key=lambda name: changed[name])
        full = [sweep] * (sweep in changed)
        if names := [*full, *trimmed] if small else [*trimmed, *full]:
            found[sweep] = tables.load(source, names[-1])
            if folder.resolve() != source.resolve():
                tables.save(found[sweep], folder)
    if not found:
        raise InputError(f"{source} has no exercise's table; a folder that analysis.report wrote is right")
    return Source(found)


def answered(source: Source, folder: Path) -> Chapter:
    """Every exercise's answer; its figures are written into `folder`/figures."""
    sections = [_section(name, source, folder / "figures") for name in exercises.names()]
    drawn = {part["name"] for section in sections for part in section.parts if part["kind"] == "picture"}
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
        answer = module.answer(own)
        parts = [_part(name, part, folder) for part in answer.parts]
    except Exception as error:  # one exercise's fault must not cost the others' answers
        traceback.print_exc(file=sys.stderr)
        return Section(name, module, own, error=f"{type(error).__name__}: {' '.join(str(error).split())}")
    return Section(name, module, own, answer, parts)


def _part(exercise: str, part: Picture | Grid | str, folder: Path) -> dict[str, Any]:
    """A part of an answer for the templates; a picture is written into `folder`."""
    if isinstance(part, str):
        return {"kind": "text", "text": part}
    if isinstance(part, Grid):
        return {"kind": "grid", **asdict(part)}
    name = f"{exercise}_{part.name}"
    data = pages.embedded(*figures.save(part.figure, folder, name))
    alt = part.caption.partition(". ")[0]
    return {"kind": "picture", "name": name, "caption": part.caption, "alt": alt, "data": data}


def small(table: Table) -> str:
    """What makes a table a small version; empty for a full size."""
    if table.name == table.sweep:
        return ""
    return f"small version: {' '.join(table.overrides) or table.name.removeprefix(f'{table.sweep}__')}"


def faults(chapter: Chapter) -> list[str]:
    """A line for each run, sweep and exercise without a result."""
    lost = [str(problem) for table in chapter.source.tables.values() for problem in table.problems]
    failed = [f"exercise {section.name}: {section.error}" for section in chapter.sections if section.error]
    first = {section.module.SWEEPS[0] for section in chapter.sections}
    unreadable = [f"{sweep}: {why}" for sweep, why in chapter.source.unreadable.items() if sweep not in first]
    return [*lost, *failed, *unreadable]


def content(chapter: Chapter) -> dict[str, Any]:
    """Everything that the two templates say, as text; the same from an output folder and from kept tables."""
    answers = {section.name: section.answer for section in chapter.sections if section.answer}
    sections = [_said(section, chapter.source.unreadable) for section in chapter.sections]
    found = list(chapter.source.tables.values())
    is_small = any(map(small, found))
    option = " --small" if is_small else ""
    return {
        "title": TITLE,
        "small": is_small,
        "facts": facts(found),
        "sections": sections,
        "lost": [section for section in sections if section["problems"]],
        "broken": [section for section in sections if section["error"]],
        "open": [section for section in sections if section["outstanding"]],
        "statements": [
            {
                **asdict(said),
                "shown_by": [section for section in sections if section["name"] in said.exercises],
            }
            for said in statements.statements(chapter.source.tables, answers)
        ],
        "notes": NOTES,
        "reproduce_command": f"python -m analysis.reproduce{option}",
        "command": f"python -m analysis.report{option}",
        "from_command": "python -m analysis.report --from FOLDER",
    }


def facts(found: Sequence[Table]) -> list[tuple[str, str]]:
    """What the report rests on: pairs of a label and a text; a run that several sweeps share counts once."""
    every = pd.concat([table.runs for table in found])
    recorded = every.drop_duplicates("id")
    problems = {problem.id for table in found for problem in table.problems} - set(recorded["id"])
    rows = [
        ("Runs", _usable(len(recorded), len(problems)) + _common(every["id"])),
        ("Run-epochs", f"{int(recorded['epochs'].sum()):,}"),
        ("Training time, all runs", wording.duration(recorded["seconds"].sum())),
        ("Data set", wording.distinct(recorded["data"])),
        ("Parameters of the model", wording.ends(recorded["parameters"].dropna())),
        ("Machine", _distinct(table.machine for table in found)),
        ("Device", wording.distinct(recorded["device"])),
        ("Versions", wording.distinct(recorded["versions"])),
        ("Commit", _distinct(table.commit for table in found)),
    ]
    return [(label, text or "not recorded") for label, text in rows]


def _usable(usable: int, lost: int) -> str:
    return f"{usable:,} usable of {usable + lost:,}" if lost else f"{usable:,}"


def _common(ids: pd.Series) -> str:
    several = int((ids.value_counts() > 1).sum())
    return f"; {several:,} of them serve several sweeps" if several else ""


def _distinct(texts: Iterable[str]) -> str:
    return wording.distinct(pd.Series([text for text in texts if text], dtype=object))


def _said(section: Section, unreadable: Mapping[str, str]) -> dict[str, Any]:
    """What the templates say of one exercise."""
    module, answer = section.module, section.answer
    posed = {sweep: exercises.posed(sweep) for sweep in module.SWEEPS}
    said = answer.outstanding if answer else ()
    found = list(section.tables.values())
    first = section.tables.get(module.SWEEPS[0])
    problems = [(table.sweep, problem) for table in found for problem in table.problems]
    return {
        "name": section.name,
        "number": module.NUMBER,
        "title": module.TITLE,
        "question": posed[module.SWEEPS[0]].question,
        "posed": [asdict(each) for each in posed.values()],
        "small": [f"{table.sweep}, {small(table)}" for table in found if small(table)],
        "error": section.error,
        "headline": answer.headline if answer else "",
        "state": f"No answer: {section.error}" if section.error else "Not run yet",
        "n": answer.n if answer else "–",
        "verdict": list(answer.verdict) if answer else [],
        "parts": section.parts,
        "outstanding": [
            *({"why": text, "command": ""} for text in said),
            *(
                {"why": f"{sweep}, {unreadable.get(sweep, 'not run yet')}:", "command": each.command}
                for sweep, each in posed.items()
                if sweep not in section.tables and not any(each.command in text for text in said)
            ),
        ],
        "commands": [
            _training(each.command, section.tables.get(sweep), first) for sweep, each in posed.items()
        ],
        "runs": _runs(found) if found else "",
        "problems": [{"sweep": sweep, **asdict(problem)} for sweep, problem in problems],
        "lost": len(problems),
    }


def _training(command: str, table: Table | None, first: Table | None) -> str:
    """The command that trains a sweep, with what trimmed it, and the first one, which may choose its arms."""
    if first is not None and small(first):
        choice = f"analysis.choose {first.sweep}"
        command = command.replace(choice, f"{choice} --sweep {shlex.quote(first.name)}")
    trimmed = table.overrides if table is not None and small(table) else ()
    return " ".join([command, *map(shlex.quote, trimmed)])


def _runs(found: Sequence[Table]) -> str:
    """ "235 runs, 6 h 12 min of training"."""
    recorded = pd.concat([table.runs for table in found])
    lost = sum(len(table.problems) for table in found)
    time = wording.duration(recorded["seconds"].sum())
    return f"Runs: {_usable(len(recorded), lost)}; training time, all runs: {time}"


def write(chapter: Chapter) -> Path:
    """Write `index.html` and `report.md`; path of the page, which needs no other file and no network."""
    said = content(chapter)
    environment = pages.environment()
    for template, name in (("chapter.html", PAGE), ("chapter.md", TEXT)):
        store.write_whole(chapter.folder / name, environment.get_template(template).render(said))
    return chapter.folder / PAGE
