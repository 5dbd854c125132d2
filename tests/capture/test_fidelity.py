from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import rnn_diag.nn
from rnn_diag import record
from rnn_diag.capture import Recording, fidelity
from rnn_diag.capture.fidelity import IN_DOUBLE, TOLERANCES, relative_error
from rnn_diag.capture.rerun import rerun
from rnn_diag.cells import GRUEquations
from rnn_diag.cells.equations import StepAdjoint


def test_relative_error_of_equal_tensors_is_zero_also_where_both_vanish() -> None:
    assert relative_error(torch.ones(3), torch.ones(3)) == 0
    assert relative_error(torch.zeros(3), torch.zeros(3)) == 0
    assert relative_error(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])) == 5 / 4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_every_dtype_is_within_its_tolerance(kind: type[nn.RNNBase], dtype: torch.dtype) -> None:
    module, inputs = kind(5, 8, num_layers=2).to(dtype), torch.randn(12, 4, 5, dtype=dtype)
    with record(module) as recording:
        module(inputs)[0].float().pow(2).mean().backward()
    for trace in recording.values():
        assert trace.tolerance == (IN_DOUBLE if dtype in (torch.bfloat16, torch.float16) else TOLERANCES[dtype])
        assert trace.hidden.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert trace.is_faithful, trace


@pytest.mark.parametrize("make", [nn.GRU, nn.RNN, nn.LSTM, rnn_diag.nn.LSTM, rnn_diag.nn.PeepholeLSTM])
def test_bfloat16_autocast_is_within_the_tolerance_of_bfloat16(make: type[nn.RNNBase]) -> None:
    module, inputs = make(5, 8, num_layers=2), torch.randn(12, 4, 5)
    with record(module) as recording:
        with torch.autocast("cpu", torch.bfloat16):
            try:
                output, _ = module(inputs)
            except RuntimeError as error:
                pytest.skip(f"torch has no such kernel for this processor: {error}")
        output.float().pow(2).mean().backward()
    for trace in recording.values():
        assert trace.is_faithful, trace


def test_a_weight_cast_once_for_two_calls_is_counted_once() -> None:
    module = nn.GRU(5, 8)
    with record(module) as recording:
        with torch.autocast("cpu", torch.bfloat16):
            first, _ = module(torch.randn(6, 4, 5))
            second, _ = module(torch.randn(6, 4, 5))
        (first.float().sum() + second.float().pow(2).sum()).backward()
    assert all(trace.is_faithful for trace in recording.calls("l0")), recording.calls("l0")


def test_numbers_are_taken_in_full_precision_also_inside_autocast() -> None:
    module, inputs = nn.LSTM(5, 8, num_layers=2), torch.randn(6, 4, 5)
    with record(module) as recording:
        module(inputs)[0].sum().backward()
    outside = recording["l0"].hidden_grad
    with record(module) as recording:
        module(inputs)[0].sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        inside = recording["l0"].hidden_grad
        assert recording["l0"].fidelity < 1e-5
    assert torch.equal(inside, outside)


@pytest.mark.parametrize("name", ["weight_hh_l0", "weight_hh_l1"])
def test_a_penalty_on_the_weights_is_no_part_of_the_check(name: str) -> None:
    module = nn.LSTM(5, 8, num_layers=2).double()
    with record(module) as recording:
        penalty = getattr(module, name).pow(2).sum()
        (module(torch.randn(6, 4, 5, dtype=torch.float64))[0].sum() + 100 * penalty).backward()
    assert all(trace.fidelity < 1e-13 for trace in recording.values())


def test_gradients_that_were_there_before_are_no_part_of_the_check() -> None:
    module = nn.GRU(5, 8).double()
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 100.0)
    with record(module) as recording:
        module(torch.randn(6, 4, 5, dtype=torch.float64))[0].sum().backward()
        for parameter in module.parameters():
            parameter.grad.mul_(0)  # as clipping would, in place
    assert recording["l0"].fidelity < 1e-13


def test_a_weight_shared_by_two_layers_is_not_held_against_either() -> None:
    module = nn.GRU(8, 8, num_layers=2).double()
    module.weight_hh_l1 = module.weight_hh_l0
    with record(module) as recording:
        module(torch.randn(6, 4, 8, dtype=torch.float64))[0].sum().backward()
    assert recording["l0"].is_faithful is not False
    assert recording["l0"].hidden_grad.abs().sum() > 0


