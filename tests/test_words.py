"""Docstrings, messages and pages use words that a reader does not stumble over."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STUMBLING = re.compile(
    r"\b(?:what there (?:is|are)|that there (?:is|are) not|somebody|lets? go of|goes? on from|(?:is|are) said of|"
    r"stands for the|as bad as the|which alone decides|comes? to what)\b",
    re.IGNORECASE,
)


def pages() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "rnn_diag/*.py", "docs/*.md", "conf/*.yaml", "README.md", "CHANGELOG.md"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.split()  # fmt: skip
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def test_no_page_or_module_holds_a_phrase_of_the_list_in_contributing() -> None:
    if not (found := pages()):
        pytest.skip("not a git checkout")
    hits = [
        f"{page.relative_to(ROOT)}:{number}: {match.group()}"
        for page in found
        for number, line in enumerate(page.read_text().splitlines(), start=1)
        if (match := STUMBLING.search(line))
    ]
    assert not hits, "\n".join(hits)
