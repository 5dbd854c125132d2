"""Source text to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnn_diag.tasks import Braces
from tests.lab.source_code import write_source


@pytest.fixture
def task(tmp_path: Path) -> Braces:
    return Braces(write_source(tmp_path), max_depth=1, sequence_length=80)
