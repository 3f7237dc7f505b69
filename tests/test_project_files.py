"""Files about the project are right: hooks equal lint, the workflow runs `.ci/run`, named paths exist."""

from __future__ import annotations

import csv
import gzip
import re

import pytest
import yaml
from configs import REPOSITORY, documented

from analysis.exercises import BOOK


def test_hooks_are_the_checks_of_make_lint() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    (recipe,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", makefile, flags=re.M)
    (repository,) = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    hooks = [hook["entry"] for hook in repository["hooks"]]
    assert hooks == [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}


def test_the_workflow_runs_the_one_command() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())
    steps = workflow["jobs"]["test"]["steps"]
    assert steps[0]["uses"].startswith("actions/checkout@")
    assert steps[-1] == {"run": ".ci/run"}


def test_paths_in_contributing_exist() -> None:
    """Who moves a file finds here that the page must move with it."""
    page = (REPOSITORY / "CONTRIBUTING.md").read_text()
    paths = set(re.findall(r"`([\w./]+(?:/|\.(?:py|yaml|md|toml)))`", page)) | {".ci/run"}
    assert len(paths) > 25
    missing = []
    for path in paths:
        place = (REPOSITORY / path).parent if "NAME" in path else REPOSITORY / path
        if not place.exists():
            missing.append(path)
    assert missing == []


def test_contributing_has_a_row_for_everything_new() -> None:
    page = (REPOSITORY / "CONTRIBUTING.md").read_text()
    rows = set(re.findall(r"^\| ([\w ]+?) \|", page, flags=re.M))
    named = {"noise", "schedule", "optimizer", "model", "data set", "engine", "metric", "exercise", "figure"}
    assert named <= rows


def test_the_readme_counts_the_runs_behind_its_answers() -> None:
    """A run of several tables counts once, unless it was trained for each, which shows in its time; and that of the
    nets' own comparison answers no exercise."""
    trainings: set[tuple[str, str]] = set()
    for path in (REPOSITORY / "analysis" / "results").glob("*.runs.csv.gz"):
        if not path.name.startswith(f"{BOOK}."):
            with gzip.open(path, "rt", newline="") as file:
                trainings |= {(row["id"], row["seconds"]) for row in csv.DictReader(file)}
    for name, text in (("README.md", "from {} runs"), ("README.zh.md", "来自 {} 次运行")):
        assert text.format(f"{len(trainings):,}") in (REPOSITORY / name).read_text(encoding="utf-8")


def test_the_readme_counts_what_can_be_injected() -> None:
    noises, *others = (documented(group) for group in ("noise", "schedule", "optimizer"))
    counts = [len(names) for names in (noises - {"none"}, *others)]
    for name, text in (
        ("README.md", "{} noises, {} schedules, {} optimizers"),
        ("README.zh.md", "{} 种噪声、{} 种调度、{} 种优化器"),
    ):
        assert text.format(*counts) in (REPOSITORY / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(("readme", "report"), [("README.md", "report.md"), ("README.zh.md", "report.zh.md")])
def test_the_readmes_answers_are_the_reports(readme: str, report: str) -> None:
    """Their differences, numbers of seeds and verdicts are those of the report's answer and what stands by it."""
    rows = re.findall(r"^\| (\d) \| (.*) \|$", (REPOSITORY / readme).read_text(encoding="utf-8"), flags=re.M)
    page = (REPOSITORY / "analysis" / "results" / report).read_text(encoding="utf-8").replace("−", "-")
    sections = re.split(r"^## (?:Exercise |练习 )(?=\d)", page, flags=re.M)[1:]
    assert [number for number, _ in rows] == [section[0] for section in sections] == list("1234567")
    for (_, row), section in zip(rows, sections, strict=True):
        title, answer, verdict = row.split(" | ")
        paragraphs = re.findall(r"^\*\*(?:Answer\.|答案。|How sure\.|有多确定。).*", section, flags=re.M)
        assert len(paragraphs) == 2
        numbers = re.findall(r"[-+]?\d+\.\d+", " ".join(paragraphs))
        for number in re.findall(r"-?\d+\.\d+", answer):
            assert number in numbers or f"+{number}" in numbers, (title, number)
        seeds = re.findall(r"(\d+) common seeds|共同的种子 (\d+) 个", paragraphs[1])
        answered = re.findall(r"\((\d+) seeds\)|（(\d+) 个种子）", answer)
        assert answered and [*map(max, answered)] == [*map(max, seeds)], title
        assert re.search(r'<span class="badge.*?">(.*?)</span>', paragraphs[0]).group(1) == verdict, title  # type: ignore[union-attr]


def test_both_readmes_say_the_same() -> None:
    """The same commands in their order, the same links and pictures, and in each row the same numbers."""
    english, chinese = ((REPOSITORY / name).read_text() for name in ("README.md", "README.zh.md"))

    def code(page: str) -> list[str]:
        blocks = "".join(re.findall(r"^```\w+\n(.*?)^```", page, flags=re.M | re.S))
        return [re.sub(r"\s+#.*", "", line) for line in blocks.splitlines()]

    def links(page: str) -> list[str]:
        below_the_head = page.split("\n\n", 2)[2]  # which links the other page
        return re.findall(r"\]\(([^)]+)\)", below_the_head)

    def answers(page: str) -> list[list[str]]:
        rows = re.findall(r"^\| (?=\d).*", page, flags=re.M)
        # whole numbers may be words in English
        return [re.findall(r"-?\d+\.\d+|\b\d+(?=\)| 个种子)", re.sub(r" seeds\)", ")", row)) for row in rows]

    assert code(english) == code(chinese)
    assert sorted(links(english)) == sorted(links(chinese))
    assert len(answers(english)) == 7
    assert answers(english) == answers(chinese)


def test_changelog_has_the_form() -> None:
    page = (REPOSITORY / "CHANGELOG.md").read_text()
    assert page.startswith("# Changelog\n")
    kinds = set(re.findall(r"^### (.*)$", page, flags=re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert re.findall(r"^## \[(.*?)\]", page, flags=re.M)[0] == "Unreleased"
    assert [line for line in page.splitlines() if len(line) > 130] == []
