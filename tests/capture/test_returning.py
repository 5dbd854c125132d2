"""What returns to a module, and what is new to it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnn_diag.capture.returning import Evidence, Sighting, evidence, used

CELL = nn.Identity()


def told(calls: list[tuple[tuple[Any, ...], Any]]) -> Evidence:
    """Return what the last of some calls tells."""
    seen: list[Sighting] = []
    for args, result in calls:
        seen.append(Sighting(CELL, args, {}, result, seen[-1] if seen else None))
    return evidence(seen[-1], seen[:-1])


def state() -> Tensor:
    return torch.randn(3, 4, requires_grad=True).exp()


def test_a_state_returns_itself_or_changed() -> None:
    h, x, y = state(), torch.randn(3, 2), torch.randn(3, 2)
    (itself,) = told([((x, state()), h), ((y, h), state())]).returns
    assert str(itself) == "output 0 returns as input 1" and itself.is_unchanged
    (changed,) = told([((x, state()), h), ((y, 0.5 * h), state())]).returns
    assert not changed.is_unchanged and len(changed.way) == 1
    assert told([((x, state()), h), ((y, h.detach()), state())]).returns == (itself,)
    assert told([((x, state()), h), ((y, state()), state())]).returns == ()


def test_of_one_state_returned_twice_the_one_is_taken_that_gets_all_of_its_gradient() -> None:
    h = state()
    (one,) = told([((state(), state()), (h, h.unsqueeze(0))), ((state(), h), (state(), state().unsqueeze(0)))]).returns
    assert one.output == (0,)


def test_an_input_is_new_where_its_values_are_and_differ_within_the_batch() -> None:
    h, x = state(), torch.randn(3, 2)

    def new(before: Tensor, now: Tensor) -> bool:
        return told([((before, state()), h), ((now, h), state())]).input is not None

    assert new(x, torch.randn(3, 2)) and new(torch.tensor([1, 2, 3]), torch.tensor([3, 2, 2]))
    assert not new(x, x) and not new(x, x.clone())
    assert not new(torch.zeros(3, 2), torch.ones(3, 2)) and not new(torch.tensor(0.1), torch.tensor(0.2))
    wide = torch.randn(3, 40)
    assert not new(*(nn.functional.dropout(wide, 0.4) for _ in range(2)))
    bits = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert new(bits, bits.roll(1, 0))


def test_a_part_of_a_state_on_which_nothing_depends_is_none() -> None:
    a, b, x = state(), state(), torch.randn(3, 2)
    first = Sighting(CELL, (x, state(), state()), {}, (a, b), None)
    second = Sighting(CELL, (x + 1, a, b), {}, (a * 2, state()), first)
    returns = evidence(second, [first]).returns
    assert [one.argument for one in returns] == [(1,), (2,)]
    assert [one.argument for one in used(returns, second)] == [(1,)]
