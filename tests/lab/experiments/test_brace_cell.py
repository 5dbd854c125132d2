"""The whole experiment, small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rnn_diag.lab.experiments.brace_cell import BraceCell
from tests.lab.source_code import write_source


def test_the_whole_experiment_says_the_same_twice_and_draws_what_it_found(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    settings = {"units": 6, "window": 80, "steps": 8, "batch_size": 8, "path": write_source(tmp_path)}
    first, again = (BraceCell(**settings).run() for _ in range(2))  # type: ignore[arg-type]
    assert first.conclusion == again.conclusion
    assert set(first.figures) == {"unit_and_gates", "passage"}
    (passage,) = first.passages.values()
    letters = re.sub("<[^>]*>", "", passage)
    assert any(words in letters for words in ("more { here", "with { and", "text } and"))
    assert [row[:2] for row in first.tables[0].rows][:2] == [("{", "code"), ("{", "comment")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"planted_share": 1.5}, "planted_share=1.5; expected a finite number of at least 0 and at most 1"),
        ({"sparsity": -1.0}, "sparsity=-1.0; expected a finite number of at least 0"),
        ({"window": 10}, "window=10; expected a whole number of at least 32"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BraceCell(**settings)  # type: ignore[arg-type]
