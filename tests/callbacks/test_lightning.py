"""Gradients are in units of the loss as trained, whatever Lightning multiplies or divides on the way."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from rnn_diag.callbacks import DiagnosticWarning, GradientNorms, RNNDiagnostics
from rnn_diag.callbacks.lightning import clip_factor, log_numbers

MAX = "gradient_norms/encoder.l0/log10_max"


class FakeScaler:
    def __init__(self, scale: float) -> None:
        self.scale = scale

    def get_scale(self) -> float:
        return self.scale


class ScalingPrecision(Precision):
    """Scales the loss before the backward pass and the gradients back before the step, as float16 training does."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scaler = FakeScaler(scale)

    def pre_backward(self, tensor, module):
        return super().pre_backward(tensor * self.scaler.scale, module)

    def optimizer_step(self, optimizer, model, closure, **options):
        closure_result = closure()
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad /= self.scaler.scale
        if all(p.grad.isfinite().all() for group in optimizer.param_groups for p in group["params"]):
            optimizer.step()
        return closure_result


def metrics(network, batches, trainer, **options):
    run = trainer(GradientNorms(1, None), **options)
    run.fit(network(), batches)
    return {name: value.item() for name, value in run.callback_metrics.items() if name.startswith("gradient_norms")}


def test_loss_scale_is_taken_out(network, batches, trainer):
    plain = metrics(network, batches, trainer)
    scaled = metrics(network, batches, trainer, plugins=ScalingPrecision(1024.0))
    assert scaled.pop("gradient_norms/encoder.l0/amp_overflow") == 0
    for name in plain.keys() - {"gradient_norms/encoder.l0/fidelity"}:
        assert scaled[name] == pytest.approx(plain[name], abs=1e-5)


def test_step_that_overflowed_while_the_scale_was_tried_is_marked_and_not_shown(network, batches, trainer):
    overflowed = metrics(network, batches, trainer, plugins=ScalingPrecision(float("inf")))
    prefix = "gradient_norms/encoder.l0/"
    assert set(overflowed) == {prefix + name for name in ("amp_overflow", "non_finite", "exact_zero")}
    assert overflowed[prefix + "amp_overflow"] == 1
    assert overflowed[prefix + "non_finite"] > 0


def test_division_by_accumulated_batches_is_taken_out(network, batches, trainer):
    once = metrics(network, batches, trainer, limit_train_batches=1)
    accumulated = metrics(network, batches, trainer, limit_train_batches=1, accumulate_grad_batches=2)
    assert accumulated[MAX] == pytest.approx(once[MAX], abs=1e-6)


def test_scheduled_accumulation_is_followed(network, batches, trainer):
    class NoLearning(type(network())):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    def first_batch_of_second_epoch(accumulated: int) -> float:
        model = network()
        model.__class__ = NoLearning
        schedule = pl.callbacks.GradientAccumulationScheduler({0: 1, 1: accumulated})
        run = trainer(schedule, GradientNorms(6, None), max_epochs=2)
        run.fit(model, batches)
        return run.callback_metrics[MAX].item()

    assert first_batch_of_second_epoch(3) == pytest.approx(first_batch_of_second_epoch(1), abs=1e-6)


def test_of_accumulated_batches_the_first_is_measured_once(network, batches, trainer, tensorboard, events):
    trainer(GradientNorms(1), accumulate_grad_batches=2, logger=tensorboard).fit(network(), batches)
    assert [event.step for event in events(tensorboard).Scalars(MAX)] == [0, 1, 2]


def in_float16(network, batches, trainer, callbacks, loss_scale: float, factor: float = 1.0):
    """Train in real float16 for one batch, with a loss of which only so much counts."""

    class Small(type(network())):
        def training_step(self, batch, batch_idx):
            return factor * super().training_step(batch, batch_idx)

    model = network(nn.GRU)  # on many CPUs an LSTM has no float16 kernel
    model.__class__ = Small
    precision = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=loss_scale))
    run = trainer(*callbacks, plugins=precision, limit_train_batches=1)
    run.fit(model, batches)
    return model, {name.split("/")[-1]: value.item() for name, value in run.callback_metrics.items()}


def test_float16_gives_the_numbers_of_float32_but_for_rounding(network, batches, trainer):
    _, found = in_float16(network, batches, trainer, [GradientNorms(1, None)], 2.0**14)
    run = trainer(GradientNorms(1, None), limit_train_batches=1)
    run.fit(network(nn.GRU), batches)
    assert found["amp_overflow"] == 0
    for name in ("log10_max", "log10_median", "log10_first_to_last", "slope_nats_per_step"):
        assert found[name] == pytest.approx(run.callback_metrics[f"gradient_norms/encoder.l0/{name}"].item(), abs=0.01)


def test_float16_step_that_overflows_is_marked_and_not_shown(network, batches, trainer):
    _, found = in_float16(network, batches, trainer, [GradientNorms(1, None)], 2.0**40)
    assert found["amp_overflow"] == 1
    assert found["non_finite"] > 0
    assert "log10_max" not in found


def test_float16_gradients_that_underflow_are_not_taken_for_vanished_ones(network, batches, trainer):
    with pytest.warns(DiagnosticWarning, match=r"not shown: .*half precision may have lost small gradients"):
        _, found = in_float16(network, batches, trainer, [GradientNorms(1, None)], 1.0, factor=1e-6)
    assert "log10_first_to_last" not in found


def test_float16_training_is_the_same_bit_for_bit(network, batches, trainer):
    bare, _ = in_float16(network, batches, trainer, [], 2.0**14)
    measured, _ = in_float16(network, batches, trainer, [RNNDiagnostics(1, None, max_overhead=None)], 2.0**14)
    assert all(torch.equal(one, other) for one, other in zip(bare.parameters(), measured.parameters(), strict=True))


def test_gradients_whose_scale_changes_within_a_batch_are_left_out_and_that_is_said(batches, trainer, network):
    class Twice(type(network())):
        def __init__(self):
            super().__init__(nn.GRU(3, 5, batch_first=True))
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            for _ in range(2):
                self.manual_backward(self.encoder(batch[0])[0].square().mean())
                self.trainer.precision_plugin.scaler.scale *= 2

    run = trainer(GradientNorms(1, None), plugins=ScalingPrecision(8.0))
    with pytest.warns(DiagnosticWarning, match="not shown at step 0: their scale changed"):
        run.fit(Twice(), batches)
    assert MAX not in run.callback_metrics


def test_clipping_by_value_is_the_length_that_is_left():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert clip_factor(torch.optim.SGD([weight]), 3.0, "value").here() == pytest.approx(math.sqrt(18) / 5)
    assert clip_factor(torch.optim.SGD([weight]), 9.0, "norm").here() == 1


class Doubling(TensorBoardLogger):
    """A logger of one's own that does something else with numbers."""

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        super().log_metrics({name: 2 * value for name, value in metrics.items()}, step)


@pytest.mark.parametrize(("kind", "expected"), [(TensorBoardLogger, 1.5), (Doubling, 3.0)])
def test_numbers_reach_a_logger_as_its_own_method_would_write_them(kind, expected, tmp_path):
    logger = kind(tmp_path, "", "", prefix="mine")
    log_numbers(logger, {"a": 1.5}, 3)
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(one.step, one.value) for one in events.Scalars("mine-a")] == [(3, expected)]
