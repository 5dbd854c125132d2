"""Sick layers, the finding at each, and the number that its advice, followed to the letter, is to make better."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

import rnn_diag.nn
from rnn_diag.doctor import Report
from rnn_diag.interventions import initialization
from tests.doctor.small_networks import FEATURES, seen

UNITS = 16


class Case(NamedTuple):
    """What is followed.

    Attributes:
        name: What `docs/doctor.md` calls the layer; each is fed 40 steps of noise and has a loss at the last one.
        model: Makes it.
        word: The finding.
        number: The field of `Vitals` that is to change.
        better: 1 where larger is better, -1 where smaller is.
    """

    name: str
    model: Callable[[], nn.Module]
    word: str
    number: str
    better: int


class Followed(NamedTuple):
    """What came of a case: the call that the finding names, the number before and after, and the report after."""

    call: str
    before: float
    after: float
    report: Report


def follow(case: Case) -> Followed:
    """Examine, do what the finding's advice says word by word, and examine again."""
    torch.manual_seed(0)
    model = case.model()
    before = seen(model)
    (finding,) = before.of(case.word)
    exec(finding.call, {"rnn_diag": rnn_diag, "model": model})
    after = seen(model)
    numbers = [getattr(one.vitals["l0"], case.number) for one in (before, after)]
    return Followed(finding.call, *numbers, after)


def with_radius_three() -> nn.Module:
    layer = nn.RNN(FEATURES, UNITS, nonlinearity="relu")
    initialization.rescale_spectral_radius(layer, 3.0)
    return layer


@torch.no_grad()
def with_forget_gates_shut() -> nn.Module:
    layer = nn.LSTM(FEATURES, UNITS)
    layer.bias_ih_l0[UNITS : 2 * UNITS] = -20.0
    return layer


@torch.no_grad()
def with_silent_units() -> nn.Module:
    layer = nn.RNN(FEATURES, UNITS, nonlinearity="relu")
    layer.bias_ih_l0[:10] = -50.0
    return layer


@torch.no_grad()
def far_from_normal() -> nn.Module:
    layer = rnn_diag.nn.RNN(FEATURES, UNITS, nonlinearity="identity")
    layer.weight_hh_l0.copy_(0.5 * torch.eye(UNITS) + 4.0 * torch.eye(UNITS).roll(1, 1).triu())
    layer.weight_hh_l0[2:] *= torch.eye(UNITS)[2:]
    return layer


CASES = (
    Case("LSTM", lambda: nn.LSTM(FEATURES, UNITS), "vanishing", "horizon", 1),
    Case("GRU", lambda: nn.GRU(FEATURES, UNITS), "vanishing", "horizon", 1),
    Case("tanh RNN", lambda: nn.RNN(FEATURES, UNITS), "vanishing", "horizon", 1),
    Case("LSTM", lambda: nn.LSTM(FEATURES, UNITS), "forget_bias_low", "longest_memory", 1),
    Case("ReLU RNN of radius 3", with_radius_three, "exploding", "influence_peak", -1),
    Case("linear RNN, sheared", far_from_normal, "transient_growth", "influence_peak", -1),
    Case("LSTM, forget gates shut", with_forget_gates_shut, "stuck_gate", "log10_first_to_last", 1),
    Case("ReLU RNN, biases of -50", with_silent_units, "dead_relu", "relu_dead", -1),
)