def test_a_weight_shared_by_two_modules_is_checked_for_each() -> None:
    model = nn.ModuleList([nn.GRU(8, 8), nn.GRU(8, 8)]).double()
    model[1].weight_hh_l0 = model[0].weight_hh_l0
    with record(model) as recording:
        model[1](model[0](torch.randn(6, 4, 8, dtype=torch.float64))[0])[0].sum().backward()
    assert recording["0.l0"].fidelity < 1e-13
    assert recording["1.l0"].fidelity < 1e-13


def test_weights_changed_behind_the_recordings_back_make_the_trace_unfaithful() -> None:
    module = nn.LSTM(5, 8)
    with record(module) as recording:
        output, _ = module(torch.randn(6, 4, 5))
        output.sum().backward()
    recording._log.calls[""][0].weights["l0"].weight_hh.mul_(1.5)
    trace = recording["l0"]
    assert trace.is_faithful is False
    assert "NOT FAITHFUL: relative error" in repr(trace)
    row = recording.coverage[0]
    assert row.status == "not faithful"
    assert "above 1e-02, the equations give other states than the calls returned" in row.reason


def test_gradients_that_are_not_autograds_make_the_trace_unfaithful_though_the_states_are_right() -> None:
    module = nn.LSTM(5, 8)
    with record(module) as recording:
        output, _ = module(torch.randn(6, 4, 5))
        output.sum().backward()
    recording._log.parameter_grads["l0", "weight_hh"].mul_(1.5)
    row = recording.coverage[0]
    assert row.status == "not faithful"
    assert "above 1e-03, checked against the gradient of weight_hh" in row.reason


def test_a_faithful_trace_says_so_and_carries_no_mark() -> None:
    module = nn.LSTM(5, 8)
    with record(module) as recording:
        module(torch.randn(6, 4, 5))[0].sum().backward()
    assert repr(recording["l0"]) == "Trace(l0: lstm, 6 steps, 4 sequences)"
    assert recording.coverage[0][:5] == (
        "l0",
        "torch.nn.LSTM",
        "exact",
        "1 call read as 1 batch of sequences; gradients by an explicit sweep; "
        "checked against the gradient of weight_hh",
        "",
    )


def test_an_overflown_gradient_is_nothing_to_check_against() -> None:
    module = nn.GRU(5, 8)
    with record(module) as recording:
        (module(torch.randn(6, 4, 5))[0].sum() * float("inf")).backward()
    trace = recording["l0"]
    assert trace.fidelity is None
    assert trace.fidelity_reason == "nothing to check against: the gradient of weight_hh is not finite"
    assert recording.coverage[0].status == "not checked"


def test_gradients_asked_for_the_input_only_leave_nothing_to_check() -> None:
    module, inputs = nn.GRU(5, 8), torch.randn(6, 4, 5, requires_grad=True)
    with record(module) as recording:
        torch.autograd.grad(module(inputs)[0].sum(), [inputs])
    assert recording["l0"].hidden_grad.abs().sum() > 0
    assert recording["l0"].fidelity_reason == "nothing to check against: autograd gave weight_hh no gradient of its own"


def test_a_part_of_the_batch_is_checked_with_the_whole() -> None:
    module = nn.GRU(5, 8).double()
    with record(module, sequences=2) as recording:
        module(torch.randn(6, 4, 5, dtype=torch.float64))[0].sum().backward()
    assert recording["l0"].hidden.shape == (6, 2, 8)
    assert recording["l0"].fidelity < 1e-13
    assert recording.coverage[0].status == "exact"


def test_a_part_of_the_batch_of_a_first_layer_is_checked_against_its_kernel() -> None:
    module = nn.GRU(5, 8)
    with Recording(module, sequences=2, check_whole_batch=False) as recording:
        module(torch.randn(6, 4, 5))[0].sum().backward()
    assert recording["l0"].fidelity < 1e-12
    assert "own kernel in double precision" in recording["l0"].fidelity_reason
    assert recording.coverage[0].status == "exact"


def test_a_part_of_the_batch_of_a_cell_cannot_be_checked_alone_and_says_so() -> None:
    module = nn.GRUCell(5, 8)
    with Recording(module, sequences=2, check_whole_batch=False) as recording:
        inputs, state = torch.randn(6, 4, 5), None
        for step in inputs:
            state = module(step, state)
        state.sum().backward()
    assert recording["l0"].is_faithful is None
    assert "a part of the batch is followed" in recording["l0"].fidelity_reason
    assert recording.coverage[0].status == "not checked"


