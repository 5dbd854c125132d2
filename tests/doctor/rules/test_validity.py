"""Layers that did not run, are not followed, or whose numbers mean nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn_diag import register
from rnn_diag.capture import record, registry
from rnn_diag.capture.registry import Seen
from rnn_diag.doctor import Finding, Severity, Vitals, examine, judge
from rnn_diag.doctor.examine import measurements_of
from rnn_diag.doctor.parameters import in_no_optimizer, parameters_of_layers
from rnn_diag.doctor.rules import findings_of
from tests.doctor.small_networks import (
    FEATURES,
    UNITS,
    every_step,
    found,
    inputs,
    keeping,
    last_step,
    lstm,
    rnn,
    seen,
    with_bias,
)


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
    assert "look at the data" in finding.remedy and finding.call == ""
    batch[7, 2, 1] = 1e4
    assert "non_finite" not in found(keeping(lstm()), batch)


@pytest.mark.parametrize(("factor", "expected"), [(1.5, True), (1.00001, False)])
def test_numbers_that_fail_their_check_are_unfaithful_and_nothing_else_is_said(factor: float, expected: bool) -> None:
    layer = rnn()
    with record(layer) as recording:
        last_step(layer, inputs()).backward()
    recording._log.calls[""][0].weights["l0"].weight_hh.mul_(factor)
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
    assert finding.confidence == 0.5  # two networks may be trained in turn
    assert found(Two(cut=False)) == []
    frozen = Two(cut=True)
    frozen.lower.requires_grad_(False)
    assert found(frozen) == []


class Leaky(nn.Module):
    """A cell of somebody's own: `h = tanh(W x + scale · h)`."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.weight, self.scale = nn.Linear(FEATURES, UNITS, bias=False), scale

    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(0.1 * self.weight(step) + self.scale * state)


class Loop(nn.Module):
    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, batch: Tensor) -> tuple[Tensor]:
        state, states = batch.new_zeros(batch.shape[1], UNITS), []
        for step in batch:
            state = self.cell(step, state)
            states.append(state)
        return (torch.stack(states),)


@pytest.fixture
def leaky() -> Iterator[type[Leaky]]:
    """Register the class without equations; forget it again."""
    registered = dict(registry._registrations)
    register(Leaky, read=lambda cell, args, kwargs, result: Seen(args[0], (args[1],), (result,)))
    yield Leaky
    registry._registrations.clear()
    registry._registrations.update(registered)


@pytest.mark.parametrize(
    ("scale", "expected", "severity"),
    [
        (0.2, "vanishing", Severity.CRITICAL),
        (0.85, "vanishing", Severity.WARNING),
        (1.5, "exploding", Severity.WARNING),
    ],
)
def test_a_cell_without_equations_is_judged_by_its_gradients(
    leaky: type[Leaky], scale: float, expected: str, severity: Severity
) -> None:
    model = Loop(leaky(scale))
    report = seen(model, inputs(23 if scale > 1 else 40, scale=1e-6), lambda m, batch: m(batch)[0][-1].sum())
    (finding,) = report.findings
    assert (finding.id, finding.severity, finding.layer) == (expected, severity, "cell.l0")
    assert "not judged: gates, weights and horizon of cell.l0" in str(report)


def test_a_cell_without_equations_whose_gradients_are_well_is_not_called_well_in_all_else(leaky: type[Leaky]) -> None:
    report = seen(Loop(leaky(1.0)), inputs(scale=1e-6), lambda m, batch: m(batch)[0][-1].sum())
    assert report.findings == ()
    assert str(report).startswith(
        "nothing wrong found in 1 layer over 1 measured step; not judged: gates, weights and horizon of cell.l0"
    )


def test_a_number_of_a_cell_without_equations_that_is_not_finite_is_found(leaky: type[Leaky]) -> None:
    model = Loop(leaky(0.9))
    with torch.no_grad():
        model.cell.weight.weight[3] = torch.nan
    (finding,) = seen(model).findings
    assert (finding.id, finding.severity) == ("non_finite", Severity.CRITICAL)
    assert "hidden at step 0 of sequence 0, unit 3" in finding.meaning


