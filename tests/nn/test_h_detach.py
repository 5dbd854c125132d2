"""h-detach gives the gradients of a loop that detaches h at the same steps, and changes nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnn_diag import record
from rnn_diag.cells import PeepholeLSTMCell
from rnn_diag.nn import LSTM, PeepholeLSTM
from rnn_diag.nn.h_detach import drawn_steps

STEPS, BATCH, FEATURES, UNITS = 9, 3, 2, 4
KINDS: dict[str, Any] = {"lstm": LSTM, "peephole": PeepholeLSTM}


def layer(kind: str, probability: float, **options: Any) -> Any:
    torch.manual_seed(0)
    return KINDS[kind](FEATURES, UNITS, dtype=torch.float64, backend="explicit", h_detach=probability, **options)


def inputs() -> Tensor:
    return torch.randn(STEPS, BATCH, FEATURES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def looped(module: Any, fed: Tensor, state: tuple[Tensor, Tensor], detached: Tensor) -> tuple[Tensor, Any]:
    """Run one layer as a loop over a cell on the module's own parameters, with `.detach()` where it was drawn."""
    kind = PeepholeLSTMCell if isinstance(module, PeepholeLSTM) else nn.LSTMCell
    cell = kind(FEATURES, UNITS, dtype=torch.float64)
    own = {name: getattr(module, f"{name}_l0") for name, _ in cell.named_parameters()}
    (h, c), outputs = state, []
    for x, stop in zip(fed, detached, strict=True):
        h, c = torch.func.functional_call(cell, own, (x, (h.detach() if stop else h, c)))
        outputs.append(h)
    return torch.stack(outputs), (h, c)


def loss(output: Tensor, final: tuple[Tensor, Tensor]) -> Tensor:
    weights = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view_as(output)
    return (weights * output).sum() + final[0].pow(2).sum() + 2 * final[1].pow(2).sum()


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_a_loop_that_detaches_h_at_the_drawn_steps(kind: str, probability: float) -> None:
    module, fed = layer(kind, probability), inputs().requires_grad_()
    state = [torch.randn(1, BATCH, UNITS, dtype=torch.float64).requires_grad_() for _ in range(2)]
    leaves = [fed, *state, *module.parameters()]
    torch.manual_seed(5)
    output, final = module(fed, tuple(state))
    found = torch.autograd.grad(loss(output, final), leaves)
    steps = module.detached_steps["l0"] if probability else torch.zeros(STEPS, dtype=torch.bool)
    reference, end = looped(module, fed, (state[0][0], state[1][0]), steps)
    expected = torch.autograd.grad(loss(reference, end), leaves, allow_unused=True)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, torch.zeros_like(ours) if theirs is None else theirs, rtol=1e-12, atol=1e-13)
    assert 0 < int(steps.sum()) < STEPS if probability == 0.3 else bool((steps == (probability == 1)).all())


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_bit_for_bit_those_without(kind: str) -> None:
    output, final = layer(kind, 0.5)(inputs())
    plain, end = layer(kind, 0.0)(inputs())
    assert torch.equal(output, plain)
    assert all(torch.equal(a, b) for a, b in zip(final, end, strict=True))


def test_probability_zero_is_the_plain_layer_bit_for_bit_and_draws_nothing() -> None:
    found = []
    for module in (LSTM(FEATURES, UNITS, h_detach=0.0), LSTM(FEATURES, UNITS), nn.LSTM(FEATURES, UNITS)):
        with torch.no_grad():
            for k, parameter in enumerate(module.parameters()):
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter) * (k + 1) / 4)
        torch.manual_seed(2)
        before = torch.get_rng_state()
        module(inputs().float())[0].pow(2).sum().backward()
        assert torch.equal(torch.get_rng_state(), before)
        found.append([parameter.grad for parameter in module.parameters()])
    assert all(torch.equal(a, b) for others in found[1:] for a, b in zip(found[0], others, strict=True))


def test_evaluation_runs_the_fused_kernel_and_draws_nothing() -> None:
    module = LSTM(FEATURES, UNITS, h_detach=0.9).eval()
    plain = nn.LSTM(FEATURES, UNITS)
    plain.load_state_dict(module.state_dict())
    before = torch.get_rng_state()
    ours = module(inputs().float())[0]
    ours.pow(2).sum().backward()
    theirs = plain(inputs().float())[0]
    theirs.pow(2).sum().backward()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(ours, theirs)
    assert torch.equal(module.weight_hh_l0.grad, plain.weight_hh_l0.grad)


def test_the_seed_decides_the_steps_and_every_call_draws_anew() -> None:
    module = layer("lstm", 0.5)
    drawn = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        module(inputs())
        drawn.append(module.detached_steps["l0"])
        module(inputs())
        drawn.append(module.detached_steps["l0"])
    assert torch.equal(drawn[0], drawn[2]) and torch.equal(drawn[1], drawn[3])
    assert not torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[4])


def test_the_share_of_detached_steps_is_the_probability() -> None:
    share = drawn_steps(0.25, 4, 10_000, torch.Generator().manual_seed(0)).double().mean()
    assert abs(float(share) - 0.25) < 0.01