def test_what_an_earlier_recording_checked_is_not_said_to_be_unchecked() -> None:
    module, checked = nn.GRU(5, 8), set[str]()
    with Recording(module, sequences=2, checked=checked) as recording:
        module(torch.randn(6, 4, 5))[0].sum().backward()
    assert recording.coverage[0].status == "exact" and checked == {"l0"}
    with Recording(module, sequences=2, check_whole_batch=False, checked=checked) as recording:
        module(torch.randn(6, 4, 5))[0].sum().backward()
    assert recording.coverage[0].status == "exact"
    assert recording.coverage[0].reason.endswith("checked against autograd at an earlier step")


def test_where_the_gradient_of_the_recurrent_weights_is_zero_the_bias_is_compared() -> None:
    module = nn.LSTM(3, 5).double()
    with record(module) as recording:  # one step from zero: nothing goes through weight_hh
        module(torch.randn(1, 2, 3, dtype=torch.float64))[0].sum().backward()
    assert recording["l0"].fidelity < 1e-14
    assert recording["l0"].fidelity_reason == "checked against the gradient of bias_ih"


def test_without_a_bias_the_input_weights_are_compared() -> None:
    module = nn.LSTM(3, 5, bias=False).double()
    with record(module) as recording:
        module(torch.randn(1, 2, 3, dtype=torch.float64))[0].sum().backward()
    assert recording["l0"].fidelity < 1e-13
    assert "weight_ih" in recording["l0"].fidelity_reason


def test_a_comparison_of_zero_with_zero_is_no_check() -> None:
    module = nn.LSTM(3, 5, bias=False).double()
    with record(module) as recording:
        module(torch.zeros(1, 2, 3, dtype=torch.float64))[0].sum().backward()
    assert recording["l0"].fidelity is None
    assert "zero on both sides" in recording["l0"].fidelity_reason
    assert recording.coverage[0].status == "not checked"


def test_the_inputs_gradient_counts_each_call_for_itself_where_calls_hang_together() -> None:
    module, embed = nn.LSTM(5, 8).double(), nn.Linear(5, 5).double()
    with record(module, sequences=2) as recording:
        inputs = embed(torch.randn(6, 4, 5, dtype=torch.float64))
        _, state = module(inputs)
        output, _ = module(inputs, state)  # the same input once more, from where the first call ended
        (output.sum() + inputs.pow(2).sum()).backward()
    assert recording["l0"].fidelity < 1e-13


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_layer_that_is_frozen_for_one_of_its_calls_is_faithful_in_all(kind: type[nn.RNNBase]) -> None:
    generator, critic = nn.Linear(5, 5).double(), kind(5, 8, bidirectional=True).double()
    inputs = torch.randn(6, 4, 5, dtype=torch.float64)
    with record(critic) as recording:  # adversarial training: the critic judges, frozen, and then learns
        critic.requires_grad_(False)
        critic(generator(inputs))[0].sum().backward()
        critic.requires_grad_(True)
        critic(generator(inputs).detach())[0].pow(2).sum().backward()
    judged, learned = recording.calls("l0_reverse")
    assert judged.fidelity < 1e-13 and "module's input" in judged.fidelity_reason
    assert learned.fidelity < 1e-13 and "weight_hh" in learned.fidelity_reason
    assert {row.status for row in recording.coverage} == {"exact"}


@pytest.mark.parametrize("frozen_first", [True, False])
def test_a_sequence_read_half_frozen_is_faithful(frozen_first: bool) -> None:
    module = nn.LSTM(5, 8).double()
    inputs = torch.randn(6, 4, 5, dtype=torch.float64, requires_grad=True)
    with record(module) as recording:
        module.requires_grad_(not frozen_first)
        first, state = module(inputs)
        module.requires_grad_(frozen_first)
        second, _ = module(inputs, state)
        (first.sum() + second.pow(2).sum()).backward()
    assert len(recording["l0"].hidden) == 12
    assert recording["l0"].fidelity < 1e-13


