"""What people are told: from where it seems to come, and that it ends no run."""

from __future__ import annotations

import logging
import warnings

import pytest
from torch import nn

from rnn_diag.callbacks import (
    DiagnosticWarning,
    Doctor,
    GradientNorms,
    RNNDiagnostics,
)
from rnn_diag.callbacks.session.warnings import in_words, warn
from rnn_diag.measurements.gradients import MeasureGradients


def test_a_warning_points_at_the_callbacks_and_at_no_line():
    with pytest.warns(DiagnosticWarning, match="^rnn_diag: so it is$") as caught:
        warn("so it is")
    assert (caught[0].filename, caught[0].lineno) == ("rnn_diag.callbacks", 0)


def test_where_warnings_are_errors_the_line_is_logged_and_nothing_is_raised(caplog):
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        warn("so it is")
    assert [record.getMessage() for record in caplog.records] == ["rnn_diag: so it is"]


def test_where_warnings_are_errors_a_run_full_of_them_ends_as_it_should(
    network, batches, trainer, tensorboard, monkeypatch, caplog
):
    model = network()
    nn.init.constant_(model.encoder.bias_ih_l0[:5].detach(), -20.0)  # the doctor warns
    monkeypatch.setattr(MeasureGradients, "pending", lambda *_: 1 / 0)
    monkeypatch.setattr(tensorboard, "log_metrics", lambda *_, **__: 1 / 0)
    run = trainer(RNNDiagnostics(1), Doctor(1), logger=tensorboard)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DiagnosticWarning)
        run.fit(model, batches)
    assert run.global_step == 6
    told = [record.getMessage() for record in caplog.records if record.name == "rnn_diag"]
    assert any("switched off: ZeroDivisionError" in line for line in told)
    assert any("TensorBoardLogger gets no numbers any more" in line for line in told)
    assert any("encoder.l0: stuck_gate" in line for line in told)


def test_an_error_is_told_with_its_place_and_how_to_see_more():
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        told = in_words(error)
    assert told.startswith("ValueError in test_warnings.py:")
    assert told.endswith(": two lines; set RNN_DIAG_RAISE=1 to see the stack")


def test_an_error_in_a_measure_is_let_through_where_that_is_asked_for(network, batches, trainer, monkeypatch):
    monkeypatch.setattr(MeasureGradients, "pending", lambda *_: 1 / 0)
    monkeypatch.setenv("RNN_DIAG_RAISE", "1")
    with pytest.raises(ZeroDivisionError):
        trainer(GradientNorms(1)).fit(network(), batches)


def test_nothing_is_warned_of_in_an_ordinary_run(network, batches, trainer, tensorboard):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DiagnosticWarning)
        trainer(RNNDiagnostics(1), logger=tensorboard).fit(network(), batches)
    assert not [w for w in caught if w.category is DiagnosticWarning]
