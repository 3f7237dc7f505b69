"""Files about the project are right: hooks equal lint, the workflow runs `.ci/run`, named paths exist."""

from __future__ import annotations

import re

import yaml
from configs import REPOSITORY


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


def test_changelog_has_the_form() -> None:
    page = (REPOSITORY / "CHANGELOG.md").read_text()
    assert page.startswith("# Changelog\n")
    kinds = set(re.findall(r"^### (.*)$", page, flags=re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert re.findall(r"^## \[(.*?)\]", page, flags=re.M)[0] == "Unreleased"
