"""How far a loss reaches: vanishing, seen or hidden, and chunks that are cut too short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import rnn_diag.interventions.initialization
from rnn_diag.doctor import Severity, Vitals
from rnn_diag.doctor.rules.reach import vanishing
from tests.doctor.small_networks import UNITS, every_step, found, inputs, linear, lstm, rnn, seen, turning


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


def test_nobody_is_advised_to_do_again_what_was_done() -> None:
    fades = Vitals("l0", kind="lstm", is_gated=True, memory_gate="forget", steps=40, horizon=5.0, furthest=39.0)
    fresh, after_chrono = (vanishing(replace(fades, forget_bias=bias)) for bias in (0.0, 2.7))
    assert fresh is not None and "chrono" in fresh.call
    assert after_chrono is not None and not after_chrono.call and "not scaled to about 1" in after_chrono.remedy


def test_what_the_other_direction_may_see_is_said_of_a_bidirectional_layer_alone() -> None:
    def ends(model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch)[1][0].square().mean()

    both = seen(lstm(bidirectional=True), loss=ends).of("vanishing")
    assert both and all("other direction" in one.meaning for one in both)
    (alone,) = seen(lstm(), loss=ends).of("vanishing")
    assert "other direction" not in alone.meaning


def test_a_lower_layer_is_not_told_of_a_loss_at_its_steps() -> None:
    report = seen(nn.RNN(3, UNITS, num_layers=2), loss=every_step)
    (lower,) = report.of("hidden_vanishing", "l0")
    assert "by a loss or by a layer above" in lower.meaning


def test_advice_for_a_layer_in_a_list_can_be_pasted() -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn_stack = nn.ModuleList([lstm(), nn.LSTM(UNITS, UNITS)])

        def forward(self, batch: Tensor) -> tuple[Tensor]:
            for layer in self.rnn_stack:
                batch, _ = layer(batch)
            return (batch,)

    model = Stack()
    calls = {one.call for one in seen(model).findings if one.call}
    assert "rnn_diag.interventions.initialization.chrono(model.rnn_stack[0], longest=40)" in calls
    for call in calls:
        exec(call, {"rnn_diag": rnn_diag, "model": model})


def test_a_loss_at_a_step_of_its_own_in_every_sequence_is_followed_from_there() -> None:
    lengths = torch.tensor([40, 31, 35, 28])

    def last_valid_step(model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch)[0][lengths - 1, torch.arange(4)].square().sum()

    report = seen(lstm(), inputs(), last_valid_step)
    assert report.vitals["l0"].furthest == 32.0 and report.vitals["l0"].horizon < 15
    assert [one.id for one in report.findings] == ["vanishing", "forget_bias_low"]


@pytest.mark.parametrize("parametrise", [weight_norm, spectral_norm])
def test_no_call_is_advised_that_parametrised_weights_would_refuse(parametrise: Callable[..., nn.Module]) -> None:
    report = seen(parametrise(lstm(), "weight_hh_l0"))
    assert [(one.id, one.call) for one in report.findings] == [("vanishing", ""), ("forget_bias_low", "")]
