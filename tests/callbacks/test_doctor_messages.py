"""Where the doctor's findings go."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.callbacks import DiagnosticWarning, Doctor


def test_layers_with_the_same_finding_are_warned_of_in_one_line(batches, trainer, network, told):
    model = network(num_layers=2)
    with torch.no_grad():
        model.encoder.bias_ih_l0[:5] = model.encoder.bias_ih_l1[:5] = -20.0
    (line,) = [line for line in told(trainer(Doctor(1)), model, batches) if "stuck_gate" in line]
    assert "encoder.l0: stuck_gate" in line and "(the same at encoder.l1)" in line


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
