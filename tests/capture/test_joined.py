from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rnn_diag import Trace, record
from rnn_diag.diagnostics import lagged_grad_norms

KINDS = [nn.LSTM, nn.GRU, nn.RNN]


def whole_and_parts(module: nn.RNNBase, inputs: Tensor, lengths: list[int], loss_through: str) -> tuple[Trace, Trace]:
    """Record one call on all steps, and the same as calls that hand their state on."""
    traces = []
    for pieces in ([len(inputs)], lengths):
        state, outputs = None, []
        with record(module) as recording:
            for piece in inputs.split(pieces):
                output, state = module(piece, state)
                outputs.append(output)
            final = state[0] if isinstance(state, tuple) else state
            through = torch.cat(outputs).pow(2).sum() if loss_through == "output" else final.pow(2).sum()
            through.backward()
        traces.append(recording[f"l{module.num_layers - 1}"])
        lower = recording["l0"]
        assert lower.fidelity < 1e-13
        traces[-1].lower = lower
    return traces[0], traces[1]


@pytest.mark.parametrize("loss_through", ["output", "hidden"])
@pytest.mark.parametrize("lengths", [[1] * 6, [4, 2], [3, 1, 2]], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_chained_calls_are_one_sequence(kind: type[nn.RNNBase], lengths: list[int], loss_through: str) -> None:
    module, inputs = kind(3, 4, num_layers=2).double(), torch.randn(6, 2, 3, dtype=torch.float64)
    whole, parts = whole_and_parts(module, inputs, lengths, loss_through)
    for one, other in ((whole, parts), (whole.lower, parts.lower)):
        for field in ("hidden", "cell", "hidden_grad", "hidden_grad_direct", "hidden_grad_recurrent", "cell_grad"):
            ours, theirs = getattr(other, field), getattr(one, field)
            if theirs is not None:
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14, msg=field)
        for ours, theirs in zip(other.gates.values(), one.gates.values(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


def test_an_encoder_and_its_decoder_of_other_length_are_one_sequence() -> None:
    module = nn.LSTM(3, 4).double()
    with record(module) as recording:
        _, state = module(torch.randn(7, 2, 3, dtype=torch.float64))
        output, _ = module(torch.randn(4, 2, 3, dtype=torch.float64), state)
        output.sum().backward()
    trace = recording["l0"]
    assert trace.hidden_grad.shape[0] == 11
    expected = torch.cat((torch.zeros(7, 2, 4), torch.ones(4, 2, 4))).double()
    torch.testing.assert_close(trace.hidden_grad_direct, expected, rtol=0, atol=1e-15)
    assert trace.fidelity < 1e-14


def test_a_carried_state_that_is_detached_starts_a_sequence_of_its_own() -> None:
    module = nn.GRU(3, 4).double()
    with record(module) as recording:
        output, state = module(torch.randn(5, 2, 3, dtype=torch.float64))
        output.sum().backward()
        output, _ = module(torch.randn(5, 2, 3, dtype=torch.float64), state.detach())
        output.sum().backward()
    first, second = recording.calls("l0")
    torch.testing.assert_close(second.initial_hidden, first.hidden[-1])
    assert bool((first.hidden_grad[-1] == 1).all())


@pytest.mark.parametrize(("given", "on_the_graph"), [("none", False), ("carried", False), ("encoded", True)])
def test_a_trace_knows_whether_the_gradient_goes_on_into_its_initial_state(given: str, on_the_graph: bool) -> None:
    module, bridge, inputs = nn.GRU(3, 4), nn.Linear(3, 4), torch.randn(5, 2, 3)
    states = {"none": None, "carried": torch.ones(1, 2, 4), "encoded": bridge(inputs[:1])}
    with record(module) as recording:
        module(inputs, states[given])[0].sum().backward()
    assert recording["l0"].provenance.state_on_graph is on_the_graph


def test_two_continuations_of_one_state_are_told_apart() -> None:
    module = nn.GRU(3, 4).double()
    with record(module) as recording:
        _, state = module(torch.randn(3, 2, 3, dtype=torch.float64))
        first, _ = module(torch.randn(2, 2, 3, dtype=torch.float64), state)
        second, _ = module(torch.randn(4, 2, 3, dtype=torch.float64), state)
        (first.sum() + second.sum()).backward()
    assert [len(trace.hidden) for trace in recording.calls("l0")] == [5, 4]
    assert recording.calls("l0")[0].fidelity < 1e-14


def test_calls_of_a_layer_that_reads_both_ways_are_never_joined() -> None:
    module = nn.GRU(3, 4, bidirectional=True)
    with record(module) as recording:
        _, state = module(torch.randn(3, 2, 3))
        module(torch.randn(3, 2, 3), state)[0].sum().backward()
    assert len(recording.calls("l0")) == 2


def test_nothing_of_a_chain_is_computed_before_it_is_asked_for() -> None:
    module = nn.LSTM(3, 4, num_layers=2)
    with record(module) as recording:
        _, state = module(torch.randn(3, 2, 3))
        module(torch.randn(3, 2, 3), state)[0].sum().backward()
    trace = recording["l1"]
    assert not {"hidden", "unrolled", "swept"} & set(vars(trace))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_of_which_only_the_state_is_used_ends_no_backward_pass(
    kind: type[nn.RNNBase], dtype: torch.dtype
) -> None:
    module = kind(3, 4, num_layers=2).to(dtype)
    with record(module) as recording:
        _, state = module(torch.randn(3, 2, 3, dtype=dtype))  # torch's kernels may hand None to the unused output
        module(torch.randn(3, 2, 3, dtype=dtype), state)[0].sum().backward()
    assert recording["l1"].fidelity < 1e-5
    assert recording.coverage[0].status == "exact"


@pytest.mark.parametrize("loss_through", ["output", "hidden", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_encoder_and_its_decoder_are_one_sequence_without_a_gap(
    kind: type[nn.RNNBase], loss_through: str
) -> None:
    module, lengths, decoded = kind(3, 4, num_layers=2).double(), [3, 6, 1, 4], 5
    inputs, tokens = (torch.randn(steps, 4, 3, dtype=torch.float64) for steps in (6, decoded))

    def loss_of(output: Tensor, state: Tensor | tuple[Tensor, ...]) -> Tensor:
        final = state if isinstance(state, Tensor) else state[1]
        parts = {"output": output.pow(2).sum(), "hidden": final.pow(2).sum()}
        return sum(parts.values()) if loss_through == "both" else parts[loss_through]

    with record(module) as recording:
        packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths, enforce_sorted=False)
        _, state = module(packed)
        loss_of(*module(tokens, state)).backward()
    assert [one.status for one in recording.coverage] == ["exact"] * 2
    for name in recording:
        trace = recording[name]
        assert trace.lengths.tolist() == [length + decoded for length in lengths]
        for row, length in enumerate(lengths):
            with record(module) as alone:
                together = torch.cat((inputs[:length, row : row + 1], tokens[:, row : row + 1]))
                output, final = module(together)
                loss_of(output[length:], final).backward()
            for field in ("inputs", "hidden", "cell", "hidden_grad", "hidden_grad_direct", "hidden_grad_recurrent"):
                ours, theirs = getattr(trace, field), getattr(alone[name], field)
                if theirs is not None:
                    torch.testing.assert_close(ours[: length + decoded, row : row + 1], theirs, msg=field)
            ours = lagged_grad_norms(trace, [-1, -2])[: length + decoded, :, row]
            torch.testing.assert_close(ours, lagged_grad_norms(alone[name], [-1, -2])[:, :, 0], equal_nan=True)