def test_with_every_step_detached_the_gradient_of_the_memory_is_the_product_of_forget_gates() -> None:
    module = layer("lstm", 1.0)
    with record(module) as recording:
        _, (_, c) = module(inputs())
        c.sum().backward()
    forget = recording["l0"].gates["forget"]
    products = torch.stack([forget[t + 1 :].prod(0) for t in range(STEPS)])
    torch.testing.assert_close(recording["l0"].cell_grad, products, rtol=1e-13, atol=0)
    assert not recording["l0"].hidden_grad.any()


@pytest.mark.parametrize("packed", [False, True], ids=["tensor", "packed"])
@pytest.mark.parametrize("kind", KINDS)
def test_traces_of_a_deep_bidirectional_dropping_layer_are_faithful(kind: str, packed: bool) -> None:
    module = layer(kind, 0.4, num_layers=3, bidirectional=True, dropout=0.3)
    fed: Any = pack_padded_sequence(inputs(), [4, 9, 6], enforce_sorted=False) if packed else inputs()
    with record(module) as recording:
        output, final = module(fed)
        loss(output.data if isinstance(output, PackedSequence) else output, final).backward()
    assert len(recording) == 6
    assert {row.status for row in recording.coverage} == {"exact"}
    assert all(trace.fidelity < 1e-13 for trace in recording.values())
    replayed = copy.deepcopy(recording["l2"]._detached)
    assert replayed is not None and replayed.any()


def test_a_part_of_the_batch_is_followed_faithfully_too() -> None:
    module, fed = layer("lstm", 0.4, num_layers=2), inputs().requires_grad_()
    with record(module, sequences=2) as recording:
        loss(*module(fed)).backward()
    assert all(trace.fidelity < 1e-13 for trace in recording.values())


def test_calls_that_go_on_from_one_another_are_one_faithful_trace() -> None:
    module = layer("lstm", 0.4)
    with record(module) as recording:
        state, total = None, torch.zeros((), dtype=torch.float64)
        for chunk in inputs().split(3):
            output, state = module(chunk, state)
            total = total + output.pow(2).sum()
        total.backward()
    assert recording["l0"].hidden.shape[0] == STEPS
    assert recording["l0"].fidelity < 1e-13
    again = recording["l0"].sweep(recording["l0"].hidden_grad_direct)
    torch.testing.assert_close(again.hidden_grad, recording["l0"].hidden_grad, rtol=1e-10, atol=1e-12)


def test_checkpointing_gives_the_gradients_of_the_same_draws() -> None:
    found = []
    for checkpointed in (False, True):
        module, fed = layer("lstm", 0.5, num_layers=2, dropout=0.3), inputs().requires_grad_()
        torch.manual_seed(3)
        run = torch.utils.checkpoint.checkpoint
        output = run(lambda x, m=module: m(x)[0], fed, use_reentrant=False) if checkpointed else module(fed)[0]
        output.pow(2).sum().backward()
        found.append([fed.grad, *(parameter.grad for parameter in module.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_penalty_on_a_gradient_is_that_of_the_detached_loop() -> None:
    module = layer("peephole", 1.0)
    names = [name for name, _ in module.named_parameters()]

    def second(*weights: Tensor) -> Tensor:
        """The penalty on a gradient, which differentiates the detached backward pass."""
        torch.manual_seed(0)
        fed = inputs().requires_grad_()
        output, _ = torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (fed,))
        grad: Tensor = torch.autograd.grad(output.pow(2).sum(), fed, create_graph=True)[0]
        return grad.pow(2).sum()

    def reference(*weights: Tensor) -> Tensor:
        fed = inputs().requires_grad_()
        zeros = torch.zeros(BATCH, UNITS, dtype=torch.float64)
        twin = copy.deepcopy(module)
        for name, value in zip(names, weights, strict=True):
            del twin._parameters[name]
            setattr(twin, name, value)
        output, _ = looped(twin, fed, (zeros, zeros), torch.ones(STEPS))
        grad: Tensor = torch.autograd.grad(output.pow(2).sum(), fed, create_graph=True)[0]
        return grad.pow(2).sum()

    leaves = list(module.parameters())
    ours = torch.autograd.grad(second(*leaves), leaves)
    theirs = torch.autograd.grad(reference(*leaves), leaves)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [LSTM, PeepholeLSTM])
def test_a_probability_outside_zero_to_one_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"h_detach is 1\.5; expected a probability from 0 \(never\) to 1"):
        kind(2, 3, h_detach=1.5)


def test_the_fused_kernel_cannot_detach() -> None:
    with pytest.raises(ValueError, match=r"h_detach=0\.5: torch's kernel detaches nothing"):
        LSTM(2, 3, backend="fused", h_detach=0.5)


def test_the_probability_is_shown() -> None:
    assert "h_detach=0.25" in repr(LSTM(2, 3, h_detach=0.25))
    assert "h_detach" not in repr(LSTM(2, 3))
