"""The report as one page of HTML."""

from __future__ import annotations

import re
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rnn_diag.lab.report.page import ROWS, report
from rnn_diag.lab.report.run import Attempt, attempted
from tests.lab.known_experiments import Broken, Doubling

ROOT = Path(__file__).parents[3]

MADE = datetime(2024, 2, 3, 4, 5)

VOID = {"meta", "br", "img", "link", "input", "hr"}


@pytest.fixture(scope="module")
def doubled() -> Attempt:
    return attempted("doubling", Doubling(), "rnn-diag-lab doubling")


@pytest.fixture(scope="module")
def page(doubled: Attempt) -> str:
    return report([doubled, attempted("broken", Broken(), "rnn-diag-lab broken")], MADE)


def test_every_element_of_the_page_is_closed(page: str) -> None:
    class Balance(HTMLParser):
        open: list[str]

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in VOID:
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass

    parser = Balance()
    parser.open = []
    parser.feed(page)
    assert parser.open == []


def test_the_page_asks_nobody_for_anything_and_runs_nothing(page: str) -> None:
    assert "<script" not in page
    assert "<link" not in page
    assert "@import" not in page
    assert re.findall(r'(?:src|(?<!:)href)="(?!#|data:)[^"]*"', page) == []
    assert re.findall(r"url\((?!#)[^)]*\)", page) == []


def test_words_are_escaped_and_passages_are_not(page: str) -> None:
    assert "Twice &lt;two&gt;" in page
    assert "It is &lt;four&gt;." in page
    assert "<two>" not in page
    assert "<b>bold</b>" in page


def test_the_contents_lead_to_every_experiment(page: str) -> None:
    assert re.findall(r'<a href="#(\w+)"', page) == ["doubling", "broken"]
    assert re.findall(r'<section id="(\w+)"', page) == ["doubling", "broken"]


def test_a_failed_experiment_is_named_with_its_error(page: str) -> None:
    assert "failed: broken" in page
    assert "RuntimeError: the &lt;apparatus&gt; broke" in page


def test_a_check_that_does_not_hold_is_named() -> None:
    page = report([attempted("doubling", Doubling(measured=5.0), "")], MADE)
    assert "1 of 2 checks hold; checks that do not hold in doubling" in page
    assert page.count("does not hold</td>") == 1


def test_rows_of_the_theory_have_the_names_that_the_documentation_gives_them() -> None:
    lines = (ROOT / "docs" / "theory.md").read_text().splitlines()
    named = {
        int(found[1]): found[2].rstrip(".") for line in lines if (found := re.match(r"\| (\d+) \| \*\*(.+?)\*\*", line))
    }
    assert named == ROWS
