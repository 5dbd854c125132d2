"""Every rule speaks at a network that has what it looks for, and is silent at one that nearly has."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import rnn_diag.nn
from rnn_diag.capture import record
from rnn_diag.doctor import Clipping, Severity, Vitals, judge
from rnn_diag.doctor.examine import measurements_of
from rnn_diag.doctor.rules import findings_of
from rnn_diag.interventions.initialization import chrono, forget_gate_bias, identity, orthogonal_per_gate
from tests.doctor.wards import FEATURES, every_step, found, inputs, last_step, seen

UNITS = 16


def lstm(**options: int) -> nn.LSTM:
    return nn.LSTM(FEATURES, UNITS, **options)  # type: ignore[arg-type]


def rnn(**options: str) -> nn.RNN:
    return nn.RNN(FEATURES, UNITS, **options)  # type: ignore[call-overload, no-any-return]


def turning() -> nn.RNN:
    """Return a recurrence that keeps the length of a small state: orthogonal, without biases."""
    layer = nn.RNN(FEATURES, UNITS, bias=False)
    orthogonal_per_gate(layer)
    return layer


def linear(matrix: list[list[float]] | Tensor) -> nn.Module:
    """Return `h_t = W h_{t-1} + x_t`."""
    weight = torch.as_tensor(matrix)
    layer = rnn_diag.nn.RNN(FEATURES, len(weight), nonlinearity="identity")
    with torch.no_grad():
        layer.weight_hh_l0.copy_(weight)
    return layer


@torch.no_grad()
def with_bias(layer: nn.LSTM, gate: int, value: float, places: tuple[str, ...] = ("bias_ih_l0",)) -> nn.LSTM:
    for name in places:
        getattr(layer, name)[gate * UNITS : (gate + 1) * UNITS] = value
    return layer


def keeping(layer: nn.Module, longest: int = 40) -> nn.Module:
    chrono(layer, longest)
    return layer


def test_a_loss_at_the_end_that_does_not_reach_the_start_is_vanishing() -> None:
    (finding,) = seen(rnn()).of("vanishing")
    assert finding.severity is Severity.CRITICAL
    assert finding.evidence[0].tag == "memory_horizon/l0/steps"
    assert finding.evidence[0].value < 20


def test_a_loss_that_reaches_the_start_is_not_vanishing() -> None:
    layer = turning()
    assert "vanishing" not in found(layer, inputs(scale=0.1))


def test_vanishing_under_a_loss_at_every_step_is_found_as_hidden() -> None:
    report = seen(rnn(), loss=every_step)
    assert [one.id for one in report.findings] == ["hidden_vanishing"]
    assert abs(report.vitals["l0"].log10_first_to_last) < 1  # the total gradient shows nothing


def test_a_long_horizon_under_a_loss_at_every_step_hides_nothing() -> None:
    layer = turning()
    assert found(layer, inputs(scale=0.1), every_step) == []


def test_growth_to_the_power_of_the_steps_is_exploding() -> None:
    report = seen(linear(1.3 * torch.eye(4)), inputs(30))
    (finding,) = report.of("exploding")
    assert finding.evidence[0].value == pytest.approx(1.3**29, rel=1e-4)
    assert finding.severity is Severity.WARNING
    assert seen(linear(1.5 * torch.eye(4)), inputs(30)).severity is Severity.CRITICAL


def test_a_matrix_that_keeps_lengths_does_not_explode() -> None:
    assert found(linear(torch.eye(4)), inputs(30)) == []


def test_large_transient_growth_inside_the_unit_circle_is_found() -> None:
    (finding,) = seen(linear([[0.9, 20.0], [0.0, 0.9]]), inputs(10)).of("transient_growth")
    assert finding.evidence[0].value == pytest.approx(0.9)
    assert finding.severity is Severity.WARNING


def test_small_transient_growth_is_not() -> None:
    assert "transient_growth" not in found(linear([[0.9, 0.5], [0.0, 0.9]]), inputs(10))


@pytest.mark.parametrize(("gate", "value", "words"), [(0, -20.0, "input"), (1, -20.0, "forget"), (3, -20.0, "output")])
def test_a_gate_that_is_always_shut_is_stuck(gate: int, value: float, words: str) -> None:
    (finding,) = seen(with_bias(lstm(), gate, value)).of("stuck_gate")
    assert words in finding.meaning
    assert finding.evidence[0].value == 1


def test_gates_that_are_nearly_shut_so_as_to_remember_long_are_not_stuck() -> None:
    assert found(keeping(lstm(), 300), inputs(300)) == []  # its input gates are below 0.1 throughout


def test_a_forget_gate_that_is_always_open_is_not_stuck() -> None:
    assert "stuck_gate" not in found(with_bias(lstm(), 1, 20.0))


def test_a_gate_that_switches_between_its_ends_is_a_latch_and_only_told() -> None:
    layer = keeping(lstm())
    with torch.no_grad():
        layer.weight_ih_l0[:UNITS, 0] = 30.0
        layer.bias_ih_l0[:UNITS] = 0.0
    (finding,) = seen(layer).findings
    assert (finding.id, finding.severity) == ("latching", Severity.INFO)


def test_a_gate_around_its_middle_is_no_latch() -> None:
    assert "latching" not in found(lstm())


@pytest.mark.parametrize(("dead", "expected"), [(8, True), (3, False)])
def test_relu_units_that_never_fire_are_found_when_they_are_many(dead: int, expected: bool) -> None:
    layer = rnn(nonlinearity="relu")
    identity(layer, 0.9)
    with torch.no_grad():
        layer.bias_ih_l0[:dead] = -100.0
    assert ("dead_relu" in found(layer)) is expected


@pytest.mark.parametrize(("scale", "expected"), [(100.0, True), (0.5, False)])
def test_tanh_units_at_their_ends_are_saturated(scale: float, expected: bool) -> None:
    assert ("saturated_tanh" in found(rnn(), inputs(scale=scale))) is expected


def test_the_default_forget_bias_is_too_low_for_long_sequences_and_chrono_is_named() -> None:
    (finding,) = seen(lstm()).of("forget_bias_low")
    assert finding.evidence[-1].value == pytest.approx(math.log(39))
    assert finding.option == "initialization=[chrono] initialization.chrono.longest=40"


def test_the_same_bias_is_enough_for_short_sequences_and_a_high_one_for_long_ones() -> None:
    assert "forget_bias_low" not in found(lstm(), inputs(8))
    assert found(keeping(lstm())) == []


def test_a_forget_bias_at_the_first_layer_only_is_uneven_and_at_all_layers_is_not() -> None:
    layer = lstm(num_layers=2, bidirectional=True)
    forget_gate_bias(layer, 4.0)
    assert "forget_bias_uneven" not in found(layer)
    with torch.no_grad():
        layer.bias_ih_l1_reverse.zero_()
    (finding,) = seen(layer).of("forget_bias_uneven")
    assert finding.layer == "l1_reverse"


def test_a_forget_bias_in_one_place_beside_a_random_one_in_the_other_is_found() -> None:
    assert "forget_bias_one_of_two" in found(with_bias(lstm(), 1, 4.0))
    both = with_bias(with_bias(lstm(), 1, 4.0), 1, 0.0, ("bias_hh_l0",))
    assert "forget_bias_one_of_two" not in found(both)


def test_clipping_to_a_small_norm_acts_always_and_to_a_large_one_never() -> None:
    (finding,) = seen(keeping(lstm()), gradient_clip_val=1e-6).findings
    assert (finding.id, finding.severity) == ("clipping_nearly_always", Severity.INFO)  # one batch is not always
    assert seen(keeping(lstm()), gradient_clip_val=1e6).findings == ()


@pytest.mark.parametrize(
    ("steps", "severity"), [(9, Severity.INFO), (10, Severity.ADVICE)], ids=["too few to know", "enough"]
)
def test_clipping_is_told_once_for_all_layers_and_names_the_usual_norm(steps: int, severity: Severity) -> None:
    clipping = Clipping.of([0.25] * steps, limit=0.5)
    assert clipping is not None
    names = ("clip_share", "clip_factor", "clip_steps", "clip_value")
    numbers = dict(zip(names, (clipping.share, clipping.factor, clipping.steps, clipping.limit), strict=True))
    (finding,) = findings_of([Vitals(layer, **numbers) for layer in ("l0", "l1", "l2")])
    assert (finding.layer, finding.severity) == ("the run", severity)
    assert finding.evidence[-1].value == 2.0
    assert (finding.call == "Trainer(gradient_clip_val=2)") is (severity is Severity.ADVICE)


class HalfPrecision(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.recurrent, self.dtype = nn.GRU(FEATURES, 8), dtype

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", self.dtype):
            output, state = self.recurrent(batch)
        return output, state


def tiny_loss(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch)[0][-1].float().mean() * 1e-7


def test_a_loss_too_small_for_float16_is_underflow_and_for_bfloat16_it_is_not() -> None:
    assert found(HalfPrecision(torch.float16), inputs(8), tiny_loss) == ["float16_underflow"]
    assert "float16_underflow" not in found(HalfPrecision(torch.bfloat16), inputs(8), tiny_loss)
    assert "float16_underflow" not in found(HalfPrecision(torch.float16), inputs(8))


def in_chunks(detached: bool = True, unrelated: bool = False) -> Callable[..., Tensor]:
    """Return a loss at every step of two chunks, the second of which starts where the first one ended."""

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        first, second = batch.chunk(2)
        output, state = model(first)
        state = torch.rand_like(state) if unrelated else state.detach() if detached else state
        return output.square().mean() + model(second, state)[0].square().mean()

    return loss


def test_a_carried_state_is_cut_too_short_where_gradients_would_reach_further() -> None:
    assert found(linear(torch.eye(4)), loss=in_chunks()) == ["truncation_too_short"]
    assert "truncation_too_short" not in found(linear(torch.eye(4)), loss=every_step)  # nothing was cut
    assert "truncation_too_short" not in found(linear(0.5 * torch.eye(4)), loss=in_chunks())


def test_a_state_that_stays_on_the_graph_is_cut_nowhere() -> None:
    assert "truncation_too_short" not in found(linear(torch.eye(4)), loss=in_chunks(detached=False))


def test_a_state_that_is_data_is_not_taken_for_a_carried_one() -> None:
    assert "truncation_too_short" not in found(linear(torch.eye(4)), loss=in_chunks(unrelated=True))


def test_sequences_that_start_anew_among_others_that_go_on_are_carried_all_the_same() -> None:
    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        output, state = model(batch[:20])
        going_on = state.detach() * torch.tensor([1.0, 0.0, 1.0, 1.0])[:, None]
        return output.square().mean() + model(batch[20:], going_on)[0].square().mean()

    assert found(linear(torch.eye(4)), loss=loss) == ["truncation_too_short"]


def end_states(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch)[1][0].square().mean()


def test_a_backward_direction_read_at_the_last_step_is_dead_and_at_its_own_end_is_not() -> None:
    layer = keeping(lstm(bidirectional=True))
    (finding,) = seen(layer).findings
    assert (finding.id, finding.layer) == ("dead_direction", "l0_reverse")
    assert found(layer, loss=end_states) == []


LENGTHS = (40, 8, 10, 12)


def padded() -> Tensor:
    batch = inputs()
    for sequence, length in enumerate(LENGTHS):
        batch[length:, sequence] = 0
    return batch


def packed(lengths: tuple[int, ...] = LENGTHS) -> PackedSequence:
    return pack_padded_sequence(inputs(), torch.tensor(lengths), enforce_sorted=False)


def last_states(model: nn.Module, batch: PackedSequence) -> Tensor:
    return model(batch)[1][0].square().mean()


def test_zeros_after_the_end_of_sequences_are_padding_that_is_read_unless_packed() -> None:
    assert found(keeping(lstm()), padded())[0] == "padding_read"
    assert "padding_read" not in found(keeping(lstm()), packed(), last_states)


def within_lengths(model: nn.Module, batch: Tensor) -> Tensor:
    """A loss that leaves padding out, as one with an `ignore_index` does."""
    steps = torch.arange(len(batch)).unsqueeze(1) < torch.tensor(LENGTHS)
    return model(batch)[0][steps].square().mean()


def test_padding_that_the_loss_leaves_out_is_none_unless_a_layer_reads_it_first() -> None:
    assert "padding_read" not in found(keeping(lstm()), padded(), within_lengths)
    assert "padding_read" in found(keeping(lstm(bidirectional=True)), padded(), within_lengths)


def test_a_delay_without_input_that_all_sequences_share_is_not_taken_for_padding() -> None:
    batch = inputs()
    batch[15:] = 0
    assert "padding_read" not in found(keeping(lstm()), batch)


def test_a_batch_that_is_mostly_padding_is_found_and_one_that_is_a_third_is_not() -> None:
    assert found(keeping(lstm()), packed(), last_states) == ["padding_dominates"]
    assert found(keeping(lstm()), packed((40, 20, 30, 20)), last_states) == []


class Two(nn.Module):
    def __init__(self, uses_both: bool) -> None:
        super().__init__()
        self.first, self.second, self.uses_both = keeping(lstm()), keeping(lstm()), uses_both

    def forward(self, batch: Tensor) -> tuple[Tensor]:
        output = self.first(batch)[0]
        return (output + self.second(batch)[0] if self.uses_both else output,)


def test_a_layer_that_is_never_called_is_found() -> None:
    (finding,) = seen(Two(uses_both=False)).findings
    assert (finding.id, finding.layer, finding.severity) == ("never_ran", "second.l0", Severity.WARNING)
    assert found(Two(uses_both=True)) == []


def test_an_input_that_is_not_finite_is_found_at_its_step_and_sequence() -> None:
    batch = inputs()
    batch[7, 2, 1] = torch.inf
    (finding,) = seen(keeping(lstm()), batch).findings
    assert finding.id == "non_finite"
    assert "input at step 7 of sequence 2" in finding.meaning
    batch[7, 2, 1] = 1e4
    assert "non_finite" not in found(keeping(lstm()), batch)


@pytest.mark.parametrize(("factor", "expected"), [(1.5, True), (1.00001, False)])
def test_numbers_that_fail_their_check_are_unfaithful_and_nothing_else_is_said(factor: float, expected: bool) -> None:
    layer = rnn()
    with record(layer) as recording:
        last_step(layer, inputs()).backward()
    recording._notes.calls[""][0].weights["l0"].weight_hh.mul_(factor)
    words = [finding.id for finding in judge(measurements_of(recording), recording.coverage).findings]
    assert (words == ["unfaithful"]) is expected


class HomeMadeLSTM(nn.Module):
    """A recurrence that nobody registered, around one that is known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Linear(FEATURES, 4 * UNITS)

    def forward(self, batch: Tensor) -> Tensor:
        return self.weight(batch)[..., :UNITS].tanh()


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.known, self.unknown = keeping(lstm()), HomeMadeLSTM()

    def forward(self, batch: Tensor) -> tuple[Tensor]:
        return (self.known(batch)[0] + self.unknown(batch),)


