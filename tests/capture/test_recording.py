from __future__ import annotations

import re
import threading

import pytest
import torch
from torch import Tensor, nn

from rnn_diag import record


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
        self.head = nn.Linear(8, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.encoder(inputs)[0])


def test_layers_are_named_by_module_path_and_torchs_suffixes() -> None:
    model = Tagger()
    with record(model) as recording:
        model(torch.randn(5, 2, 3)).sum().backward()
    assert list(recording) == ["encoder.l0", "encoder.l0_reverse", "encoder.l1", "encoder.l1_reverse"]
    assert recording["encoder.l1"].inputs.shape == (5, 2, 8)


def test_loss_at_the_last_step_reaches_the_reverse_direction_at_its_first_step_only() -> None:
    module = nn.GRU(3, 4, bidirectional=True)
    with record(module) as recording:
        module(torch.randn(6, 2, 3))[0][-1].sum().backward()
    norms = recording["l0_reverse"].hidden_grad.norm(dim=-1)
    assert bool((norms[:-1] == 0).all()) and bool((norms[-1] > 0).all())
    assert bool((recording["l0"].hidden_grad.norm(dim=-1) > 0).all())


def test_output_that_gets_no_gradient_at_all_shows_the_gradient_that_came_through_the_memory() -> None:
    module, inputs = nn.LSTM(3, 4).double(), torch.randn(6, 2, 3, dtype=torch.float64)
    with record(module) as recording:
        _, (_, cell) = module(inputs)
        cell.sum().backward()
    trace = recording["l0"]
    torch.testing.assert_close(trace.cell_grad[-1], torch.ones(2, 4, dtype=torch.float64), rtol=0, atol=0)
    assert bool((trace.hidden_grad_direct == 0).all())
    assert trace.fidelity < 1e-14


def test_a_subset_of_the_sequences_has_the_values_that_all_have() -> None:
    model, inputs = Tagger().double(), torch.randn(5, 10, 3, dtype=torch.float64, requires_grad=True)
    traces = []
    for sequences in (None, 3):
        with record(model, sequences=sequences) as recording:
            model(inputs).pow(2).mean().backward()
        traces.append(recording["encoder.l0_reverse"])
    every, few = traces
    assert few.sequences.tolist() == sorted(set(few.sequences.tolist())) and len(few.sequences) == 3
    for field in ("hidden", "cell", "hidden_grad", "cell_grad", "hidden_grad_direct"):
        torch.testing.assert_close(getattr(few, field), getattr(every, field)[:, few.sequences], rtol=0, atol=1e-15)
    assert few.fidelity < 1e-13
    assert few.fidelity_reason == "checked against the gradient of weight_hh"


def test_more_sequences_than_there_are_is_all_of_them() -> None:
    module = nn.GRU(3, 4)
    with record(module, sequences=8) as recording:
        module(torch.randn(5, 2, 3))
    assert recording["l0"].sequences.tolist() == [0, 1]


def test_only_the_layers_that_match_are_recorded() -> None:
    model = Tagger()
    with record(model, layers=["*.l1", "*l1_reverse"]) as recording:
        model(torch.randn(5, 2, 3)).sum().backward()
    assert list(recording) == ["encoder.l1", "encoder.l1_reverse"]


def test_padding_of_a_nan_sequence_is_zero() -> None:
    module = nn.LSTM(3, 4)
    inputs = torch.randn(5, 2, 3)
    inputs[0, 1] = float("nan")
    packed = nn.utils.rnn.pack_padded_sequence(inputs, [5, 2])
    with record(module) as recording:
        module(packed)[0].data.sum().backward()
    assert bool((recording["l0"].hidden_grad[2:, 1] == 0).all())


def test_several_backward_passes_in_a_block_add_up() -> None:
    module, inputs = nn.LSTM(3, 4).double(), torch.randn(5, 2, 3, dtype=torch.float64)
    with record(module) as once:
        output, _ = module(inputs)
        (output[-1].sum() + 2 * output.pow(2).sum()).backward()
    with record(module) as twice:
        output, _ = module(inputs)
        output[-1].sum().backward(retain_graph=True)
        (2 * output.pow(2).sum()).backward()
    torch.testing.assert_close(twice["l0"].hidden_grad, once["l0"].hidden_grad, rtol=0, atol=1e-14)
    assert twice["l0"].fidelity < 1e-14


def test_micro_batches_in_one_block_are_one_trace_each() -> None:
    module = nn.GRU(3, 4).double()
    batches = torch.randn(2, 5, 2, 3, dtype=torch.float64)
    with record(module) as recording:
        for batch in batches:
            (module(batch)[0].sum() / 2).backward()
    for trace, batch in zip(recording.calls("l0"), batches, strict=True):
        with record(module) as alone:
            (module(batch)[0].sum() / 2).backward()
        torch.testing.assert_close(trace.hidden_grad, alone["l0"].hidden_grad, rtol=0, atol=0)
        assert trace.fidelity < 1e-14


