"""The memory horizon of recurrences whose memory is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

import rnn_diag.nn
from rnn_diag import record
from rnn_diag.callbacks import MemoryHorizon
from rnn_diag.callbacks.session.measuring import NO_UNITS
from rnn_diag.measurements.influence import MeasureInfluence


def leaking(network, weight: float):
    """Return a network whose hidden state leaks by `weight` per step."""
    model = network(rnn_diag.nn.RNN, nonlinearity="identity")
    nn.init.eye_(model.encoder.weight_hh_l0).data.mul_(weight)
    return model


def numbers(run) -> dict[str, float]:
    prefix = "memory_horizon/encoder.l0/"
    return {tag.removeprefix(prefix): v.item() for tag, v in run.callback_metrics.items() if tag.startswith(prefix)}


def test_a_leak_of_a_tenth_per_step_has_the_horizon_of_two_steps(network, batches, trainer):
    run = trainer(MemoryHorizon(1), limit_train_batches=1)
    run.fit(leaking(network, 0.1001), batches)
    found = numbers(run)
    assert found["steps"] == 2
    assert found["share"] == pytest.approx(2 / 5)
    assert found["half_life"] == pytest.approx(math.log(2) / -math.log(0.1001), rel=1e-4)


def test_a_perfect_memory_reaches_the_start_and_never_halves(network, batches, trainer):
    run = trainer(MemoryHorizon(1), limit_train_batches=1)
    run.fit(leaking(network, 1.0), batches)
    assert numbers(run) == {"steps": 5, "share": 1, "half_life": math.inf}


def test_a_loss_at_every_step_does_not_hide_that_nothing_travels(network, batches, trainer):
    model = leaking(network, 0.1001)
    model.training_step = lambda batch, batch_idx: model.encoder(batch[0])[0].square().mean()
    run = trainer(MemoryHorizon(1), limit_train_batches=1)
    run.fit(model, batches)
    assert numbers(run)["steps"] == 2


def test_tags_in_tensorboard_are_those_listed(network, batches, trainer, tensorboard, events):
    trainer(MemoryHorizon(2), logger=tensorboard).fit(network(nn.GRU), batches)
    tags = events(tensorboard).Tags()
    written = {tag for kind in ("scalars", "histograms") for tag in tags[kind] if tag.startswith("memory_horizon/")}
    assert written == {
        f"memory_horizon/encoder.l0/{name}" for name in ("steps", "share", "half_life", "log10_influence_plus_8_by_lag")
    }


def test_what_sequences_of_several_lengths_show_does_not_depend_on_who_else_is_in_the_batch():
    """So ranks whose longest sequences differ show what one process would."""
    torch.manual_seed(0)
    layer, lengths = nn.GRU(3, 5, bidirectional=True).double(), [9, 2, 5, 1]
    sequences = [torch.randn(length, 3, dtype=torch.float64) for length in lengths]

    def influence(chosen: list[int]) -> dict[str, Tensor]:
        with record(layer) as recording:
            output = layer(pack_sequence([sequences[place] for place in chosen], enforce_sorted=False))[0]
            output.data.square().sum().backward()
        measured = {name: MeasureInfluence(targets=3).of(trace, NO_UNITS) for name, trace in recording.items()}
        return {name: one.profile for name, one in measured.items()}

    together, apart = influence([0, 1, 2, 3]), (influence([0, 3]), influence([1, 2]))
    for name in ("l0", "l0_reverse"):
        parts = apart[0][name] + apart[1][name]
        assert together[name].count.tolist() == parts.count.tolist()
        torch.testing.assert_close(together[name].total, parts.total, rtol=1e-12, atol=0)
        assert together[name].count[0] == 3 + 2 + 3 + 1
        assert together[name].count[8] == 1  # the last step that the longest one read is among them


def test_a_backward_direction_that_is_used_before_it_has_read_anything_has_no_memory(network, batches, trainer):
    model = network(nn.GRU, features=10, bidirectional=True)  # its head reads output[:, -1]
    run = trainer(MemoryHorizon(1), limit_train_batches=1)
    run.fit(model, batches)
    assert run.callback_metrics["memory_horizon/encoder.l0_reverse/steps"] == 0
    assert run.callback_metrics["memory_horizon/encoder.l0/steps"] > 0


@pytest.mark.parametrize(
    ("options", "said"), [({"targets": 0}, "targets=0; expected"), ({"threshold": 2.0}, "threshold=2.0; expected")]
)
def test_impossible_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        MemoryHorizon(**options)


def test_a_network_of_nans_does_not_end_training(network, batches, trainer):
    model = network()
    nn.init.constant_(model.encoder.weight_hh_l0, math.nan)
    run = trainer(MemoryHorizon(1))
    run.fit(model, batches)
    assert run.global_step == 6
    assert math.isnan(numbers(run)["steps"])
    assert torch.isnan(model.encoder.weight_hh_l0).all()
