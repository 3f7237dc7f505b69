"""Reports as plain values, for programs (`--json`) and for Python: see src/runs/README.md."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from analysis import comparison
from analysis.arm_stats import ArmStats
from analysis.comparison import Compared
from analysis.contrasts import Result
from src.errors import events
from src.stats import Interval


def facts(compared: Compared, page: Path) -> dict[str, Any]:
    """A comparison: its arms, what was judged with verdicts, what is only described, and what has no result.

    All numbers are stored ones: accuracies in [0, 1], losses in nats.
    """
    facts = {
        "name": compared.sweep.name,
        "folders": compared.folders,
        "page": page,
        "figures": _figures(page),
        "metric": compared.measure.column,
        "conclusion": comparison.conclusion(compared),
        "reference": compared.reference,
        "declared": compared.declared,
        "runs": comparison.facts(compared),
        "without": compared.without,
        "arms": [_arm(arm) for arm in (*compared.arms, *compared.empty)],
        "judged": [_contrast(result) for result in compared.judged],
        "described": [_contrast(result) for result in compared.described],
        "problems": [asdict(problem) for problem in compared.sweep.problems],
    }
    plain: dict[str, Any] = events.plain(facts)
    return plain


def _figures(page: Path) -> list[str]:
    """Files in `figures/` that the page shows: a report of another metric has left others there."""
    text = page.with_name("report.md").read_text(encoding="utf-8")
    return sorted(set(re.findall(r"\(figures/([^)]+\.png)\)", text)))


def _arm(arm: ArmStats) -> dict[str, Any]:
    return {
        "arm": arm.name,
        **{count: getattr(arm, count) for count in ("n", "planned", "diverged", "broken", "lost")},
        "metrics": {
            measure.column: {"mean": of.mean, "sd": of.sd, "n": of.n, "interval": _ends(of.interval)}
            for measure, of in arm.summaries.items()
        },
    }


def _contrast(result: Result) -> dict[str, Any]:
    verdict, paired = result.verdict, result.paired
    return {
        "a": result.contrast.a,
        "b": result.contrast.b,
        "metric": result.measure.column,
        "n": paired.n,
        "difference": paired.difference,
        "interval": _ends(paired.interval),
        "p": result.p,
        "family": result.family,
        "correlation": paired.correlation,
        "margin": result.margin,
        "verdict": verdict and result.said(verdict.word),
        "size": verdict and verdict.size,
        "excluded": verdict and verdict.excluded,
    }


def _ends(interval: Interval | None) -> list[float] | None:
    return [interval.lower, interval.upper] if interval else None
