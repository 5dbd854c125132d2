"""Norms and maps of matrices by gate."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.cells import GRUEquations
from rnn_diag.cells.weights import Weights
from rnn_diag.measurements.gate_weights import CELLS, GateWeightNumbers, by_gate, map_of, norms, pooled


def test_every_gate_has_its_rows_of_both_matrices() -> None:
    weights = Weights(torch.arange(18.0).view(9, 2), torch.arange(27.0).view(9, 3))
    parts = dict(by_gate(GRUEquations(), weights, "weight"))
    assert list(parts) == [f"{gate}/weight_{one}" for one in ("ih", "hh") for gate in ("reset", "update", "candidate")]
    assert torch.equal(parts["update/weight_ih"], weights.weight_ih[3:6])
    assert torch.equal(parts["candidate/weight_hh"], weights.weight_hh[6:])


def test_norms_of_half_precision_do_not_overflow() -> None:
    assert norms({"large": torch.full((4,), 6e4, dtype=torch.float16)})["large"] == pytest.approx(1.2e5, rel=1e-3)
    assert norms({}) == {}


def test_a_large_matrix_is_shown_by_the_mean_magnitudes_of_its_parts() -> None:
    matrix = torch.ones(3 * CELLS, 2 * CELLS)
    matrix[:3, :2] = -7.0
    shown = pooled(matrix)
    assert shown.shape == (CELLS, CELLS)
    assert shown[0, 0] == 7.0 and shown.flatten()[1:].eq(1).all()
    assert pooled(-torch.eye(3)).tolist() == torch.eye(3).tolist()


def test_a_map_has_input_weights_left_of_recurrent_ones() -> None:
    shown = map_of((torch.ones(3, 2), torch.zeros(3, 3)), None)
    assert shown.split == 2 and shown.grad is None
    assert shown.weight.tolist() == [[1, 1, 0, 0, 0]] * 3


def test_a_cosine_that_is_not_known_is_no_number() -> None:
    assert GateWeightNumbers({"forget/weight_hh": 1.0}).numbers == {"forget/weight_hh": 1.0}
    assert GateWeightNumbers({}, early_late_cosine=-1.0).numbers == {"early_late_cosine": -1.0}
