"""What is measured of a reader whose unit is set by hand, on held-out text."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.lab.braces.findings import measured
from rnn_diag.lab.braces.unit import Unit
from rnn_diag.tasks import Braces
from tests.lab.braces.counting_reader import counting_reader


def test_a_reader_that_counts_every_brace_is_right_in_code_and_wrong_in_comments(task: Braces) -> None:
    found = measured(task, counting_reader(task), planted_rate=0.05, seed=0)
    assert found.unit == Unit(1, 1.0)
    assert found.right("code") > 0.8 > 0.2 > found.right("comment")
    assert found.change("{", "comment") > 0.5


def test_guessing_says_what_most_targets_of_the_task_are(task: Braces) -> None:
    found = measured(task, counting_reader(task), planted_rate=0.05, seed=0)
    parts = []
    for windows in map(task.sequences, ("validation", "test")):
        parts.append(windows.__getitems__(range(len(windows))).targets.flatten())
    is_open = torch.cat(parts).double().mean().item()
    assert found.guessing == pytest.approx(max(is_open, 1 - is_open))
    assert found.accuracy > 0.5