def test_a_cell_that_is_frozen_for_one_of_its_loops_is_held_against_the_others_gradient_only() -> None:
    cell = nn.GRUCell(5, 8).double()
    inputs = torch.randn(6, 4, 5, dtype=torch.float64, requires_grad=True)
    with record(cell) as recording:
        for frozen in (True, False):
            cell.requires_grad_(not frozen)
            state = torch.zeros(4, 8, dtype=torch.float64)
            for step in inputs:
                state = cell(step, state)
            state.pow(2).sum().backward()
    judged, learned = recording.calls("l0")
    assert judged.fidelity is None and judged.hidden_grad[-1].abs().max() > 0
    assert learned.fidelity < 1e-13


def penalised(model: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """The loss of a critic with a gradient penalty: one of three calls is differentiated twice."""
    mixed = (0.5 * real + 0.5 * fake).requires_grad_()
    (grad,) = torch.autograd.grad(model(mixed)[0][-1].sum(), mixed, create_graph=True)
    apart = model(fake)[0][-1].mean() - model(real)[0][-1].mean()
    return apart + 10 * (grad.norm(dim=(0, 2)) - 1).square().mean()


@pytest.mark.parametrize(("batch", "sequences"), [(4, None), (12, 2)])
def test_a_call_that_is_differentiated_twice_is_named_and_the_others_stay_exact(
    batch: int, sequences: int | None
) -> None:
    module = nn.LSTM(3, 5).double()
    real, fake = torch.randn(2, 6, batch, 3, dtype=torch.float64)
    with record(module, sequences=sequences) as recording:
        penalised(module, real, fake).backward()
    penalty, *others = recording.calls("l0")
    assert not penalty.has_gradients and [trace.has_gradients for trace in others] == [True, True]
    with pytest.raises(RuntimeError, match="create_graph=True"):
        _ = penalty.hidden_grad
    assert penalty.gates["forget"].shape[0] == 6
    assert all(trace.fidelity is not None and trace.fidelity < 1e-13 for trace in others)
    with record(module, sequences=sequences) as alone:
        (module(fake)[0][-1].mean() - module(real)[0][-1].mean()).backward()
    for trace, expected in zip(others, alone.calls("l0"), strict=True):
        torch.testing.assert_close(trace.hidden_grad, expected.hidden_grad, rtol=0, atol=1e-14)
    (row,) = recording.coverage
    assert row.status == "partial"
    assert "1 call differentiated with create_graph=True" in row.reason


def test_of_a_second_order_inner_loop_the_outer_call_stays_exact() -> None:
    model, inputs = nn.LSTM(3, 5).double(), torch.randn(2, 6, 4, 3, dtype=torch.float64)
    with record(model) as recording:
        slow = dict(model.named_parameters())
        inner = torch.func.functional_call(model, slow, (inputs[0],))[0][-1].square().mean()
        grads = torch.autograd.grad(inner, list(slow.values()), create_graph=True)
        fast = {name: value - 0.4 * grad for (name, value), grad in zip(slow.items(), grads, strict=True)}
        torch.func.functional_call(model, fast, (inputs[1],))[0][-1].square().mean().backward()
    support, query = recording.calls("l0")
    assert not support.has_gradients
    assert query.fidelity is not None and query.fidelity < 1e-13


def expanding(kind: type[nn.RNNBase], **sizes: int) -> nn.RNNBase:
    module = kind(8, 64, **sizes)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.startswith("weight_hh"):
                weight.mul_(4)
    return module


@pytest.mark.parametrize(
    "stack", [{}, {"num_layers": 2, "bidirectional": True}, {"num_layers": 2, "dropout": 0.3}], ids=str
)
@pytest.mark.parametrize("is_autocast", [False, True], ids=["bfloat16-true", "bfloat16-mixed"])
def test_right_equations_pass_whatever_the_network_makes_of_rounding_which_is_a_number_of_its_own(
    is_autocast: bool, stack: dict[str, int]
) -> None:
    module = expanding(nn.RNN, **stack).to(torch.float32 if is_autocast else torch.bfloat16)
    inputs = torch.randn(100, 4, 8, dtype=module.weight_hh_l0.dtype)
    with record(module) as recording:
        with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
            output, _ = module(inputs)
        output[-1].float().pow(2).sum().backward()
    for trace in recording.values():
        assert trace.is_faithful and trace.fidelity < 1e-12
        assert trace.precision == "bfloat16"
    assert recording["l0"].rounding > 0.05
    assert "bfloat16 alone changes the gradient by" in recording["l0"].fidelity_reason
    assert recording.coverage[0].status == "exact"


def test_packed_sequences_of_a_projected_stack_in_bfloat16_pass_the_check_in_double() -> None:
    module = nn.LSTM(5, 8, num_layers=2, proj_size=3, bidirectional=True).to(torch.bfloat16)
    packed = pack_padded_sequence(
        torch.randn(9, 3, 5, dtype=torch.bfloat16), torch.tensor([4, 9, 6]), enforce_sorted=False
    )
    with record(module) as recording:
        output, (hidden, _) = module(packed)
        (output.data.float().pow(2).sum() + hidden.float().sum()).backward()
    for trace in recording.values():
        assert trace.is_faithful and trace.tolerance == IN_DOUBLE and 0 < trace.rounding < 0.1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("error", [1e-4, 1e-2], ids=str)
def test_equations_that_are_slightly_wrong_are_caught_in_every_precision(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, error: float
) -> None:
    right = GRUEquations.adjoint

    def wrong(*given: Any) -> StepAdjoint:
        adjoint = right(*given)
        return adjoint._replace(recurrent_grad=adjoint.recurrent_grad * (1 + error))

    monkeypatch.setattr(GRUEquations, "adjoint", wrong)
    module = nn.GRU(5, 8).to(dtype)
    with record(module, engine="explicit") as recording:  # others hold programs made of the right ones
        module(torch.randn(12, 4, 5, dtype=dtype))[0].float().pow(2).mean().backward()
    assert recording["l0"].is_faithful is False
    assert recording.coverage[0].status == "not faithful"


def test_a_layer_that_was_found_right_is_not_run_again_at_later_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    module, checked, reruns = nn.GRU(5, 8).to(torch.bfloat16), set[str](), []
    monkeypatch.setattr(fidelity, "rerun", lambda *given: reruns.append(given) or rerun(*given))
    for _ in range(2):
        with Recording(module, checked=checked) as recording:
            module(torch.randn(12, 4, 5, dtype=torch.bfloat16))[0].float().pow(2).mean().backward()
        assert recording.coverage[0].status == "exact"
    assert len(reruns) == 1  # in double precision, once


def test_of_a_large_batch_a_few_sequences_are_run_again_and_without_memory_for_it_the_tolerance_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, inputs, sizes = nn.GRU(5, 8).to(torch.bfloat16), torch.randn(12, 40, 5, dtype=torch.bfloat16), []

    def without_memory(found: Any, call: Any, precision: Any) -> Any:
        sizes.append(call.inputs.shape[1])
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(fidelity, "rerun", without_memory)
    with record(module, sequences=4) as recording:
        module(inputs)[0].float().pow(2).mean().backward()
    assert recording["l0"].is_faithful and recording["l0"].tolerance == TOLERANCES[torch.bfloat16]
    assert sizes == [8]


def test_one_layer_of_a_stack_is_checked_alone() -> None:
    module = nn.LSTM(5, 8, num_layers=2).double()
    with Recording(module, layers="l1") as recording:
        module(torch.randn(6, 4, 5, dtype=torch.float64))[0].square().mean().backward()
    assert recording["l1"].is_faithful
    assert list(recording) == ["l1"]


def test_of_a_batch_that_is_too_large_to_copy_some_sequences_are_checked_against_the_kernel(monkeypatch):
    monkeypatch.setattr("rnn_diag.capture.call_log.WHOLE", 2 * 12 * 5 - 1)
    torch.manual_seed(0)
    model, inputs = nn.LSTM(3, 3), torch.randn(5, 2, 3)
    with record(model, sequences=1) as recording:
        model(inputs)[0].square().sum().backward()
    trace = recording["l0"]
    assert trace.provenance.sequences.tolist() == [0]
    assert trace.is_faithful
    assert "own kernel in double precision" in trace.source.check().here().reason


def test_wrong_equations_are_found_in_a_batch_that_is_too_large_to_copy(monkeypatch):
    monkeypatch.setattr("rnn_diag.capture.call_log.WHOLE", 1)
    torch.manual_seed(0)
    model, inputs = nn.GRU(3, 3), torch.randn(5, 4, 3)
    with record(model, sequences=2, engine="explicit") as recording:
        model(inputs)[0].square().sum().backward()
    equations = type(recording["l0"].equations)
    right = equations.adjoint

    def wrong(*given):
        found = right(*given)
        return found._replace(recurrent_grad=2 * found.recurrent_grad)

    monkeypatch.setattr(equations, "adjoint", wrong)
    assert recording["l0"].is_faithful is False