def test_a_module_under_two_names_has_the_first() -> None:
    model = nn.Module()
    model.source = nn.GRU(3, 4)
    model.target = model.source
    with record(model) as recording:
        model.target(torch.randn(5, 2, 3))
    assert list(recording) == ["source.l0"]


def test_two_models_are_recorded_side_by_side() -> None:
    first, second = nn.GRU(3, 4), nn.LSTM(3, 5)
    with record(first) as of_first, record(second) as of_second:
        first(torch.randn(5, 2, 3))[0].sum().backward()
        second(torch.randn(7, 2, 3))[0].sum().backward()
    assert of_first["l0"].hidden_grad.shape == (5, 2, 4)
    assert of_second["l0"].hidden_grad.shape == (7, 2, 5)


def test_two_recordings_of_one_model_see_the_same() -> None:
    module = nn.LSTM(3, 4)
    with record(module) as outer:
        with record(module, sequences=1) as inner:
            module(torch.randn(5, 2, 3))[0].sum().backward()
        module(torch.randn(4, 2, 3))[0].sum().backward()
    assert [trace.hidden_grad.shape[0] for trace in outer.calls("l0")] == [5, 4]
    torch.testing.assert_close(inner["l0"].hidden_grad, outer.calls("l0")[0].hidden_grad[:, :1], rtol=0, atol=0)
    assert outer.calls("l0")[0].fidelity < 1e-6


def test_two_threads_record_their_own_models() -> None:
    problems: list[BaseException] = []

    def work(steps: int) -> None:
        try:
            module = nn.GRU(3, 4)
            for _ in range(20):
                with record(module) as recording:
                    module(torch.randn(steps, 2, 3))[0].sum().backward()
                assert recording["l0"].hidden_grad.shape[0] == steps
                assert recording["l0"].fidelity < 1e-5
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(steps,)) for steps in (3, 4, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert not hasattr(nn.GRU.forward, "__wrapped__")


def test_a_recording_that_starts_again_forgets_what_it_held() -> None:
    module = nn.GRU(3, 4)
    recording = record(module)
    for steps in (5, 7):
        recording.start()
        module(torch.randn(steps, 2, 3))[0].sum().backward()
        recording.stop()
        assert recording["l0"].hidden_grad.shape[0] == steps


def test_what_is_read_before_the_backward_pass_does_not_hide_what_comes_after_it() -> None:
    module = nn.LSTM(3, 4, num_layers=2)
    with record(module) as recording:
        output, _ = module(torch.randn(5, 2, 3))
        assert not recording["l0"].has_gradients
        output.sum().backward()
        assert recording["l0"].has_gradients
    assert recording["l0"].hidden_grad.abs().sum() > 0


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_states_and_gates_are_there_without_gradients(mode: type) -> None:
    module = nn.LSTM(3, 4, num_layers=2).eval()
    with record(module) as recording, mode():
        output, _ = module(torch.randn(5, 2, 3))
    torch.testing.assert_close(recording["l1"].hidden, output)
    assert recording["l0"].gates["forget"].shape == (5, 2, 4)
    assert recording["l0"].fidelity is None
    assert recording.coverage[0].status == "exact"
    assert "no backward pass reached the layer" in recording.coverage[0].reason


def test_frozen_weights_are_checked_by_the_gradient_that_passes_through() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LSTM(3, 4)).double()
    model[1].requires_grad_(False)
    with record(model) as recording:
        model(torch.randn(5, 2, 3, dtype=torch.float64))[0].sum().backward()
    trace = recording["1.l0"]
    assert trace.fidelity < 1e-14
    assert trace.fidelity_reason == "checked against the gradient of the module's input"


