"""Loggers of other services get pictures and the verdict, and cost nobody else anything when they fail."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest

from rnn_diag import RNNDiagnostics
from rnn_diag.callbacks import GradientNorms


class MLFlowLogger(pl.loggers.CSVLogger):
    """A logger with the interface of MLflow's that remembers what it was given."""

    run_id = "run"

    def __init__(self, folder: Any, fails: bool = False) -> None:
        super().__init__(folder)
        self.pictures: list[tuple[str, int]] = []
        self.verdicts: list[str] = []
        self.fails = fails

    @property
    def experiment(self) -> Any:
        own = super().experiment
        return SimpleNamespace(
            log_metrics=own.log_metrics, log_hparams=own.log_hparams, save=own.save, log_dir=own.log_dir,
            log_image=self.picture, log_text=lambda run, text, file: self.verdicts.append(text),
        )  # fmt: skip

    def picture(self, run: str, pixels: Any, key: str, step: int) -> None:
        if self.fails:
            raise ConnectionError("gone")
        assert run == "run" and pixels.ndim == 3
        self.pictures.append((key, step))


def test_pictures_and_the_verdict_go_to_a_logger_without_tensorboard(network, batches, trainer, tmp_path):
    logger = MLFlowLogger(tmp_path)
    trainer(RNNDiagnostics(1, max_overhead=None), logger=logger).fit(network(), batches)
    last = {key: step for key, step in logger.pictures}
    assert set(last) == {
        "gradient_norms/encoder.l0/over_training",
        "saturation/encoder.l0/gates",
        "saturation/encoder.l0/gates_over_training",
        "spectrum/encoder.l0/eigenvalues",
    }
    assert last["gradient_norms/encoder.l0/over_training"] == 5
    assert logger.verdicts and all("Training step" in one for one in logger.verdicts)


def test_a_logger_that_fails_is_told_once_and_tensorboard_keeps_its_pictures(
    network, batches, trainer, tmp_path, tensorboard, events, told
):
    run = trainer(GradientNorms(1, max_overhead=None), logger=[MLFlowLogger(tmp_path, fails=True), tensorboard])
    said = [one for one in told(run, network(), batches) if "MLFlowLogger" in one]
    assert len(said) == 1 and "gets no pictures and no verdict any more: ConnectionError" in said[0]
    assert events(tensorboard).Images("gradient_norms/encoder.l0/over_training")


@pytest.mark.parametrize("options", [{"fast_dev_run": True}])
def test_a_trial_run_shows_nothing(network, batches, trainer, tmp_path, options):
    logger = MLFlowLogger(tmp_path)
    trainer(RNNDiagnostics(1, max_overhead=None), logger=logger, **options).fit(network(), batches)
    assert logger.pictures == logger.verdicts == []
