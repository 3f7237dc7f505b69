"""`analysis.check`: each usual mistake is a small file that is named rightly; right files of many styles pass."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from learners import BOOK, BOOK_LAYER, BOOK_NET, HEAD, RIGHT, SCALED, TWICE, WRONG, changed, layer

from analysis.check import messages
from analysis.check.child import examine
from analysis.check.layer import CALLS, FALSE_ALARM, IMAGES, LEVEL, TESTS, UNITS
from analysis.check.learner import Report


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A learner's file is imported, here in the tests' own process."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    dtype = torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)
    sys.modules.pop("learner", None)


def examined(folder: Path, source: str) -> Report:
    path = folder / "mine.py"
    path.write_text(HEAD + source)
    return examine(path)


@pytest.mark.parametrize("case", WRONG)
def test_names_the_mistake_and_its_line(case: str, tmp_path: Path) -> None:
    source, names, part = WRONG[case]
    report = examined(tmp_path, source)
    assert report.cannot is None
    assert {mistake.name for mistake in report.mistakes} == names
    first = report.mistakes[0]
    number = first.line or messages.line_of(messages.MISTAKES[first.name], HEAD + source)
    assert number is not None and part in (HEAD + source).splitlines()[number - 1]


@pytest.mark.parametrize("case", RIGHT)
def test_right_files_pass(case: str, tmp_path: Path) -> None:
    report = examined(tmp_path, RIGHT[case])
    assert report.cannot is None and report.mistakes == []
    assert report.right


def test_every_mistake_that_can_be_named_is_tested() -> None:
    assert set().union(*(names for _, names, _ in WRONG.values())) == set(messages.MISTAKES)


def test_false_alarms_are_as_rare_as_promised() -> None:
    """The binomial bounds of all tests together, in exact arithmetic, and what else is drawn."""
    from scipy import stats

    numbers = CALLS * IMAGES * UNITS
    total = 0.0
    for rate in (0.2, 0.5, 0.8):
        low, high = stats.binom.ppf(LEVEL, numbers, rate), stats.binom.isf(LEVEL, numbers, rate)
        total += stats.binom.cdf(low - 1, numbers, rate) + stats.binom.sf(high, numbers, rate)
    for pairs in (numbers - IMAGES * UNITS, numbers - CALLS * UNITS, numbers - CALLS * IMAGES):
        total += stats.binom.sf(stats.binom.isf(LEVEL, pairs, 0.5), pairs, 0.5)
    zeros_at_0 = stats.binom.isf(LEVEL, IMAGES * UNITS, 2.0**-24)
    total += stats.binom.sf(zeros_at_0, IMAGES * UNITS, 2.0**-24)
    equal_masks = (CALLS * IMAGES) ** 2 / 2 * 0.5**UNITS
    assert 0 < total + equal_masks <= FALSE_ALARM <= 1e-6
    assert pytest.approx(FALSE_ALARM) == TESTS * LEVEL


def test_a_rate_that_is_off_by_one_percent_is_seen(tmp_path: Path) -> None:
    """The bounds are wide enough for chance, and narrow enough to be of use."""
    report = examined(tmp_path, layer("mask = torch.rand(X.shape) > dropout + 0.01", SCALED))
    assert [mistake.name for mistake in report.mistakes] == ["wrong_rate"]


@pytest.mark.parametrize("seed", range(5))
def test_right_whatever_the_random_numbers(seed: int, tmp_path: Path) -> None:
    report = examined(
        tmp_path, f"torch.manual_seed = lambda s: torch.default_generator.manual_seed({seed})" + BOOK
    )
    assert report.mistakes == []


CANNOT = {
    "no dropout_layer": ("x = 1\n", r"^there is no function `dropout_layer\(X, dropout\)` in it$"),
    "a slip in the grammar": (BOOK + "def f(:\n", r"line \d+: SyntaxError: invalid syntax"),
    "a notebook's line": ("%matplotlib inline\n" + BOOK, r"line \d+: SyntaxError"),
    "a package that is missing": (
        "import no_such_package_at_all\n" + BOOK,
        "line 7: .*no_such_package_at_all",
    ),
    "it stops": (BOOK + "1 / 0\n", r"line \d+: ZeroDivisionError: division by zero"),
    "it leaves": ("import sys\nsys.exit('bye')\n" + BOOK, "line 8: SystemExit: bye"),
    "it asks": ("input()\n" + BOOK, r"line \d+: "),
    "another Net": (
        BOOK_LAYER + "class Net(nn.Module):\n    def __init__(self, a, b):\n        super().__init__()\n",
        r"Net must be made as Net\(num_inputs, num_outputs, num_hiddens1, num_hiddens2\); yours is Net\(a, b\)",
    ),
    "a Net that is none": (
        BOOK_LAYER + "def Net(*sizes):\n    return 3\n",
        "must give an nn.Module, not int",
    ),
}


@pytest.mark.parametrize("case", CANNOT)
def test_what_cannot_be_run_is_one_line(case: str, tmp_path: Path) -> None:
    source, right = CANNOT[case]
    cannot = examined(tmp_path, source).cannot
    assert cannot is not None and re.search(right, cannot) and "\n" not in cannot


def test_a_file_with_the_books_package(tmp_path: Path) -> None:
    """Without d2l, what fetches data, trains and draws by it is left out, and said."""
    source = (
        changed(
            ("\nnum_inputs,", "from d2l import torch as d2l\nnum_inputs,"),
        )
        + "train_iter, test_iter = d2l.load_data_fashion_mnist(256)\n"
        + "for X, y in train_iter:\n    d2l.show(X)\nZ = X\n"
    )
    report = examined(tmp_path, source)
    lines = (HEAD + source).splitlines()
    left_out = [number for number, line in enumerate(lines, 1) if "d2l" in line or line == "Z = X"]
    left_out = [number for number in left_out if "show" not in lines[number - 1]]
    left_out.insert(2, lines.index("for X, y in train_iter:") + 1)
    listed = ", ".join(map(str, left_out))
    assert report.notes == [f"Left out, as the package d2l is not installed here: lines {listed}."]
    assert report.cannot is None and report.mistakes == []


def test_rates_of_a_net_are_those_of_its_band(tmp_path: Path) -> None:
    report = examined(tmp_path, changed(("0.2, 0.5", "0.3, 0.4")))
    assert report.rates == (0.3, 0.4)
    report = examined(tmp_path, changed((TWICE, "")))
    assert report.mistakes == [] and report.rates == (0.2, 0.0)
    assert report.notes == ["Hidden layer 2 has no dropout, or the rate 0; the book's has."]


def test_a_change_of_the_argument_that_does_no_harm_is_a_note(tmp_path: Path) -> None:
    net = changed(
        ("dropout_layer(H1,", "dropout_layer(H1 * 1,"),
        ("dropout_layer(H2,", "dropout_layer(H2 * 1,"),
        of=BOOK_NET,
    )
    report = examined(
        tmp_path, layer("X *= torch.rand(X.shape) > dropout", "X /= 1 - dropout", "return X") + net
    )
    assert report.mistakes == []
    assert report.notes == ["dropout_layer changes X itself; work on a copy, as others may use X again."]