def test_a_parameter_as_initial_state_gets_the_gradient_that_the_sweep_ends_with() -> None:
    module, start = nn.GRU(3, 4).double(), nn.Parameter(torch.randn(1, 1, 4, dtype=torch.float64))
    with record(module) as recording:
        module(torch.randn(5, 2, 3, dtype=torch.float64), start.expand(1, 2, 4).contiguous())[0].sum().backward()
    torch.testing.assert_close(recording["l0"].swept.initial.hidden.sum(0), start.grad[0, 0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("call", ["keyword", "list", "direct", "expanded"])
def test_every_way_to_call_a_module_is_seen(call: str) -> None:
    module, inputs = nn.LSTM(3, 4), torch.randn(5, 2, 3)
    states = [torch.randn(1, 2, 4), torch.randn(1, 2, 4)]
    with record(module) as recording:
        if call == "keyword":
            output, _ = module(input=inputs, hx=tuple(states))
        elif call == "list":
            output, _ = module(inputs, states)
        elif call == "direct":
            output, _ = module.forward(inputs, tuple(states))
        else:
            states = [torch.randn(1, 1, 4).expand(1, 2, 4)] * 2
            output, _ = module(inputs, tuple(states))
        output.sum().backward()
    torch.testing.assert_close(recording["l0"].initial_cell, states[1][0])
    assert recording["l0"].fidelity < 1e-5


class PacksInside(nn.GRU):
    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths, enforce_sorted=False)
        return super().forward(packed)[1][-1]


def test_a_subclass_that_packs_inside_is_seen_with_the_lengths_that_its_kernel_saw() -> None:
    model = nn.Module()
    model.encoder = PacksInside(3, 4).double()
    with record(model) as recording:
        model.encoder(torch.randn(5, 3, 3, dtype=torch.float64), torch.tensor([2, 5, 3])).sum().backward()
    trace = recording["encoder.l0"]
    assert trace.lengths.tolist() == [2, 5, 3]
    assert trace.fidelity < 1e-14
    assert bool((trace.hidden_grad_direct[1, 0] == 1).all())  # the loss enters at the sequence's own last step


def test_non_contiguous_inputs_and_one_projected_unit_are_no_trouble() -> None:
    module = nn.LSTM(3, 4, proj_size=1).double()
    inputs = torch.randn(3, 2, 5, dtype=torch.float64).permute(2, 1, 0)
    with record(module) as recording:
        module(inputs)[0].sum().backward()
    assert recording["l0"].fidelity < 1e-14


ERRORS = {
    "reads_gradients": (
        RuntimeError,
        "'l0' has no gradients: no backward pass reached it while it was recorded; "
        "call backward() inside the block, or read states and gates only",
    ),
    "asks_for_an_unknown_layer": (KeyError, "no recurrent layer is called 'l7'; found: l0"),
    "asks_for_layers_that_do_not_exist": (ValueError, "no recurrent layer matches 'encodr*'; found: l0"),
    "records_nothing": (
        ValueError,
        "torch.nn.Linear has no recurrent module that can be followed, "
        "neither one of torch.nn or rnn_diag nor a registered one",
    ),
    "reads_a_module_called_twice": (
        RuntimeError,
        "'l0' was called 2 times while recording, each call with a state of its own; use recording.calls('l0')",
    ),
    "reads_what_never_ran": (
        KeyError,
        "'l0' has no trace: no call was seen: the model did not run it, or ran it inside a region compiled by "
        "torch.compile",
    ),
    "follows_no_sequences": (ValueError, "sequences=0; expected a whole number of at least 1, or None for all"),
    "follows_half_a_sequence": (TypeError, "sequences=2.5; expected a whole number of at least 1, or None for all"),
    "gives_no_pattern": (
        TypeError,
        "layers=None; expected a glob pattern such as 'encoder.*', or a list of them",
    ),
    "gives_an_empty_list_of_patterns": (
        ValueError,
        "layers=[]; expected at least one glob pattern, such as '*' for all layers",
    ),
    "records_what_is_no_module": (
        TypeError,
        "model=list; expected a torch.nn.Module that holds recurrent layers",
    ),
    "asks_for_an_unknown_gate": (
        KeyError,
        "no gate, block or state is called 'forget'; found: reset, update, candidate",
    ),
    "names_an_unknown_engine": (
        ValueError,
        "engine='fast'; choices: auto, explicit, in_bulk, replay, graphed, persistent",
    ),
}


def reads_gradients() -> None:
    module = nn.GRU(3, 4)
    with record(module) as recording:
        module(torch.randn(5, 2, 3))
    _ = recording["l0"].hidden_grad


def asks_for_an_unknown_layer() -> None:
    with record(nn.GRU(3, 4)) as recording:
        pass
    _ = recording["l7"]


def asks_for_layers_that_do_not_exist() -> None:
    record(nn.GRU(3, 4), layers="encodr*")


def records_nothing() -> None:
    with record(nn.Linear(3, 4)):
        pass


def reads_a_module_called_twice() -> None:
    module = nn.GRU(3, 4)
    with record(module) as recording:
        module(torch.randn(5, 2, 3))
        module(torch.randn(5, 2, 3))
    _ = recording["l0"]


def reads_what_never_ran() -> None:
    with record(nn.GRU(3, 4)) as recording:
        pass
    _ = recording["l0"]


def follows_no_sequences() -> None:
    record(nn.GRU(3, 4), sequences=0)


def follows_half_a_sequence() -> None:
    record(nn.GRU(3, 4), sequences=2.5)  # type: ignore[arg-type]


def gives_no_pattern() -> None:
    record(nn.GRU(3, 4), layers=None)  # type: ignore[arg-type]


def gives_an_empty_list_of_patterns() -> None:
    record(nn.GRU(3, 4), layers=[])


def records_what_is_no_module() -> None:
    record([nn.GRU(3, 4)])  # type: ignore[arg-type]


def asks_for_an_unknown_gate() -> None:
    module = nn.GRU(3, 4)
    with record(module) as recording:
        module(torch.randn(5, 2, 3))
    _ = recording["l0"].gates["forget"]


def names_an_unknown_engine() -> None:
    record(nn.GRU(3, 4), engine="fast")


@pytest.mark.parametrize("mistake", ERRORS)
def test_a_mistake_is_answered_in_one_clear_line(mistake: str) -> None:
    kind, text = ERRORS[mistake]
    with pytest.raises(kind, match=f"^[\"']?{re.escape(text)}[\"']?$"):
        globals()[mistake]()