def test_a_recurrence_that_cannot_be_followed_is_told_without_alarm() -> None:
    (finding,) = seen(Mixed()).findings
    assert (finding.id, finding.layer, finding.severity) == ("not_followed", "unknown", Severity.INFO)
    assert "rnn_diag.register" in finding.meaning


def test_a_model_of_which_nothing_can_be_followed_gets_a_report_that_says_so() -> None:
    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch).square().mean()

    report = seen(HomeMadeLSTM(), loss=loss)
    (finding,) = report.findings
    assert (finding.id, finding.layer) == ("not_followed", "the model")
    assert "rnn_diag.register" in finding.meaning and finding.call.startswith("rnn_diag.register(")
    assert math.isfinite(report.loss) and "the model" in str(report) and "Every layer" not in str(report)
    with pytest.raises(ValueError, match="has no recurrent module"):
        seen(nn.Linear(FEATURES, 2), loss=loss)


@pytest.mark.parametrize("loss", [last_step, every_step])
def test_a_layer_without_gradients_is_judged_by_its_states_and_weights_alone(loss: Callable[..., Tensor]) -> None:
    layer = with_bias(lstm(), 0, -20.0)
    with record(layer) as recording, torch.no_grad():
        loss(layer, inputs())
    assert {finding.id for finding in judge(measurements_of(recording), recording.coverage).findings} == {
        "stuck_gate",
        "forget_bias_low",
    }


