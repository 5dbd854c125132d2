"""Every finding is explained."""

from __future__ import annotations

import re
from pathlib import Path

from rnn_diag.doctor.rules import WORDS

PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"


def test_the_page_has_a_section_for_every_finding_and_no_other() -> None:
    assert sorted(re.findall(r"^### (\w+)$", PAGE.read_text(), flags=re.MULTILINE)) == sorted(WORDS)
