"""Whatever a trainer does besides fitting: validation, prediction, searches for a learning rate or a batch size."""

from __future__ import annotations

import copy
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import BatchSizeFinder, EarlyStopping, LearningRateFinder, ModelCheckpoint
from lightning.pytorch.tuner import Tuner
from torch.utils.data import DataLoader

from rnn_diag.callbacks import RNNDiagnostics
from rnn_diag.capture import observe

MAX = "gradient_norms/encoder.l0/log10_max"


@pytest.fixture
def tunable(network):
    """Return a network with a learning rate and a batch size that can be searched for."""

    class Tunable(type(network())):
        lr, batch_size = 0.01, 4

        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(self.data, batch_size=self.batch_size)

        val_dataloader = train_dataloader

        def predict_step(self, batch, batch_idx):
            return self.encoder(batch[0])[0]

        test_step = type(network()).validation_step

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=self.lr)

    def build(batches: DataLoader[Any]) -> pl.LightningModule:
        model = network()
        model.__class__ = Tunable
        model.data = batches.dataset
        return model

    return build


@pytest.mark.parametrize("loop", ["validate", "test", "predict"])
def test_other_loops_than_fitting_measure_nothing_and_leave_nothing_behind(loop, tunable, batches, trainer):
    run = trainer(RNNDiagnostics(1))
    getattr(run, loop)(tunable(batches), batches)
    assert not any(name.startswith("gradient_norms") for name in run.callback_metrics)
    assert observe._observers == []


def test_validation_within_training_hides_no_step(network, batches, trainer, tensorboard, events):
    run = trainer(RNNDiagnostics(1), logger=tensorboard, val_check_interval=2, max_epochs=2)
    run.fit(network(), batches, batches)
    assert [e.step for e in events(tensorboard).Scalars(MAX)] == list(range(12))


@pytest.mark.parametrize("search", ["lr_find", "scale_batch_size"])
def test_a_search_before_training_goes_as_without_and_training_is_measured(
    search, tunable, batches, trainer, tensorboard, events
):
    def searched(*callbacks: pl.Callback) -> tuple[pl.LightningModule, pl.Trainer]:
        model = tunable(batches)
        torch.manual_seed(0)
        run = trainer(*callbacks, logger=tensorboard if callbacks else False)
        options = {"num_training": 5} if search == "lr_find" else {"max_trials": 1, "steps_per_trial": 2}
        getattr(Tuner(run), search)(model, **options)
        run.fit(model)
        return model, run

    bare, _ = searched()
    measured, run = searched(RNNDiagnostics(1))
    assert (bare.lr, bare.batch_size) == (measured.lr, measured.batch_size)
    assert all(torch.equal(one, other) for one, other in zip(bare.parameters(), measured.parameters(), strict=True))
    assert [e.step for e in events(tensorboard).Scalars(MAX)] == list(range(run.global_step))


@pytest.mark.parametrize(
    "search",
    [lambda: LearningRateFinder(num_training_steps=5), lambda: BatchSizeFinder(steps_per_trial=2, max_trials=1)],
)
@pytest.mark.parametrize("first", [True, False], ids=["before us", "after us"])
def test_a_search_at_the_start_of_the_fit_goes_as_without_and_training_is_measured(
    search, first, tunable, batches, trainer, tensorboard, events
):
    def searched(*callbacks: pl.Callback) -> pl.LightningModule:
        model = tunable(batches)
        torch.manual_seed(0)
        ours_and_search = [search(), *callbacks] if first else [*callbacks, search()]
        trainer(*ours_and_search, logger=tensorboard if callbacks else False).fit(model)
        return model

    bare, measured = searched(), searched(RNNDiagnostics(1))
    assert all(torch.equal(one, other) for one, other in zip(bare.parameters(), measured.parameters(), strict=True))
    steps = [e.step for e in events(tensorboard).Scalars(MAX)]
    assert steps == list(range(len(steps)))
    assert observe._observers == []


def test_numbers_stop_training_and_choose_checkpoints(network, batches, trainer, tmp_path):
    best = ModelCheckpoint(tmp_path / "best", monitor=MAX, every_n_train_steps=1, save_on_train_epoch_end=False)
    stop = EarlyStopping("gradient_norms/encoder.l0/log10_first_to_last", stopping_threshold=10.0, patience=3)
    stop.on_train_end = lambda *_: None
    run = trainer(RNNDiagnostics(1), best, stop, enable_checkpointing=True, max_epochs=3)
    run.fit(network(), batches, batches)
    assert run.current_epoch <= 1  # below the threshold from the start
    assert best.best_model_path


def test_a_copied_trainer_measures_as_the_original_does(network, batches, trainer):
    run = trainer(RNNDiagnostics(1))
    other = copy.deepcopy(run)
    run.fit(network(), batches)
    other.fit(network(), batches)
    assert run.callback_metrics[MAX] == other.callback_metrics[MAX]
