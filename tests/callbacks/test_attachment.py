"""Hooks that no error leaves, in every phase and loop; copies, checkpoints, and trainers of both packages."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import lightning.pytorch as pl
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.tuner import Tuner
from torch import nn
from torch.utils.data import DataLoader

from rnn_diag.callbacks import (
    DiagnosticWarning,
    Doctor,
    GateSaturation,
    GradientNorms,
    RecurrentSpectrum,
    RNNDiagnostics,
    attachment,
)
from rnn_diag.callbacks.attachment import HOOKS, DiagnosticCallback
from rnn_diag.callbacks.session.session import Session
from rnn_diag.capture import watching

MAX = "gradient_norms/encoder.l0/log10_max"
METHODS = ("announce", "batch_starts", "backward_ends", "batch_ends", "abandon", "end", "close")


def everything(trainer, callback, model, batches, tmp_path):
    """Go through all phases: a sanity check, training with validation, a checkpoint, a resumed run, test, predict."""
    run = trainer(callback, num_sanity_val_steps=1)
    run.fit(model, batches, batches)
    run.save_checkpoint(tmp_path / "last.ckpt")
    resumed = trainer(callback, max_epochs=2)
    resumed.fit(model, batches, batches, ckpt_path=tmp_path / "last.ckpt")
    resumed.validate(model, batches, verbose=False)
    resumed.test(model, batches, verbose=False)
    resumed.predict(model, batches)
    return resumed


@pytest.fixture
def whole(network):
    """Return a network that can be tested and used to predict."""

    class Whole(type(network())):
        test_step = type(network()).validation_step

        def predict_step(self, batch, batch_idx):
            return self.encoder(batch[0])[0]

    model = network()
    model.__class__ = Whole
    return model


def broken(self, *arguments, **options):
    raise ArithmeticError("broken")


def failing(base: type[DiagnosticCallback], *hooks: str) -> type[DiagnosticCallback]:
    """Return a subclass of which these hooks raise."""
    return type("Failing", (base,), {hook: lambda self, *a, **o: broken(self) for hook in hooks})


def said(caught) -> list[str]:
    return [str(one.message) for one in caught if one.category is DiagnosticWarning]


@pytest.mark.parametrize("base", [GradientNorms, RNNDiagnostics, Doctor])
def test_hooks_that_raise_end_no_phase_and_each_is_named_in_one_warning(base, whole, batches, trainer, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DiagnosticWarning)
        run = everything(trainer, failing(base, *HOOKS)(1), whole, batches, tmp_path)
    assert run.global_step == 12
    told = [
        line.removeprefix("rnn_diag: ").split(" of Failing is left out: ArithmeticError in ")[0]
        for line in said(caught)
    ]
    assert len(told) == len(set(told))
    assert set(told) == set(HOOKS) - {"on_exception", "load_state_dict"}  # nothing raised, and there is no state
    assert watching._observers == []


@pytest.mark.parametrize("base", [RNNDiagnostics, Doctor])
@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook in vars(DiagnosticCallback)])
def test_one_hook_that_raises_leaves_the_others_in_order(hook, base, whole, batches, trainer, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DiagnosticWarning)
        run = everything(trainer, failing(base, hook)(1), whole, batches, tmp_path)
    assert run.global_step == 12
    told = [line for line in said(caught) if f" {hook} of Failing is left out: ArithmeticError" in line]
    assert len(told) <= 2  # once in each fit
    assert bool(told) is (hook != "on_exception")
    assert watching._observers == []


@pytest.mark.parametrize("method", METHODS)
def test_an_error_of_our_own_ends_no_run_and_leaves_nothing_behind(method, network, batches, trainer, monkeypatch):
    original = getattr(Session, method)

    def fail(self, *arguments):
        original(self, *arguments)
        raise ArithmeticError("broken")

    monkeypatch.setattr(Session, method, fail)
    run = trainer(RNNDiagnostics(1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DiagnosticWarning)
        run.fit(network(), batches)
    assert run.global_step == 6
    assert any("is left out: ArithmeticError in test_attachment.py" in line for line in said(caught))
    assert watching._observers == []


def test_an_error_in_a_hook_does_not_hide_the_error_that_ended_the_run(network, batches, trainer):
    class Broken(type(network())):
        def training_step(self, batch, batch_idx):
            raise KeyError("of the user")

    model = network()
    model.__class__ = Broken
    with pytest.raises(KeyError, match="of the user"), pytest.warns(DiagnosticWarning, match="on_exception of Failing"):
        trainer(failing(RNNDiagnostics, "on_exception", "teardown")(1)).fit(model, batches)


def test_where_another_rank_failed_to_begin_nothing_is_measured_and_it_is_said_once(
    network, batches, trainer, monkeypatch
):
    monkeypatch.setattr(attachment, "all_ranks", lambda trainer, mine: [mine, False])
    run = trainer(GateSaturation(1), Doctor(1))
    with pytest.warns(DiagnosticWarning) as told:
        run.fit(network(), batches)
    assert [str(one.message) for one in told if one.category is DiagnosticWarning] == [
        "rnn_diag: nothing is measured: another rank has failed to begin"
    ]
    assert run.global_step == 6 and not any(name.count("/") > 1 for name in run.callback_metrics)


def test_errors_are_let_through_where_that_is_asked_for(network, batches, trainer, monkeypatch):
    monkeypatch.setenv("RNN_DIAG_RAISE", "1")
    with pytest.raises(ArithmeticError, match="broken"):
        trainer(failing(RNNDiagnostics, "on_train_start")(1)).fit(network(), batches)


def test_a_step_lost_to_an_error_is_not_shown_and_the_next_one_is(network, batches, trainer, tensorboard, events):
    class Once(GradientNorms):
        def on_after_backward(self, trainer, pl_module):
            if trainer.global_step == 2:
                raise ArithmeticError("broken")
            super().on_after_backward(trainer, pl_module)

    with pytest.warns(DiagnosticWarning, match="on_after_backward of Once is left out"):
        trainer(Once(1), logger=tensorboard).fit(network(), batches)
    assert [e.step for e in events(tensorboard).Scalars(MAX)] == [0, 1, 3, 4, 5]


@pytest.mark.parametrize("unnamed", [True, False])
def test_a_checkpoint_of_the_version_before_resumes(unnamed, network, batches, trainer, tensorboard):
    """Its histories had no names, and stood in the order of the suite."""
    first = RNNDiagnostics(1)
    trainer(first, logger=tensorboard).fit(network(), batches)
    columns = first.state_dict()["histories"]["gradient_norms"]["encoder.l0"]
    histories = [{"encoder.l0": columns}, {}, {}, {}] if unnamed else {"gradient_norms": {"encoder.l0": columns}}
    second = RNNDiagnostics(1)
    second.load_state_dict({"progress": {"stretch": 4, "drawn": 6}, "histories": histories})
    trainer(second, logger=tensorboard, limit_train_batches=1).fit(network(), batches)
    assert second.state_dict()["progress"]["stretch"] >= 1
    assert second.state_dict()["histories"]["gradient_norms"]["encoder.l0"]["steps"] == [*columns["steps"], 0]


@pytest.mark.parametrize(
    ("callback", "key"),
    [
        (RNNDiagnostics(layers="a*"), "RNNDiagnostics{'layers': ['a*']}"),
        (GradientNorms(), "GradientNorms{'layers': ['*']}"),
        (Doctor(layers=["a", "b"]), "Doctor{'layers': [['a', 'b']]}"),
    ],
)
def test_the_key_of_a_checkpoint_stays(callback, key):
    assert callback.state_key == key


@pytest.mark.parametrize("callback", [RNNDiagnostics, GradientNorms, RecurrentSpectrum, GateSaturation])
def test_callback_copies_and_pickles_before_while_and_after_it_is_used(
    callback, network, batches, trainer, tensorboard
):
    class Copier(pl.Callback):
        def __init__(self):
            self.copies = []

        def take(self, trainer, *_):
            self.copies += [copy.deepcopy(trainer.callbacks[0]), pickle.loads(pickle.dumps(trainer.callbacks[0]))]

        on_fit_start = on_train_batch_start = on_after_backward = on_train_batch_end = on_train_end = take

    copier, used = Copier(), callback(1)
    trainer(used, copier, logger=tensorboard, limit_train_batches=2).fit(network(), batches)
    copier.take(trainer(used))
    assert len(copier.copies) == 18
    for copied in (copier.copies[0], copier.copies[5], copier.copies[-1]):
        run = trainer(copied, limit_train_batches=1)
        run.fit(network(), batches)
        assert any(name.count("/") > 1 for name in run.callback_metrics)


def test_one_callback_serves_several_fits_models_and_loops(network, batches, trainer, tensorboard, events):
    callback = RNNDiagnostics(1)
    trainer(callback).fit(network(), batches)
    run = trainer(callback, logger=tensorboard, limit_train_batches=2)
    run.fit(network(nn.GRU), batches)
    run.validate(network(), batches, verbose=False)
    assert [e.step for e in events(tensorboard).Scalars(MAX)] == [0, 1]


@pytest.mark.parametrize("package", [pl, pytorch_lightning], ids=["lightning", "pytorch_lightning"])
def test_trainers_of_both_packages_take_the_callback(package, batches, trainer, tmp_path, events):
    class Model(package.LightningModule):
        def __init__(self):
            super().__init__()
            self.encoder = nn.LSTM(3, 5, batch_first=True)

        def training_step(self, batch, batch_idx):
            return self.encoder(batch[0])[0][:, -1].square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    logger = package.loggers.TensorBoardLogger(tmp_path)
    trainer(RNNDiagnostics(2, max_overhead=None), package=package, logger=logger).fit(Model(), batches)
    assert [e.step for e in events(logger).Scalars(MAX)] == [0, 2, 4]
    assert [e.step for e in events(logger).Images("spectrum/encoder.l0/eigenvalues")] == [0, 4]


@pytest.mark.paced
def test_a_resumed_run_goes_on_with_its_interval_and_its_pictures(network, batches, trainer, tmp_path, tensorboard):
    first = RNNDiagnostics(1, max_overhead=1e-4)
    run = trainer(first, logger=tensorboard, max_epochs=2)
    run.fit(network(), batches)
    run.save_checkpoint(tmp_path / "last.ckpt")
    interval = run.callback_metrics["rnn_diag/every_n_steps"].item()
    assert interval > 1

    kept = torch.load(tmp_path / "last.ckpt", weights_only=False)["callbacks"]
    second = RNNDiagnostics(1, max_overhead=1e-4)
    steps = first.state_dict()["histories"]["gradient_norms"]["encoder.l0"]["steps"]
    assert steps[0] == 0
    assert kept[second.state_key]["histories"]["gradient_norms"]["encoder.l0"]["steps"] == steps
    resumed = trainer(second, GateSaturation(1, max_overhead=None), logger=tensorboard, max_epochs=3)
    resumed.fit(network(), batches, ckpt_path=tmp_path / "last.ckpt")
    assert second.state_dict()["progress"]["stretch"] > 1
    assert second.state_dict()["histories"]["gradient_norms"]["encoder.l0"]["steps"][: len(steps)] == steps
    assert torch.equal(
        second.state_dict()["histories"]["gradient_norms"]["encoder.l0"]["columns"][0],
        first.state_dict()["histories"]["gradient_norms"]["encoder.l0"]["columns"][0],
    )


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ({"histories": {"gradient_norms": {"encoder.l0": {}}}}, "KeyError"),
        ({"progress": {"stretch": float("inf")}}, "ValueError"),
        ({"progress": {"stretch": 3.0, "drawn": "many"}}, "TypeError"),
    ],
)
def test_a_state_that_cannot_be_read_is_left_out_and_training_goes_on(state, error, network, batches, trainer):
    callback = RNNDiagnostics(1)
    callback.load_state_dict(state)
    run = trainer(callback)
    with pytest.warns(UserWarning, match=f"what was measured before is left out: {error}"):
        run.fit(network(), batches)
    assert run.global_step == 6
    assert callback.state_dict()["progress"]["stretch"] < float("inf")


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
    assert watching._observers == []


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
    assert watching._observers == []


def test_a_copied_trainer_measures_as_the_original_does(network, batches, trainer):
    run = trainer(RNNDiagnostics(1))
    other = copy.deepcopy(run)
    run.fit(network(), batches)
    other.fit(network(), batches)
    assert run.callback_metrics[MAX] == other.callback_metrics[MAX]


def test_a_callback_that_is_taken_out_while_a_step_is_recorded_leaves_no_module_changed(network, batches, trainer):
    class TakesOut(pl.Callback):
        def on_before_zero_grad(self, trainer, *_):
            trainer.callbacks[:] = [one for one in trainer.callbacks if not isinstance(one, RNNDiagnostics)]

    forward = nn.LSTM.forward
    run = trainer(RNNDiagnostics(1), TakesOut())
    run.fit(network(), batches)
    assert run.global_step == 6
    assert nn.LSTM.forward is forward
