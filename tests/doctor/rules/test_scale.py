"""What explodes, grows for a while, is clipped, or is lost in float16."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from rnn_diag.doctor import Clipping, Severity, Vitals
from rnn_diag.doctor.rules import findings_of
from rnn_diag.doctor.rules.scale import rounding
from tests.doctor.small_networks import FEATURES, UNITS, found, inputs, keeping, linear, lstm, seen


def test_growth_to_the_power_of_the_steps_is_exploding() -> None:
    report = seen(linear(1.3 * torch.eye(4)), inputs(30))
    (finding,) = report.of("exploding")
    assert finding.evidence[0].value == pytest.approx(1.3**29, rel=1e-4)
    assert finding.severity is Severity.WARNING
    assert seen(linear(1.5 * torch.eye(4)), inputs(30)).severity is Severity.CRITICAL


def test_nobody_is_advised_to_clip_who_clips() -> None:
    (before,) = seen(linear(1.5 * torch.eye(4)), inputs(30)).of("exploding")
    (clipping,) = seen(linear(1.5 * torch.eye(4)), inputs(30), gradient_clip_val=1.0).of("exploding")
    assert "clip" in before.advice and "clip" not in clipping.advice


def test_a_matrix_that_keeps_lengths_does_not_explode() -> None:
    assert found(linear(torch.eye(4)), inputs(30)) == []


def test_large_transient_growth_inside_the_unit_circle_is_found() -> None:
    (finding,) = seen(linear([[0.9, 20.0], [0.0, 0.9]]), inputs(10)).of("transient_growth")
    assert finding.evidence[0].value == pytest.approx(0.9)
    assert finding.severity is Severity.WARNING


def test_small_transient_growth_is_not() -> None:
    assert "transient_growth" not in found(linear([[0.9, 0.5], [0.0, 0.9]]), inputs(10))


def test_no_limit_is_advised_for_a_gradient_that_is_ill() -> None:
    (finding,) = findings_of([Vitals("l0", clip_share=1.0, clip_factor=1e-9, clip_steps=50, clip_value=1.0)])
    assert finding.call == finding.option == "" and "what makes gradients so large" in finding.remedy
    assert finding.evidence[-1].value == pytest.approx(1e9)


def test_who_clips_is_not_advised_to_clip_before_the_first_step() -> None:
    exploding = Vitals("l0", kind="rnn", influence_peak=1e3)
    for vitals, advised in ((exploding, True), (replace(exploding, clip_value=1.0), False)):
        (finding,) = findings_of([vitals])
        assert ("clip" in finding.advice) is advised


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
    def __init__(self, dtype: torch.dtype, recurrent: nn.RNNBase | None = None) -> None:
        super().__init__()
        self.recurrent, self.dtype = recurrent or nn.GRU(FEATURES, 8), dtype

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


@pytest.mark.parametrize(("factor", "limit", "expected"), [(0.109, 1.0, "10"), (0.02, 1.0, "50"), (0.3, 0.01, "0.04")])
def test_the_advised_clipping_value_is_not_below_the_usual_norm_and_has_no_exponent(
    factor: float, limit: float, expected: str
) -> None:
    numbers = {"clip_share": 1.0, "clip_factor": factor, "clip_steps": 20, "clip_value": limit}
    (finding,) = findings_of([Vitals("l0", **numbers)])
    assert finding.call == f"Trainer(gradient_clip_val={expected})"
    assert float(expected) >= limit / factor


def test_no_number_is_written_with_an_exponent_of_computers() -> None:
    report = seen(linear(1.5 * torch.eye(4)), inputs(100))
    text = str(report)
    assert "e+" not in text and "e-" not in text
    assert "·10^" in report.of("exploding")[0].meaning


def test_rounding_that_the_network_amplifies_is_told_with_its_share_and_the_gradients_are_shown() -> None:
    small, large = Vitals("l0", rounding=0.02, precision="TF32"), Vitals("l0", rounding=0.17, precision="TF32")
    assert rounding(small) is None
    finding = rounding(large)
    assert finding is not None and finding.severity is Severity.INFO
    assert "TF32 changes this layer's gradient by 17%" in finding.meaning
    assert finding.call == "torch.backends.cudnn.allow_tf32 = False"
    assert rounding(replace(large, rounding=0.5)).severity is Severity.WARNING
    assert "float32" in rounding(replace(large, precision="bfloat16")).remedy


def test_an_expanding_network_in_bfloat16_is_judged_and_its_rounding_named() -> None:
    module = nn.RNN(FEATURES, 64)
    with torch.no_grad():
        module.weight_hh_l0.mul_(4)
    ids = found(HalfPrecision(torch.bfloat16, module), inputs(100))
    assert "rounding" in ids and "unfaithful" not in ids
