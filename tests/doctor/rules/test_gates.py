"""Gates and units that are stuck, dead or saturated; and latches, which are at work."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rnn_diag.doctor import Severity, Vitals
from rnn_diag.doctor.rules import findings_of
from rnn_diag.interventions.initialization import identity
from tests.doctor.small_networks import UNITS, every_step, found, inputs, keeping, lstm, rnn, seen, with_bias


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


def test_gates_that_unscaled_inputs_drive_to_their_ends_are_told_to_scale_them() -> None:
    (finding,) = seen(keeping(lstm()), inputs(scale=3000.0)).of("saturated_gates")
    assert finding.remedy == "scale the inputs to about 1."
    assert finding.evidence[-1].value == pytest.approx(3000, rel=0.2)
    values = {"torch": torch, "inputs": inputs(scale=3000.0)}
    exec(finding.call, values)
    assert values["inputs"].std() == pytest.approx(1, abs=0.1)


def test_a_minimal_gated_unit_of_ones_own_is_judged_by_the_roles_that_it_declares() -> None:
    vitals = Vitals("l0", kind="mgu", is_gated=True, harmful={"forget/shut": "nothing is written into the state"})
    assert findings_of([replace(vitals, fixed_shut={"forget": 1.0}, stuck_shut={"forget": 1.0})])[0].id == "stuck_gate"
    assert findings_of([replace(vitals, fixed_open={"forget": 1.0}, stuck_open={"forget": 1.0})]) == ()
