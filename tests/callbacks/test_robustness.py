"""A diagnostic never kills a run: failures, odd trainers, copies, several fits."""

from __future__ import annotations

import copy
import pickle
import re
import warnings

import lightning.pytorch as pl
import pytest
import pytorch_lightning
import torch
from torch import nn
from torch.utils.data import DataLoader

from rnn_diag.callbacks import (
    DiagnosticWarning,
    GateSaturation,
    GradientNorms,
    RecurrentSpectrum,
    RNNDiagnostics,
)
from rnn_diag.capture import Recording, observe
from rnn_diag.measurements.gradients import MeasureGradients

MAX = "gradient_norms/encoder.l0/log10_max"


def test_failing_measure_is_switched_off_with_one_warning_and_the_others_go_on(network, batches, trainer, monkeypatch):
    def fail(self, trace, units):
        raise FloatingPointError("no such number")

    monkeypatch.setattr(MeasureGradients, "of", fail)
    run = trainer(RNNDiagnostics(1))
    with pytest.warns(DiagnosticWarning) as caught:
        run.fit(network(), batches)
    said = [str(w.message) for w in caught if w.category is DiagnosticWarning]
    (line,) = said
    where = (
        r"FloatingPointError in test_robustness.py:\d+ fail\(\): no such number; set RNN_DIAG_RAISE=1 to see the stack"
    )
    assert re.fullmatch(f"rnn_diag: gradient_norms is switched off: {where}", line)
    assert run.global_step == 6
    assert MAX not in run.callback_metrics
    assert "spectrum/encoder.l0/input/sigma_max" in run.callback_metrics


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


def test_recording_that_cannot_start_switches_all_off_and_training_goes_on(network, batches, trainer, monkeypatch):
    def fail(self):
        raise OSError("no")

    monkeypatch.setattr(Recording, "start", fail)
    run = trainer(RNNDiagnostics(1))
    with pytest.warns(DiagnosticWarning) as caught:
        run.fit(network(), batches)
    (line,) = [str(w.message) for w in caught if w.category is DiagnosticWarning]
    names = "gradient_norms, memory_horizon, spectrum and saturation"
    assert line.startswith(f"rnn_diag: {names} are switched off: OSError in test_robustness.py")
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


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_an_empty_batch_is_passed_over_and_the_next_one_is_measured(kind, network, trainer):
    model = network(kind)
    inputs, targets = torch.randn(4, 6, 3), torch.randn(4, 1)
    run = trainer(RNNDiagnostics(1, lyapunov=True), logger=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DiagnosticWarning)
        run.fit(model, DataLoader([(inputs[:0], targets[:0]), (inputs, targets)], batch_size=None))
    assert run.global_step == 2
    assert run.callback_metrics[MAX].isfinite()
    assert any(name.startswith("memory_horizon") for name in run.callback_metrics)


def test_everything_is_as_before_after_a_training_step_that_raised(network, batches, trainer):
    class Broken(type(network())):
        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)
            raise KeyError("broken")

    model = network()
    model.__class__ = Broken
    forward = nn.LSTM.forward
    callback = RNNDiagnostics(1)
    with pytest.raises(KeyError, match="broken"):
        trainer(callback).fit(model, batches)
    assert nn.LSTM.forward is forward
    assert observe._observers == []
    pickle.dumps(callback)


def test_pattern_without_a_match_is_refused_before_training_and_says_what_there_is(network, batches, trainer):
    model = network()
    with pytest.raises(ValueError, match=r"no recurrent layer matches 'encodr\*'; found: encoder.l0"):
        trainer(RNNDiagnostics(layers="encodr*")).fit(model, batches)
    assert model.losses == []


def test_only_layers_that_match_are_measured(network, batches, trainer):
    run = trainer(GateSaturation(1, layers="*.l1"), RecurrentSpectrum(1, layers="*.l0"))
    run.fit(network(num_layers=2), batches)
    shown = {"/".join(name.split("/")[:2]) for name in run.callback_metrics}
    assert shown == {"saturation/encoder.l1", "spectrum/encoder.l0", "rnn_diag/overhead", "rnn_diag/every_n_steps"}


