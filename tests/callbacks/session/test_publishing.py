"""Where numbers and pictures go, and what a failing logger or picture leaves out."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from rnn_diag.callbacks import (
    DiagnosticWarning,
    GateWeights,
    GradientNorms,
    RecurrentSpectrum,
    RNNDiagnostics,
)
from rnn_diag.callbacks.diagnostic import Diagnostic
from rnn_diag.callbacks.session.pace import Pace
from rnn_diag.callbacks.session.publishing import Publisher
from rnn_diag.callbacks.session.warnings import Warnings
from rnn_diag.callbacks.session.worker import Worker
from rnn_diag.doctor import Report, Severity
from rnn_diag.doctor.finding import Evidence, Finding
from rnn_diag.doctor.history import RunHistory
from rnn_diag.measurements.statistics import Statistic
from rnn_diag.reporting.layout import custom_scalars_layout

MAX = "gradient_norms/encoder.l0/log10_max"


@pytest.mark.parametrize("method", ["scalars", "keep", "write", "draw"])
def test_failing_numbers_or_pictures_are_left_out_with_one_warning(
    method, network, batches, trainer, tensorboard, monkeypatch
):
    def fail(self, *arguments):
        raise ValueError("cannot")

    monkeypatch.setattr(GradientNorms, method, fail)
    run = trainer(RNNDiagnostics(1), logger=tensorboard)
    with pytest.warns(
        DiagnosticWarning, match=r"gradient_norms are left out: ValueError in .*fail\(\): cannot"
    ) as caught:
        run.fit(network(), batches)
    assert sum(w.category is DiagnosticWarning for w in caught) == 1
    assert run.global_step == 6


def test_logger_that_fails_is_left_out_and_the_other_gets_its_numbers(network, batches, trainer, tmp_path, tensorboard):
    class Failing(pl.loggers.CSVLogger):
        def log_metrics(self, metrics, step=None):
            if any(name.startswith("gradient_norms") for name in metrics):
                raise ConnectionError("gone")

    run = trainer(GradientNorms(1), logger=[Failing(tmp_path), tensorboard])
    with pytest.warns(
        DiagnosticWarning, match=r"Failing gets no numbers any more: ConnectionError in .* log_metrics\(\): gone"
    ):
        run.fit(network(), batches)
    assert MAX in run.callback_metrics


def test_a_disk_that_is_full_ends_no_run_and_is_said_in_lines_that_say_what_is_missing(
    network, batches, trainer, tensorboard, monkeypatch
):
    def full(*arguments, **options):
        raise OSError(28, "No space left\non device")

    for write in ("add_scalar", "add_text", "add_image", "add_histogram_raw", "add_custom_scalars"):
        monkeypatch.setattr(tensorboard.experiment, write, full)
    monkeypatch.setattr(tensorboard.experiment._get_file_writer(), "add_summary", full)
    run = trainer(RNNDiagnostics(1), logger=tensorboard)
    with pytest.warns(DiagnosticWarning) as caught:
        run.fit(network(), batches)
    said = [str(w.message) for w in caught if w.category is DiagnosticWarning]
    assert len(said) == len(set(said)) and not any("\n" in line for line in said)
    missing = r"rnn_diag: what was measured is not all written: OSError in .*: \[Errno 28\] No space left on device;"
    assert any(re.match(missing, line) for line in said)
    assert run.global_step == 6 and MAX in run.callback_metrics


def test_trial_run_of_one_batch_measures_and_draws_nothing(network, batches, trainer, tensorboard):
    run = trainer(RNNDiagnostics(1), logger=tensorboard, fast_dev_run=True)
    run.fit(network(), batches, batches)
    assert MAX in run.callback_metrics


def test_every_scalar_stands_once_at_every_measured_step(network, batches, trainer, tensorboard, events):
    trainer(GradientNorms(2), RecurrentSpectrum(3, max_overhead=None), logger=tensorboard).fit(network(), batches)
    log = events(tensorboard)
    assert [e.step for e in log.Scalars("gradient_norms/encoder.l0/log10_max")] == [0, 2, 4]
    assert [e.step for e in log.Scalars("spectrum/encoder.l0/forget/sigma_max")] == [0, 3]
    assert [e.step for e in log.Scalars("rnn_diag/overhead")] == [0, 2, 3, 4]


def test_loggers_and_callback_metrics_hold_the_same_numbers(network, batches, trainer, tensorboard, events, tmp_path):
    table = pl.loggers.CSVLogger(tmp_path, name="table")
    run = trainer(RNNDiagnostics(1, max_overhead=None, spectra_every_nth=1), logger=[tensorboard, table])
    run.fit(network(), batches)
    log = events(tensorboard)
    rows = list(csv.DictReader(Path(table.log_dir, "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows if row["rnn_diag/overhead"]] == [0, 1, 2, 3, 4, 5]
    for tag, value in run.callback_metrics.items():
        last = [row for row in rows if row["step"] == "5" and row[tag] != ""]
        assert log.Scalars(tag)[-1].value == pytest.approx(value.item(), nan_ok=True)
        assert [float(row[tag]) for row in last] == pytest.approx([value.item()], nan_ok=True)


def test_checkpoints_and_early_stopping_can_watch_a_diagnostic(network, batches, trainer, tmp_path):
    watched = "gradient_norms/encoder.l0/log10_max"
    best = pl.callbacks.ModelCheckpoint(tmp_path, monitor=watched, every_n_train_steps=2)
    stop = pl.callbacks.EarlyStopping(watched, patience=100)
    run = trainer(best, stop, GradientNorms(2), enable_checkpointing=True, max_epochs=2)
    run.fit(network(), batches, batches)
    assert math.isfinite(best.best_model_score.item())
    assert math.isfinite(stop.best_score.item())
    assert "val/loss" in run.callback_metrics


def test_pictures_are_drawn_ever_more_rarely_and_once_more_at_the_end(network, batches, trainer, tensorboard, events):
    trainer(GradientNorms(1, max_overhead=None), logger=tensorboard, max_epochs=2).fit(network(), batches)
    drawn = [event.step for event in events(tensorboard).Images("gradient_norms/encoder.l0/over_training")]
    assert drawn == [0, 1, 3, 7, 11]


def test_custom_scalars_show_ours_unless_the_run_has_its_own(network, batches, trainer, tensorboard, events):
    class Own(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            trainer.logger.experiment.add_custom_scalars({"mine": {"losses": ["Multiline", ["loss"]]}})

    trainer(Own(), RNNDiagnostics(2), logger=tensorboard).fit(network(), batches)
    (layout,) = events(tensorboard).Tensors("custom_scalars__config__")
    assert b"mine" in layout.tensor_proto.string_val[0]


def test_charts_of_the_layout_find_the_tags_there_are(network, batches, trainer, tensorboard, events):
    callbacks = RNNDiagnostics(2, max_overhead=None), GateWeights(2, max_overhead=None)
    trainer(*callbacks, logger=tensorboard).fit(network(num_layers=2), batches)
    tags = events(tensorboard).Tags()["scalars"]
    layout = custom_scalars_layout(["encoder.l0", "encoder.l1"])
    for category, charts in layout.items():
        layer = category.removeprefix("rnn_diag: ")
        for _, (pattern,) in charts.values():
            found = [tag for tag in tags if re.search(pattern, tag)]
            assert found
            assert all(f"/{layer}/" in tag for tag in found)


def test_numbers_stop_training_and_choose_checkpoints(network, batches, trainer, tmp_path):
    best = ModelCheckpoint(tmp_path / "best", monitor=MAX, every_n_train_steps=1, save_on_train_epoch_end=False)
    stop = EarlyStopping("gradient_norms/encoder.l0/log10_first_to_last", stopping_threshold=10.0, patience=3)
    stop.on_train_end = lambda *_: None
    run = trainer(RNNDiagnostics(1), best, stop, enable_checkpointing=True, max_epochs=3)
    run.fit(network(), batches, batches)
    assert run.current_epoch <= 1  # below the threshold from the start
    assert best.best_model_path


class Speed(Diagnostic):
    """How much hidden states change from step to step: a diagnostic of somebody's own."""

    name = "speed"
    statistics = (Statistic("mean", "per step", "mean change of a unit", headline=True, chart="speed"),)

    def measure(self, trace, units):
        return trace.hidden.diff(dim=0).abs().mean().item()

    def scalars(self, layer, merged):
        return {"mean": merged}


