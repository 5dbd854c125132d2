"""Weights by gate come back as they were written, and what is not known is marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnn_diag.tb import kinds as tab
from tests.tb.serving import get, series, written

LAYER = "l0"
NORMS = {"forget": [[1.0, 0.5, np.nan, 1e-3], [2.0, 0.25, 0.125, 2e-3]]}


def test_norms_come_back_gate_by_gate_with_their_names_in_an_export(tmp_path: Path) -> None:
    client = written(tmp_path, lambda log: tab.write_gate_weights(log, LAYER, 7, NORMS))
    steps, (row,) = series(client, "run", "rnn_diag/l0/gate_weights")
    assert steps == [7]
    np.testing.assert_array_equal(row, np.array([NORMS["forget"]], np.float32))
    exported = get(client, "export", run="run", tag="rnn_diag/l0/gate_weights", format="json").json["rows"]
    assert [one["matrix"] for one in exported] == ["ih", "hh"] and exported[1]["clipped_grad"] == 0.125


def test_magnitudes_are_decades_below_the_largest_of_their_kind_over_all_gates(tmp_path: Path) -> None:
    weights, grads = [[100.0, 1.0], [0.0, 1e-9]], [[0.5, 0.5], [np.inf, 0.05]]
    maps = {"forget": [weights, grads], "input": [[[10.0, 10.0]] * 2, [[np.nan] * 2] * 2]}
    client = written(tmp_path, lambda log: tab.write_weight_maps(log, LAYER, 0, maps, split=1))
    _, (row,) = series(client, "run", "rnn_diag/l0/weight_maps")
    assert row[0, 0].tolist() == [[254, 127], [0, 1]]
    assert row[0, 1].tolist() == [[254, 254], [255, round(254 * 0.75)]]
    assert row[1].tolist() == [[[round(254 * 0.75)] * 2] * 2, [[255] * 2] * 2]
    content = get(client, "index").json["runs"]["run"]["rnn_diag/l0/weight_maps"]["content"]
    assert content["labels"] == ["forget", "input"] and content["split"] == 1
    rows = get(client, "export", run="run", tag="rnn_diag/l0/weight_maps", format="json").json["rows"]
    assert [one["log10_of_largest"] for one in rows[:2]] == [0.0, pytest.approx(-2.0)]


def test_weights_that_are_all_zero_are_not_known_and_raise_nothing(tmp_path: Path) -> None:
    client = written(
        tmp_path, lambda log: tab.write_weight_maps(log, LAYER, 0, {"forget": np.zeros((2, 1, 1))}, split=1)
    )
    assert (series(client, "run", "rnn_diag/l0/weight_maps")[1][0] == 255).all()


def test_contributions_are_a_profile_with_a_cosine(tmp_path: Path) -> None:
    client = written(tmp_path, lambda log: tab.write_contributions(log, LAYER, 3, [-2.0, -1.0], cosine=-0.5))
    assert series(client, "run", "rnn_diag/l0/contributions")[1][0][0].tolist() == [-2.0, -1.0]
    assert series(client, "run", "rnn_diag/l0/early_late")[1][0].tolist() == [-0.5]