def test_a_layer_whose_result_is_detached_gets_no_gradient_and_a_frozen_one_is_left_alone() -> None:
    class Two(nn.Module):
        def __init__(self, cut: bool) -> None:
            super().__init__()
            self.lower, self.upper, self.cut = keeping(lstm()), keeping(nn.LSTM(UNITS, UNITS)), cut

        def forward(self, steps: Tensor) -> Any:
            below, _ = self.lower(steps)
            return self.upper(below.detach() if self.cut else below)

    (finding,) = seen(Two(cut=True)).findings
    assert (finding.id, finding.layer, finding.severity) == ("no_gradient", "lower.l0", Severity.ADVICE)
    assert finding.confidence == 0.5  # networks may take turns
    assert found(Two(cut=False)) == []
    frozen = Two(cut=True)
    frozen.lower.requires_grad_(False)
    assert found(frozen) == []


@pytest.mark.parametrize(("gates", "expected"), [((0, 1, 3), ["saturated_gates"]), ((0, 1), ["latching"])])
def test_gates_that_all_sit_at_their_ends_have_no_slope_and_some_of_them_are_latches(
    gates: tuple[int, ...], expected: list[str]
) -> None:
    layer = keeping(lstm())
    with torch.no_grad():
        for gate in gates:
            layer.weight_ih_l0[gate * UNITS : (gate + 1) * UNITS] = 0.0
            layer.weight_ih_l0[gate * UNITS : (gate + 1) * UNITS, 0] = 1000.0
            layer.bias_ih_l0[gate * UNITS : (gate + 1) * UNITS] = 0.0
    words = found(layer, loss=every_step)
    assert [word for word in words if word in ("saturated_gates", "latching", "stuck_gate")] == expected


@pytest.mark.parametrize(("scale", "expected"), [(8.0, True), (1.0, False)])
def test_a_gru_whose_gradients_grow_and_decay_has_transient_growth(scale: float, expected: bool) -> None:
    """A chain of units, each fed by the one before: what enters the last has grown on its way from the first."""
    layer = nn.GRU(FEATURES, UNITS)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.weight_hh_l0[2 * UNITS :] = scale * torch.eye(UNITS).roll(1, 0).tril()
        layer.bias_ih_l0[:UNITS] = 10.0
        layer.bias_ih_l0[UNITS : 2 * UNITS] = -10.0

    def chain_end(model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch)[0][-1, :, 3].sum()

    report = seen(layer, inputs(30), chain_end)
    assert bool(report.of("transient_growth")) == expected
