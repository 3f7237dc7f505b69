"""The chapter as a notebook, in both languages: the same code, no outputs, and it runs from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from configs import REPOSITORY

FOLDER = REPOSITORY / "analysis" / "notebooks"
LANGUAGES = {"en": "dropout.ipynb", "zh": "dropout.zh.ipynb"}
READMES = {"en": "README.md", "zh": "README.zh.md"}


def read(language: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / LANGUAGES[language], as_version=4)


def texts(language: str, kind: str) -> list[str]:
    return [cell.source for cell in read(language).cells if cell.cell_type == kind]


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_whole_and_holds_no_outputs(language: str) -> None:
    notebook = read(language)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]


def test_both_languages_have_the_same_code_in_the_same_places() -> None:
    assert texts("en", "code") == texts("zh", "code")
    assert [cell.cell_type for cell in read("en").cells] == [cell.cell_type for cell in read("zh").cells]


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_are_those_of_the_readme_and_their_links_lead_somewhere(language: str) -> None:
    readme = (REPOSITORY / READMES[language]).read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d \| [^|]+ \| ([^|]+) \|", readme, flags=re.M)
    answers = [text for text in texts(language, "markdown") if text.startswith("<details>")]
    assert len(answers) == len(rows) == 7
    for answer, row in zip(answers, rows, strict=True):
        assert re.findall(r"-?\d+\.\d+", answer.partition("](")[0]) == re.findall(r"-?\d+\.\d+", row)
    links = [link for text in texts(language, "markdown") for link in re.findall(r"\]\(([^)]+)\)", text)]
    for link in links:
        path, _, anchor = link.partition("#")
        page = (FOLDER / path).resolve()
        assert page.is_file(), link
        assert not anchor or f'<a id="{anchor}"></a>' in page.read_text(encoding="utf-8"), link


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """In one language: the code is the same in both."""
    from nbclient import NotebookClient

    notebook = read("en")
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    shown = [output for cell in code for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2
    bars = [
        html for output in shown if "runs finished" in (html := output.get("data", {}).get("text/html", ""))
    ]
    assert len(bars) == 6 and not [bar for bar in bars if "failed" in bar]
    (page,) = tmp_path.glob("outputs/sweeps/*uniform*/index.html")
    assert page.stat().st_size > 10_000
