"""Histories keep what they are given in bounded memory, and those of earlier checkpoints can be read."""

from __future__ import annotations

import numpy as np
import torch

from rnn_diag.measurements.history import CAPACITY, GatesOverTime, History
from rnn_diag.reporting.images.gates import gates_over_training


def test_history_is_bounded_spans_all_of_training_and_stays_even():
    history = History()
    for step in range(5000):
        history.add(step, np.array([float(step)]))
    assert len(history.steps) <= CAPACITY
    assert history.steps[0] == 0
    assert history.steps[-1] > 4900
    assert len(set(np.diff(history.steps))) == 1
    assert [column.item() for column in history.columns] == history.steps


def test_the_gates_of_an_earlier_checkpoint_are_read_and_drawn():
    saved = {"steps": [0, 50], "columns": [torch.tensor([[0.25, 0.5], [2.0, 1.0]])] * 2, "added": 2, "every": 1}
    history = History.of(saved)
    columns = [GatesOverTime.of(column) for column in history.columns]
    assert [column.values.tolist() for column in columns] == [[[0.25, 0.5]]] * 2
    assert [column.widths.tolist() for column in columns] == [[2.0, 1.0]] * 2
    assert gates_over_training("l0", ["forget"], history.steps, columns).shape[2] == 3
    assert torch.equal(history.state["columns"][0], saved["columns"][0])