def test_a_diagnostic_of_ones_own_has_a_chart_and_a_row_in_the_coverage(network, batches, trainer, tensorboard, events):
    trainer(Speed(1), GradientNorms(1), logger=tensorboard).fit(network(), batches)
    log = events(tensorboard)
    assert len(log.Scalars("speed/encoder.l0/mean")) == 6
    (layout,) = log.Tensors("custom_scalars__config__")
    assert rb"^speed/encoder\.l0/mean$" in layout.tensor_proto.string_val[0]
    (coverage,) = log.Tensors("rnn_diag/coverage/text_summary")
    assert b"speed" in coverage.tensor_proto.string_val[0]


def test_a_verdict_is_written_anew_when_a_sentence_has_another_number_and_not_when_its_evidence_has(
    network, batches, trainer, tensorboard, events
):
    def found(horizon: int, radius: float) -> Report:
        meaning, evidence = f"A loss reaches {horizon} steps back.", (Evidence("radius", radius),)
        return Report((Finding("vanishing", Severity.WARNING, "encoder.l0", meaning, evidence=evidence),), {})

    run = trainer(logger=tensorboard, limit_train_batches=1)
    run.fit(network(), batches)
    publisher, history = Publisher([], Warnings(), Pace(None), Worker()), RunHistory()
    for step, report in enumerate([found(8, 0.5), found(8, 0.6), found(10, 0.6), found(10, 0.6)]):
        history.follow(report, step)
        publisher.write_verdict(run, history)
    tensorboard.experiment.flush()
    log = events(tensorboard)
    assert [one.step for one in log.Tensors("rnn_diag/verdict")] == [0, 2]
    assert [one.step for one in log.Tensors("rnn_diag/verdict/text_summary")] == [0, 2]
