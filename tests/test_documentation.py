"""What the documentation points at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rnn_diag.cli.lab import experiment_classes

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
THEORY = (ROOT / "docs" / "theory.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page):
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_the_repository_that_a_page_names_is_there(page):
    named = re.findall(r"`((?:tests|rnn_diag|conf|scripts|benchmarks)/[\w/]+\.\w+)`", page.read_text())
    assert [file for file in named if not (ROOT / file).is_file() and "/x/" not in file] == []  # x: any name


def test_every_row_of_the_theory_names_an_experiment_that_shows_it_and_tests_that_exist():
    rows = re.findall(r"^\| (\d+) \|.*\|(.*)\|(.*)\|$", THEORY, flags=re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, 22))
    shown = {name: experiment.theory for name, experiment in experiment_classes().items()}
    for number, experiments, tests in rows:
        names = re.findall(r"\[`(\w+)`\]", experiments)
        assert [name for name in names if int(number) in shown[name]], f"row {number}: {names}"
        folder = Path()
        for file in re.findall(r"`(tests/[\w/.]+|test_\w+\.py)`", tests):
            path = Path(file) if file.startswith("tests/") else folder / file
            folder = path.parent
            assert (ROOT / path).exists(), path


def test_every_experiment_of_the_lab_is_among_the_rows():
    assert {name for name in experiment_classes() if f"[`{name}`]" not in THEORY} == set()
