"""Where the doctor's findings go."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.callbacks import DiagnosticWarning, Doctor
from rnn_diag.callbacks.doctor_messages import _lines, _shortened
from rnn_diag.doctor import Finding, Severity
from rnn_diag.doctor.history import RunHistory
from rnn_diag.doctor.report import Report


def test_layers_with_the_same_finding_are_warned_of_in_one_line(batches, trainer, network, told):
    model = network(num_layers=2)
    with torch.no_grad():
        model.encoder.bias_ih_l0[:5] = model.encoder.bias_ih_l1[:5] = -20.0
    (line,) = [line for line in told(trainer(Doctor(1)), model, batches) if "stuck_gate" in line]
    assert "encoder.l0: stuck_gate" in line and "(also at encoder.l1)" in line


def test_findings_stand_in_tensorboards_text_tab(sick, batches, trainer, tensorboard, events, told):
    lines = told(trainer(Doctor(1), logger=tensorboard), sick, batches)
    assert len(lines) == 1, lines
    assert "doctor/findings/text_summary" in events(tensorboard).Tags()["tensors"]


def test_a_writer_that_fails_silences_tensorboard_alone(sick, batches, trainer, tensorboard, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rnn_diag.callbacks.session.publishing.write_verdict", fail)
    monkeypatch.setattr(tensorboard.experiment, "add_text", fail)
    doctor = Doctor(1)
    run = trainer(doctor, logger=tensorboard)
    with pytest.warns(DiagnosticWarning) as caught:
        run.fit(sick, batches)
    for what in ("the verdict is not written", "the findings of step 0 are not in TensorBoard"):
        assert any(f"{what}: OSError" in str(one.message) for one in caught)
    assert doctor.report.findings
    assert run.callback_metrics["doctor/severity"] > 0


def test_the_end_is_a_few_lines_with_where_since_when_and_what_to_try_and_a_table_if_asked(
    sick, batches, trainer, told, capsys
):
    told(trainer(Doctor(1)), sick, batches)
    printed = capsys.readouterr().out
    _, line, pointer = printed[printed.index("What the doctor found") :].strip().splitlines()
    assert line.startswith("warning at encoder.l0 since step 0: stuck_gate: ") and " Try: " in line
    assert pointer.startswith("all of it, with every number: ")
    told(trainer(Doctor(1, verbose=True)), sick, batches)
    table = capsys.readouterr().out
    table = table[table.index("What the doctor found") :]
    assert "severity" in table and "severity" not in printed


def test_five_findings_are_printed_and_the_others_counted():
    findings = tuple(Finding(f"found_{k}", Severity.WARNING, "l0", "It is.", f"do {k}.") for k in range(7))
    history = RunHistory()
    history.follow(Report(findings, {}), step=3)
    lines = _shortened(_lines(history))
    assert len(lines) == 6 and lines[-1] == "and 2 more"
    assert lines[0] == "warning at l0 since step 3: found_0: It is. Try: do 0."


def test_what_is_found_at_several_modules_is_one_line_with_the_call_for_each():
    findings = tuple(
        Finding("fades", Severity.WARNING, f"{m}.l0", "It fades.", "keep it.", f"keep(model.{m})") for m in "abcd"
    )
    history = RunHistory()
    history.follow(Report(findings, {}), step=3)
    (line,) = _lines(history)
    assert line.startswith("warning at a.l0, b.l0, c.l0, d.l0 since step 3: fades: It fades. Try: keep it. ")
    assert line.endswith("keep(model.a); keep(model.b); keep(model.c); …")
