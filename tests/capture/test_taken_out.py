"""States that are put together and taken out again are the same states."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rnn_diag import record
from rnn_diag.capture.graph import edge_of
from rnn_diag.capture.taken_out import source_of

Way = Callable[[Tensor, Tensor], Tensor]

SECOND: dict[str, Way] = {
    "stack": lambda a, b: torch.stack((a, b))[1],
    "stack, from the end": lambda a, b: torch.stack((a, b), -2)[:, -1],
    "unbind": lambda a, b: torch.stack((a, b), -1).unbind(-1)[1],
    "chunk": lambda a, b: torch.cat((a, b), -1).chunk(2, 1)[1],
    "split": lambda a, b: torch.cat((a, b)).split([3, 3])[1],
    "slice": lambda a, b: torch.cat((a, b), 1)[:, 4:],
    "narrow": lambda a, b: torch.cat((a, b), 1).narrow(-1, 4, 4),
    "twice": lambda a, b: torch.stack(torch.cat((a, b), 1).chunk(2, 1))[1],
}
OTHERS: dict[str, Way] = {
    "along another axis": lambda a, b: torch.stack((a, b))[:, 1],
    "a part": lambda a, b: torch.cat((a, b), 1)[:, 5:],
    "every other": lambda a, b: torch.cat((a, b), 1)[:, ::2],
    "computed": lambda a, b: b + 0,
}


def pair() -> tuple[Tensor, Tensor]:
    return torch.randn(3, 4, requires_grad=True).exp(), torch.randn(3, 4, requires_grad=True).exp()


@pytest.mark.parametrize("way", SECOND)
def test_what_is_taken_out_is_what_was_put_in(way: str) -> None:
    a, b = pair()
    edge = edge_of(SECOND[way](a, b))
    assert edge is not None and source_of(edge) == edge_of(b)


@pytest.mark.parametrize("way", OTHERS)
def test_anything_else_is_itself(way: str) -> None:
    edge = edge_of(OTHERS[way](*pair()))
    assert edge is not None and source_of(edge) == edge


@pytest.mark.parametrize("together", [torch.stack, lambda hs: torch.cat(hs, -1)])
def test_states_of_layers_that_are_stacked_between_steps_are_one_sequence_each(together: Callable[..., Tensor]) -> None:
    cells = nn.ModuleList([nn.GRUCell(4, 4), nn.GRUCell(4, 4)]).double()
    stacked = together is torch.stack
    state = together([torch.zeros(3, 4, dtype=torch.float64)] * 2)
    with record(cells) as recording:
        for x in torch.randn(6, 3, 4, dtype=torch.float64):
            new = []
            for cell, h in zip(cells, state.unbind() if stacked else state.chunk(2, -1), strict=True):
                x = cell(x, h)
                new.append(x)
            state = together(new)
        state.square().sum().backward()
    for name in ("0.l0", "1.l0"):
        trace = recording[name]
        assert len(trace.hidden) == 6 and trace.fidelity < 1e-12
        assert not (trace.provenance.is_piece or trace.provenance.state_changed_between_calls)
        assert bool(trace.hidden_grad_recurrent.isfinite().all())
