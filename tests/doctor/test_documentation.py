"""The page explains every finding, and its table of followed advice is what comes out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rnn_diag.doctor.rules import RULE_IDS
from tests.doctor.advice_cases import CASES, Case, follow

PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"


def test_the_page_has_a_section_for_every_finding_and_no_other() -> None:
    assert sorted(re.findall(r"^### (\w+)$", PAGE.read_text(), flags=re.MULTILINE)) == sorted(RULE_IDS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.word} of {case.name}")
def test_the_page_shows_what_following_the_advice_gives(case: Case) -> None:
    (row,) = re.findall(
        rf"^\| `{case.word}` \| {re.escape(case.name)} \| (.*) \|$", PAGE.read_text(), flags=re.MULTILINE
    )
    call, number, before, after = row.split(" | ")
    followed = follow(case)
    assert (call, number) == (f"`{followed.call}`", f"`{case.number}`")
    assert [float(before), float(after)] == pytest.approx([followed.before, followed.after], rel=0.02)
