"""Measures are taken in double precision, or in single at least, off the graph."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.diagnostics.numerics.precision import in_double, in_single, weights_in_double
from tests.reference.random_layers import random_weights


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_nothing_is_below_what_is_asked_for_and_nothing_is_rounded(dtype: torch.dtype) -> None:
    given = torch.tensor([1.5, -0.25], dtype=dtype, requires_grad=True)
    assert in_double(given).dtype == torch.float64
    assert in_single(given).dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for found in (in_double(given), in_single(given)):
        assert found.tolist() == [1.5, -0.25]
        assert not found.requires_grad


def test_all_weights_are_taken_in_double() -> None:
    found = weights_in_double(random_weights("peephole_lstm", dtype=torch.float32))
    assert {weight.dtype for weight in found.present().values()} == {torch.float64}
