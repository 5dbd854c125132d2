"""Examining changes nothing, prints, goes to JSON and back, compares; and its advice, followed, helps."""

from __future__ import annotations

import io
import json
import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from rnn_diag.doctor import Report, Vitals, compare, examine
from rnn_diag.interventions import initialization
from tests.doctor.advice_cases import CASES, Case, follow
from tests.doctor.small_networks import FEATURES, every_step, inputs, last_step, seen


class Stateful(nn.Module):
    """Has everything that a run could change."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(FEATURES)
        self.drop = nn.Dropout(0.5)
        self.recurrent = nn.LSTM(FEATURES, 8)
        self.register_buffer("seen", None)
        self.carried = None
        self.log: list[int] = []

    def forward(self, batch: Tensor) -> tuple[Tensor, object]:
        normed = self.norm(batch.flatten(0, 1)).view_as(batch)
        output, state = self.recurrent(self.drop(normed), self.carried)
        self.carried = tuple(part.detach() for part in state)
        self.seen = output.detach()
        self.new = 1
        self.log.append(random.randrange(5) + np.random.randint(5))
        return output, state


def test_the_module_and_all_generators_are_as_they_were() -> None:
    model = Stateful().eval()
    model.recurrent.weight_hh_l0.grad = torch.ones_like(model.recurrent.weight_hh_l0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generators = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    seen(model)
    assert not any(module.training for module in model.modules())
    assert model.carried is None and model.seen is None and model.log == [] and not hasattr(model, "new")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert bool((model.recurrent.weight_hh_l0.grad == 1).all()) and model.recurrent.weight_ih_l0.grad is None
    assert torch.equal(generators[0], torch.get_rng_state())
    assert generators[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert not any(module._forward_hooks for module in model.modules())


def test_it_is_left_untouched_by_a_loss_that_fails() -> None:
    model = Stateful()

    def fails(model: nn.Module, batch: Tensor) -> Tensor:
        model(batch)
        raise KeyError("target")

    with pytest.raises(KeyError):
        examine(model, inputs(), fails)
    assert model.carried is None and model.log == []


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (lambda model, batch: 3.0, TypeError, "loss returned float; expected a scalar tensor"),
        (lambda model, batch: model(batch)[0], ValueError, r"loss returned shape \(40, 4, 8\); expected a scalar"),
        (lambda model, batch: batch.sum(), ValueError, "the loss is not on the graph"),
    ],
)
def test_a_loss_that_is_none_is_refused(loss: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        seen(nn.LSTM(FEATURES, 8), loss=loss)  # type: ignore[arg-type]


def test_a_report_goes_to_json_and_back(tmp_path: Path) -> None:
    report = seen(nn.LSTM(FEATURES, 8, num_layers=2), inputs(60))
    (tmp_path / "doctor.json").write_text(report.to_json())
    again = Report.read(tmp_path / "doctor.json")
    assert again.findings == report.findings and len(report.findings) > 1
    assert json.loads(again.to_json()) == json.loads(report.to_json())


def test_a_file_that_is_no_report_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"loss": 1}')
    with pytest.raises(ValueError, match="holds no report of the doctor"):
        Report.read(tmp_path / "other.json")


def test_what_is_printed_names_the_findings_and_every_layer_and_direction() -> None:
    text = str(seen(nn.LSTM(FEATURES, 8, num_layers=2, bidirectional=True)))
    assert "forget_bias_low" in text and "chrono" in text
    assert all(layer in text for layer in ("l0", "l0_reverse", "l1", "l1_reverse"))


def test_advice_is_a_call_or_in_a_run_from_the_command_line_an_option_and_json_has_both() -> None:
    report = seen(nn.LSTM(FEATURES, 8), inputs(60))
    call, option = "rnn_diag.interventions.initialization.chrono(model, longest=60)", "initialization.chrono.longest=60"
    assert call in str(report) and option not in str(report) and "rnn-diag" not in str(report)
    assert option in str(report.for_command_line()) and call not in str(report.for_command_line())
    for one in (report, report.for_command_line()):
        assert call in one.to_json() and option in one.to_json()
        assert str(Report.from_dict(one.to_dict())) == str(one)


def test_a_narrow_terminal_folds_a_call_and_loses_none_of_it() -> None:
    console = Console(file=io.StringIO(), width=60, color_system=None)
    console.print(seen(nn.RNN(FEATURES, 8), inputs(60)))
    text = "".join(console.file.getvalue().split()).replace("│", "")  # type: ignore[attr-defined]
    assert "rnn_diag.interventions.initialization.identity(model)" in text and "…" not in text


def test_what_is_found_at_several_layers_with_the_same_advice_is_one_row_with_all_their_names() -> None:
    report = seen(nn.LSTM(FEATURES, 8, num_layers=3), inputs(60), every_step)
    assert len(report.of("hidden_vanishing")) == 3
    findings = str(report).split("Every layer")[0]
    assert findings.count("hidden_vanishing:") == 1 and "at l0: horizon in steps" in findings
    assert all(f"│ {layer} " in findings for layer in ("l0", "l1", "l2"))


def test_the_table_of_layers_leaves_out_columns_that_no_layer_has_a_number_for() -> None:
    assert "radius" in str(seen(nn.RNN(FEATURES, 8))) and "radius" not in str(seen(nn.LSTM(FEATURES, 8)))


def test_all_calls_of_a_layer_count_together() -> None:
    model = nn.LSTM(FEATURES, 8)

    def twice(model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch)[0][-1].sum() + model(2 * batch[:20])[0][-1].sum()

    vitals = examine(model, inputs(), twice).vitals["l0"]
    assert (vitals.sequences, vitals.steps) == (8, 40)


def test_a_comparison_says_what_got_better_and_worse() -> None:
    layer = nn.LSTM(FEATURES, 16)
    before = seen(layer)
    initialization.chrono(layer, 40)
    after = seen(layer)
    comparison = compare(before, after)
    assert comparison.verdict == "better" and compare(after, before).verdict == "worse"
    assert {one.id for one in comparison.gone} == {"vanishing", "forget_bias_low"}
    assert "horizon in steps" in str(comparison)
    assert json.loads(json.dumps(comparison.to_dict()))["verdict"] == "better"
    assert compare(before, before).verdict == "same" and compare(before, before).changes == ()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.word} of {case.name}")
def test_advice_that_is_followed_to_the_letter_makes_its_number_better(case: Case) -> None:
    followed = follow(case)
    assert case.better * (followed.after - followed.before) > 0
    if case.word != "stuck_gate":  # fresh biases forget slowly enough to learn, and are still told to start higher
        assert followed.report.of(case.word) == []


def test_vital_signs_that_are_not_finite_survive_json() -> None:
    vitals = Vitals("l0", slope=-math.inf, clip_share=0.5, forget_bias_parts={"ih": math.inf})
    again = Vitals.from_dict(json.loads(json.dumps(vitals.to_dict(), allow_nan=False)))
    assert repr(again) == repr(vitals)


def test_the_doctor_does_not_import_lightning() -> None:
    code = "import sys, rnn_diag.doctor; print('lightning' in sys.modules or 'pytorch_lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_the_loss_is_called_once_and_reported() -> None:
    calls: list[float] = []

    def counted(model: nn.Module, batch: Tensor) -> Tensor:
        loss = last_step(model, batch)
        calls.append(loss.item())
        return loss

    assert examine(nn.LSTM(FEATURES, 8), inputs(), counted).loss == calls[0]
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("module", "batch", "loss", "error", "said"),
    [
        (None, None, len, TypeError, "module=NoneType; expected a torch.nn.Module"),
        (nn.LSTM(3, 5), torch.zeros(4, 2, 3), None, TypeError, "loss=None; expected a function"),
        (nn.LSTM(3, 5, device="meta"), torch.zeros(4, 2, 3), len, ValueError, "meta device; expected ones with values"),
        (nn.LSTM(3, 5), torch.zeros(4, 0, 3), lambda m, x: m(x)[0].sum(), ValueError, "the batch has no sequences"),
    ],
)
def test_what_cannot_be_examined_is_refused_in_one_line(module, batch, loss, error, said) -> None:
    with pytest.raises(error, match=said):
        examine(module, batch, loss)
