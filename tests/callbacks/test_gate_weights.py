"""Weights by gate, after a fit: what the optimiser saw, and what it did."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from rnn_diag.callbacks import GateWeights, RNNDiagnostics

GATES = ("input", "forget", "candidate", "output")


def numbers_of(run, layer="encoder.l0"):
    prefix = f"gate_weights/{layer}/"
    return {tag.removeprefix(prefix): v.item() for tag, v in run.callback_metrics.items() if tag.startswith(prefix)}


def fitted(trainer, model, batches, *callbacks, steps=1, **options):
    run = trainer(GateWeights(1, max_overhead=None), *callbacks, limit_train_batches=steps, **options)
    run.fit(model, batches)
    return run


def block(stacked, gate):
    return stacked.detach().chunk(4)[GATES.index(gate)]


@pytest.mark.parametrize("gate", GATES)
def test_norms_are_those_of_the_gates_own_rows_before_the_step(gate, batches, trainer, network):
    model = network(nn.LSTM)
    before = copy.deepcopy(model.encoder)
    numbers = numbers_of(fitted(trainer, model, batches))
    for matrix in ("ih", "hh"):
        weight = block(getattr(before, f"weight_{matrix}_l0"), gate)
        grad = block(getattr(model.encoder, f"weight_{matrix}_l0").grad, gate)
        change = block(getattr(model.encoder, f"weight_{matrix}_l0"), gate) - weight
        assert numbers[f"{gate}/weight_{matrix}"] == pytest.approx(float(weight.norm()), rel=1e-5)
        assert numbers[f"{gate}/grad_{matrix}"] == pytest.approx(float(grad.norm()), rel=1e-5)
        assert numbers[f"{gate}/update_{matrix}"] == pytest.approx(float(change.norm() / weight.norm()), rel=1e-4)
        assert f"{gate}/clipped_grad_{matrix}" not in numbers
    assert -1 <= numbers["early_late_cosine"] <= 1


def test_clipping_is_told_apart_and_the_update_is_that_of_the_clipped_gradient(batches, trainer, network):
    free = numbers_of(fitted(trainer, network(), batches))
    clipped = numbers_of(fitted(trainer, network(), batches, gradient_clip_val=1e-3))
    factors = {tag: clipped[tag.replace("/grad", "/clipped_grad")] / clipped[tag] for tag in free if "/grad_" in tag}
    assert len({round(factor, 6) for factor in factors.values()}) == 1 and max(factors.values()) < 0.1
    for tag, factor in factors.items():
        assert clipped[tag] == pytest.approx(free[tag], rel=1e-5)
        update = tag.replace("/grad", "/update")
        assert clipped[update] == pytest.approx(factor * free[update], rel=1e-2)


def test_of_accumulated_batches_the_gradient_is_their_sum(batches, trainer, network):
    model = network()
    run = fitted(trainer, model, batches, steps=4, accumulate_grad_batches=2)
    numbers = numbers_of(run)  # batch 0 is measured before the step that it belongs to, batch 2 after it
    reference = network()
    inputs, targets = zip(*[batch for _, batch in zip(range(2), batches, strict=False)], strict=True)
    for x, y in zip(inputs, targets, strict=True):
        (reference.training_step([x, y], 0) / 2).backward()
    grad = block(reference.encoder.weight_hh_l0.grad, "forget")
    assert numbers["forget/grad_hh"] == pytest.approx(float(grad.norm()), rel=1e-4)


def test_a_layer_that_is_frozen_or_computed_from_other_parameters_has_weights_alone(batches, trainer, network):
    frozen, normalised = network(), network()
    frozen.encoder.requires_grad_(False)
    nn.utils.parametrizations.weight_norm(normalised.encoder, "weight_hh_l0")
    for model in (frozen, normalised):
        numbers = numbers_of(fitted(trainer, model, batches))
        assert "forget/weight_hh" in numbers
        assert not [tag for tag in numbers if "grad" in tag or "update" in tag]


def test_training_is_the_same_with_and_without_and_all_layers_and_pictures_are_there(
    batches, trainer, network, tensorboard, events
):
    ends = []
    for callbacks in ((), (GateWeights(1, max_overhead=None), RNNDiagnostics(2, max_overhead=None))):
        model = network(nn.GRU, num_layers=2)
        run = trainer(*callbacks, logger=tensorboard if callbacks else False)
        run.fit(model, batches)
        ends.append([parameter.detach() for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))
    tags = events(tensorboard).Tags()
    assert "gate_weights/encoder.l1/weights" in tags["images"]
    assert "gate_weights/encoder.l1/reset/update_ih" in tags["scalars"]


def test_it_holds_nothing_of_a_run_afterwards_and_can_be_copied_at_any_time(batches, trainer, network):
    callback = GateWeights(1, max_overhead=None)
    run = trainer(callback, limit_train_batches=2)
    run.fit(network(), batches)
    assert callback._modules == () and callback._steps == {}
    assert pickle.loads(pickle.dumps(callback)).schedule == callback.schedule


def test_gradients_that_are_dropped_right_after_a_manual_step_leave_the_update_and_cost_no_further_copies(
    batches, trainer, network
):
    class Manual(type(network())):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            loss, optimizer = super().training_step(batch, batch_idx), self.optimizers()
            self.manual_backward(loss)
            optimizer.step()
            optimizer.zero_grad()

    model = network()
    model.__class__, waiting = Manual, []
    callback = GateWeights(4, max_overhead=None)
    model.on_train_batch_start = lambda *_: waiting.append(callback._awaits_step)
    run = trainer(callback)
    run.fit(model, batches)
    numbers = numbers_of(run)
    assert 0 < numbers["forget/update_hh"] < 1 and "forget/grad_hh" in numbers
    assert "forget/clipped_grad_hh" not in numbers
    assert waiting[2] is False and waiting[3] is False  # steps 1 to 3 are not measured


def test_numbers_that_are_none_are_not_said_to_be_clipped(batches, trainer, network):
    class Broken(type(network())):
        def training_step(self, batch, batch_idx):
            return float("nan") * super().training_step(batch, batch_idx)

    model = network()
    model.__class__ = Broken
    numbers = numbers_of(fitted(trainer, model, batches))
    assert numbers["forget/grad_hh"] != numbers["forget/grad_hh"]
    assert not [tag for tag in numbers if "clipped" in tag]
