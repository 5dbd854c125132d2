from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import rnn_diag.cells
import rnn_diag.nn
from rnn_diag import record

STEPS = 20


class Stacked(nn.Module):
    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM, dropout: float = 0.0, **options: Any) -> None:
        super().__init__()
        self.rnn = kind(6, 8, num_layers=2, dropout=dropout, **options)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(8 * (2 if options.get("bidirectional") else 1), 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.drop(self.rnn(inputs)[0]))


class Loop(nn.Module):
    def __init__(self, kind: Callable[[int, int], nn.RNNCellBase] = nn.LSTMCell) -> None:
        super().__init__()
        self.cell = kind(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        state, outputs = None, []
        for step in inputs:
            state = self.cell(step, state)
            outputs.append(self.head(state[0] if isinstance(state, tuple) else state))
        return torch.stack(outputs)


def spectral_loop() -> nn.Module:
    model = Loop()
    spectral_norm(model.cell, "weight_hh")
    return model


def weight_normed() -> nn.Module:
    model = Stacked(dropout=0.2)
    weight_norm(model.rnn, "weight_hh_l1")
    return model


def spectral_normed() -> nn.Module:
    model = Stacked()
    spectral_norm(model.rnn, "weight_hh_l0")
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "LSTM": Stacked,
    "LSTM with dropout": lambda: Stacked(dropout=0.5),
    "bidirectional GRU with dropout": lambda: Stacked(nn.GRU, 0.3, bidirectional=True),
    "RNN": lambda: Stacked(nn.RNN, 0.2),
    "explicit LSTM with dropout": lambda: Stacked(rnn_diag.nn.LSTM, 0.3, backend="explicit"),
    "peephole LSTM": lambda: Stacked(rnn_diag.nn.PeepholeLSTM, 0.3),
    "loop over LSTMCell": Loop,
    "loop over peephole cell": lambda: Loop(rnn_diag.cells.PeepholeLSTMCell),
    "weight norm": weight_normed,
    "spectral norm": spectral_normed,
    "spectral norm in a loop": spectral_loop,
}


def history(
    model: nn.Module,
    recorded: bool,
    *,
    run: Callable[..., Tensor] | None = None,
    accumulate: int = 1,
    clip: float | None = None,
    autocast: bool = False,
    sequences: int | None = None,
) -> list[Any]:
    """Train; return losses, weights, buffers, optimizer state and random state."""
    torch.manual_seed(7)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    run = model if run is None else run
    losses = []
    for step in range(STEPS):
        recording = record(model, sequences=sequences) if recorded else contextlib.nullcontext()
        with recording:
            inputs, targets = torch.randn(7, 4, 6), torch.randint(3, (28,))
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = nn.functional.cross_entropy(run(inputs).float().flatten(0, 1), targets) / accumulate
            loss.backward()
        if recorded:  # ask for everything there is
            for trace in recording.values():
                _ = trace.hidden_grad, trace.cell_grad, trace.fidelity
                if trace.has_equations:
                    _ = trace.gates, trace.preactivation_grad
        if (step + 1) % accumulate == 0:
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    state = [entry for values in optimizer.state_dict()["state"].values() for entry in values.values()]
    return [torch.tensor(losses), *model.state_dict().values(), *state, torch.get_rng_state()]


def assert_untouched(make: Callable[[], nn.Module], **options: Any) -> None:
    histories = []
    for recorded in (False, True):
        torch.manual_seed(1)  # no deep copy: torch's of a parametrised layer trains a little differently by itself
        histories.append(history(make(), recorded, **options))
    plain, recorded = histories
    assert len(plain) == len(recorded)
    assert all(torch.equal(one, other) for one, other in zip(plain, recorded, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_twenty_steps_are_the_same_bit_for_bit(name: str) -> None:
    assert_untouched(MODELS[name])


@pytest.mark.parametrize("name", ["LSTM with dropout", "loop over LSTMCell"])
@pytest.mark.parametrize(
    "options",
    [{"clip": 0.05}, {"accumulate": 4}, {"accumulate": 2, "clip": 0.05}, {"sequences": 2}],
    ids=["clipped", "accumulated", "accumulated and clipped", "two sequences"],
)
def test_clipping_and_accumulating_change_nothing_about_it(name: str, options: dict[str, Any]) -> None:
    assert_untouched(MODELS[name], **options)


@pytest.mark.parametrize("name", ["bidirectional GRU with dropout", "RNN", "peephole LSTM", "loop over LSTMCell"])
def test_bfloat16_autocast_changes_nothing_about_it(name: str) -> None:
    assert_untouched(MODELS[name], autocast=True, clip=0.5)


def test_a_spectral_normed_cell_does_one_power_iteration_a_step_while_it_is_recorded() -> None:
    model = spectral_loop()
    parametrization = model.cell.parametrizations.weight_hh[0]
    plain = copy.deepcopy(model)
    inputs = torch.randn(5, 2, 6)
    plain(inputs)
    with record(model) as recording:
        model(inputs).sum().backward()
    assert torch.equal(parametrization._u, plain.cell.parametrizations.weight_hh[0]._u)
    assert sum(len(trace.hidden) for trace in recording.calls("cell.l0")) == 5