def test_a_frozen_layer_gets_no_advice_on_how_to_train_it() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent, self.head = rnn(), nn.Linear(UNITS, 1)

        def forward(self, batch: Tensor) -> tuple[Tensor]:
            return (self.head(self.recurrent(batch)[0]),)

    model = Head()
    assert {"vanishing"} <= set(found(model))
    model.recurrent.requires_grad_(False)
    report = seen(model)
    assert report.findings == ()
    assert "training (frozen) of recurrent.l0" in str(report)


def test_gradients_that_are_all_exactly_zero_are_found_and_become_a_warning_after_several_batches() -> None:
    (finding,) = seen(keeping(lstm()), loss=lambda m, batch: 0.0 * m(batch)[0].sum()).findings
    assert (finding.id, finding.severity) == ("zero_gradient", Severity.ADVICE)
    (finding,) = findings_of([Vitals("l0", kind="lstm", has_gradients=True, exact_zero=1.0, zero_batches=3)])
    assert (finding.id, finding.severity) == ("zero_gradient", Severity.WARNING)


def test_a_layer_in_no_optimizer_is_found() -> None:
    model = nn.Sequential(nn.LSTM(FEATURES, UNITS), nn.Linear(UNITS, 1))
    assert in_no_optimizer(parameters_of_layers(model), model, model[1].parameters()) == {"0.l0"}
    assert in_no_optimizer(parameters_of_layers(model), model, model.parameters()) == frozenset()
    assert (
        in_no_optimizer(parameters_of_layers(model), model, nn.Linear(1, 1).parameters()) == frozenset()
    )  # flattened: not known
    (finding,) = findings_of([Vitals("0.l0", kind="lstm", has_gradients=True, in_no_optimizer=True)])
    assert (finding.id, finding.severity) == ("not_optimized", Severity.WARNING)
    assert finding.call == "torch.optim.Adam(model[0].parameters())"


def test_no_finding_prints_an_empty_remedy() -> None:
    for finding in (*seen(Mixed()).findings, Finding("latching", Severity.INFO, "l0", "At work.")):
        assert "Try: nothing" not in str(finding) and "what the reason says" not in str(finding)
        assert not str(finding).endswith("Try: ")


class Convolutional(nn.Module):
    """A cell whose state is an image."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.mix.weight.copy_(0.2 * torch.eye(2)[:, :, None, None])

    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        return step + self.mix(state)


def test_a_cell_whose_state_is_an_image_is_judged_like_any_other() -> None:
    registered = dict(registry._registrations)
    register(Convolutional, read=lambda cell, args, kwargs, result: Seen(args[0], (args[1],), (result,)))

    def last_image(model: nn.Module, batch: Tensor) -> Tensor:
        state = torch.zeros_like(batch[0])
        for step in batch:
            state = model.cell(step, state)
        return state.sum()

    try:
        (finding,) = seen(nn.ModuleDict({"cell": Convolutional()}), torch.randn(20, 3, 2, 4, 4), last_image).findings
    finally:
        registry._registrations.clear()
        registry._registrations.update(registered)
    assert (finding.id, finding.severity) == ("vanishing", Severity.CRITICAL)
    assert finding.evidence[0].value == pytest.approx(19 * math.log10(0.2), rel=1e-5)


class Listed(nn.Module):
    """A layer in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [keeping(lstm())]

    def forward(self, batch: Tensor) -> tuple[Tensor]:
        return (self.layers[0](batch)[0],)


def test_a_layer_in_a_plain_list_is_told_that_no_optimiser_is_given_it() -> None:
    model = Listed()
    model.head = nn.Linear(1, 1)
    (finding,) = examine(model, inputs(), lambda m, b: m.head(last_step(m, b).view(1, 1)).sum()).findings
    assert (finding.id, finding.layer, finding.severity) == ("not_optimized", "layers.0.l0", Severity.WARNING)
    assert "plain Python list" in finding.meaning
    assert finding.call == "model.layers = torch.nn.ModuleList(model.layers)"
    exec(finding.call, {"torch": torch, "model": model})
    assert examine(model, inputs(), lambda m, b: m.head(last_step(m, b).view(1, 1)).sum()).findings == ()


def test_a_frozen_layer_in_a_plain_list_such_as_a_teacher_is_left_alone() -> None:
    model = Listed()
    model.layers[0].requires_grad_(False)
    model.head = nn.Linear(1, 1)
    assert examine(model, inputs(), lambda m, b: m.head(last_step(m, b).view(1, 1)).sum()).findings == ()
