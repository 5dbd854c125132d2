"""What is asked of a device and read later."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnn_diag.pending import Pending


def test_the_result_is_made_of_all_tensors_in_their_order_and_none_where_there_is_none():
    made = Pending([torch.ones(1), None, torch.zeros(2)], lambda *given: given)
    one, nothing, two = made.here()
    assert one.tolist() == [1] and nothing is None and two.tolist() == [0, 0]


def test_several_are_sent_together_and_each_gets_its_own_tensors():
    def total(*given: Tensor) -> float:
        return float(torch.stack(given).sum())

    one, two = torch.tensor(1.0), torch.tensor(2.0)
    parts = [Pending([one, two], total), Pending.known("a"), Pending([one], total)]
    assert Pending.together(parts, lambda *results: results).here() == (3.0, "a", 1.0)
    assert Pending.together([], lambda *results: results).here() == ()


def test_nothing_is_computed_before_it_is_read_and_an_error_is_that_of_the_reader():
    pending = Pending([torch.zeros(1)], lambda _: 1 / 0).then(str).send()
    with pytest.raises(ZeroDivisionError):
        pending.here()


def test_what_is_sent_is_detached_and_holds_no_graph():
    weight = torch.ones(2, requires_grad=True)
    assert not Pending([weight * 2], lambda doubled: doubled).send().here().requires_grad


@pytest.mark.gpu
def test_what_was_sent_is_what_it_was_then():
    value = torch.ones(1000, device="cuda")
    pending = Pending([value], lambda copied: copied.sum().item()).send()
    value.zero_()
    assert pending.here() == 1000