def test_model_without_recurrent_layers_trains_with_a_warning(batches, trainer):
    class Feedforward(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def training_step(self, batch, batch_idx):
            return self.layer(batch[0]).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    run = trainer(RNNDiagnostics(1))
    with pytest.warns(DiagnosticWarning, match="no recurrent layer was found"):
        run.fit(Feedforward(), batches)
    assert run.global_step == 6


class LeakyRNN(nn.Module):
    """A recurrent module of a kind that nobody knows."""

    def __init__(self):
        super().__init__()
        self.hidden_size, self.weight_hh, self.weight_ih = 5, nn.Linear(5, 5), nn.Linear(3, 5)

    def forward(self, inputs):
        state, states = inputs.new_zeros(len(inputs), 5), []
        for step in inputs.unbind(1):
            state = torch.tanh(self.weight_ih(step) + self.weight_hh(state))
            states.append(state)
        return torch.stack(states, 1), state


def test_module_that_cannot_be_followed_is_named_with_the_reason(network, batches, trainer, capsys):
    model = network()
    model.encoder = LeakyRNN()
    run = trainer(RNNDiagnostics(1))
    with pytest.warns(DiagnosticWarning, match=r"can be followed, .*encoder \(.*LeakyRNN\): .*register"):
        run.fit(model, batches)
    assert run.global_step == 6
    assert "LeakyRNN" in capsys.readouterr().out


def test_network_built_in_configure_model_is_found(network, batches, trainer):
    built = network()

    class Late(type(built)):
        def __init__(self):
            super().__init__(nn.Identity())

        def configure_model(self):
            self.encoder = built.encoder

    run = trainer(GradientNorms(1))
    run.fit(Late(), batches)
    assert MAX in run.callback_metrics


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
    assert [e.step for e in events(logger).Images("spectrum/encoder.l0/eigenvalues")] == [0, 2, 4]


def test_trial_run_of_one_batch_measures_and_draws_nothing(network, batches, trainer, tensorboard):
    run = trainer(RNNDiagnostics(1), logger=tensorboard, fast_dev_run=True)
    run.fit(network(), batches, batches)
    assert MAX in run.callback_metrics


def test_sanity_check_and_validation_measure_nothing(network, batches, trainer, tensorboard, events):
    run = trainer(GradientNorms(1), logger=tensorboard, num_sanity_val_steps=2, val_check_interval=3)
    run.fit(network(), batches, batches)
    assert [e.step for e in events(tensorboard).Scalars(MAX)] == [0, 1, 2, 3, 4, 5]


def test_callbacks_of_one_trainer_share_one_recording_a_step(network, batches, trainer, monkeypatch):
    started = []
    start = Recording.start
    monkeypatch.setattr(Recording, "start", lambda self: (started.append(self.sequences), start(self))[1])
    trainer(GradientNorms(2, 3), RNNDiagnostics(2, 2), GateSaturation(3, 1)).fit(network(), batches)
    assert started == [3, 3, 1, 3]  # steps 0, 2, 3, 4


def test_batches_that_are_skipped_leave_nothing_behind(network, batches, trainer):
    class Skipping(type(network())):
        def training_step(self, batch, batch_idx):
            return None if batch_idx == 1 else super().training_step(batch, batch_idx)

        def on_train_batch_start(self, batch, batch_idx):
            return -1 if batch_idx == 3 else None

    model = network()
    model.__class__ = Skipping
    run = trainer(RNNDiagnostics(1))
    run.fit(model, batches)
    assert len(model.losses) == 2
    assert observe._observers == []


def test_manual_optimisation_with_two_losses_measures_each_layer_in_its_own_backward_pass(
    batches, trainer, tensorboard, events
):
    class Two(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.first, self.second = nn.LSTM(3, 5, batch_first=True), nn.GRU(3, 4, batch_first=True)
            self.direct = []

        def training_step(self, batch, batch_idx):
            for optimizer, layer in zip(self.optimizers(), (self.first, self.second), strict=True):
                output = layer(batch[0])[0]
                output.retain_grad()
                self.manual_backward(output[:, -1].square().sum())
                self.direct.append(output.grad[:, -1].double().norm(dim=1).mean().log10().item())
                optimizer.step()
                optimizer.zero_grad()
            self.first(batch[0])  # a forward without a backward

        def configure_optimizers(self):
            return [torch.optim.SGD(layer.parameters(), 0.01) for layer in (self.first, self.second)]

    model = Two()
    run = trainer(GradientNorms(2, None), logger=tensorboard)
    run.fit(model, batches)
    assert run.global_step == 12
    log = events(tensorboard)
    for place, layer in enumerate(("first", "second")):
        shown = log.Scalars(f"gradient_norms/{layer}.l0/log10_max")
        assert [event.step for event in shown] == [0, 2, 4]
        expected = model.direct[place::2][::2]
        assert [event.value for event in shown] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_steps": 0}, "every_n_steps=0; expected a whole number of at least 1"),
        ({"sequences": 0}, "sequences=0; expected"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RNNDiagnostics(**arguments)
    with pytest.raises(ValueError, match=r"low=0.9, high=0.1; expected 0 <= low < high <= 1"):
        GateSaturation(low=0.9, high=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_steps": "5"}, "every_n_steps='5'; expected a whole number"),
        ({"sequences": 2.5}, "sequences=2.5; expected a whole number"),
        ({"max_overhead": "2%"}, "max_overhead='2%'; expected a finite number above 0 and below 1"),
        ({"layers": None}, "layers=None; expected a glob pattern"),
    ],
)
def test_arguments_of_a_wrong_type_are_refused(arguments, message):
    with pytest.raises(TypeError, match=message):
        RNNDiagnostics(**arguments)


def test_nothing_is_warned_of_in_an_ordinary_run(network, batches, trainer, tensorboard):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DiagnosticWarning)
        trainer(RNNDiagnostics(1), logger=tensorboard).fit(network(), batches)
    assert not [w for w in caught if w.category is DiagnosticWarning]
