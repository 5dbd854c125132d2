"""Selective copying: the answer is the symbols among the blanks, in order, wherever they stand."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.tasks import SelectiveCopying


def test_the_answer_is_what_is_no_blank_in_order_at_the_end_only() -> None:
    inputs, targets, lengths, _ = SelectiveCopying(context=9, symbols=3, alphabet=5).sequences("train").whole
    assert lengths is None and inputs.shape == targets.shape == (20_000, 12)
    for sequence, target in zip(inputs[:200], targets[:200], strict=True):
        assert sequence[:9][sequence[:9] < 5].tolist() == target[9:].tolist()
        assert (sequence[9:] == 6).all() and (target[:9] == -100).all()


def test_symbols_stand_everywhere_equally_often() -> None:
    inputs = SelectiveCopying(context=6, symbols=2, alphabet=3).sequences("train").whole.inputs[:, :6]
    assert torch.allclose((inputs < 3).double().mean(0), torch.full((6,), 1 / 3).double(), atol=0.015)


def test_more_symbols_than_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="context=2; expected a whole number of at least 3"):
        SelectiveCopying(context=2, symbols=3)
