"""How sequences come, and go in the same form."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnn_diag.engine.packing import Packing

LENGTHS = torch.tensor([2, 5, 3])


@pytest.mark.parametrize("form", ["time first", "batch first", "unbatched"])
def test_a_plain_tensor_is_given_back_as_it_came(form: str) -> None:
    inputs = {"time first": (5, 3, 2), "batch first": (3, 5, 2), "unbatched": (5, 2)}[form]
    given = torch.randn(*inputs)
    packing = Packing.of(given, form == "batch first", "LSTM")
    assert packing.padded().shape == (5, 1 if form == "unbatched" else 3, 2)
    assert packing.mask is None and packing.lengths is None
    assert torch.equal(packing.restored_output(packing.padded()), given)


@pytest.mark.parametrize("is_sorted", [False, True])
def test_a_packed_sequence_is_padded_masked_and_packed_again(is_sorted: bool) -> None:
    lengths = LENGTHS.sort(descending=True).values if is_sorted else LENGTHS
    given = pack_padded_sequence(torch.randn(5, 3, 2), lengths, enforce_sorted=is_sorted)
    packing = Packing.of(given, False, "LSTM")
    assert packing.batch == 3 and packing.lengths.tolist() == [5, 3, 2]
    assert packing.mask.sum(0).tolist() == [5, 3, 2]
    again = packing.restored_output(packing.padded())
    assert isinstance(again, PackedSequence) and torch.equal(again.data, given.data)
    for one, other in zip(pad_packed_sequence(again), pad_packed_sequence(given), strict=True):
        assert torch.equal(one, other)


def test_states_are_sorted_as_the_batch_and_restored_to_the_callers_order() -> None:
    given = pack_padded_sequence(torch.randn(5, 3, 2), LENGTHS, enforce_sorted=False)
    packing, state = Packing.of(given, False, "LSTM"), torch.arange(6.0).view(1, 3, 2)
    (inside,) = packing.sorted_states([state], plural=False)
    assert inside[0, 0].tolist() == state[0, 1].tolist()  # the longest comes first
    assert torch.equal(packing.restored_states([inside])[0], state)


def test_a_function_sees_valid_steps_alone() -> None:
    packing = Packing.of(pack_padded_sequence(torch.ones(5, 3, 2), LENGTHS, enforce_sorted=False), False, "LSTM")
    seen = []
    found = packing.on_valid_steps(torch.ones(5, 3, 2), lambda steps: seen.append(steps.shape) or steps * 2)
    assert seen == [(10, 2)]
    assert torch.equal(found.sum((1, 2)), 4.0 * packing.mask.sum(1))


def test_a_tensor_with_another_number_of_axes_is_refused_in_torchs_words() -> None:
    with pytest.raises(ValueError, match="LSTM: Expected input to be 2D or 3D, got 4D instead"):
        Packing.of(torch.zeros(1, 1, 1, 1), False, "LSTM")
