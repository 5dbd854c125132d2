"""The facts of a layer's calls, and how several calls and ranks make one."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from rnn_diag import record
from rnn_diag.measurements.call import CallFacts
from rnn_diag.testing.known import linear_trace


def test_two_calls_are_as_doubtful_as_the_worse_one() -> None:
    good = CallFacts.of(linear_trace(0.5, steps=3))
    bad = replace(good, fidelity=0.3, is_unfaithful=True, reduced_precision=True)
    together = replace(good, fidelity=1e-9) + bad
    assert (together.calls, together.fidelity) == (2, 0.3)
    assert together.is_unfaithful and together.reduced_precision
    assert (good + replace(good, fidelity=None)).fidelity == good.fidelity


def test_the_first_number_that_is_not_finite_stays() -> None:
    layer = nn.RNN(2, 3)
    inputs = torch.randn(4, 2, 2)
    inputs[1, 0, 0] = float("nan")
    with record(layer) as recording:
        layer(inputs)[0].sum().backward()
    facts = CallFacts.of(recording["l0"])
    assert facts.non_finite is not None and not facts.non_finite.is_gradient
    assert (CallFacts.of(linear_trace(0.5, steps=3)) + facts).non_finite == facts.non_finite


def test_numbers_that_float16_would_lose_are_counted_among_those_that_entered() -> None:
    facts = CallFacts.of(linear_trace(0.5, steps=4))
    assert facts.entries > 0 and facts.tiny == 0
    layer = nn.GRU(2, 3)
    with record(layer) as recording:
        (1e-8 * layer(torch.randn(4, 2, 2))[0].sum()).backward()
    small = CallFacts.of(recording["l0"])
    assert small.entries == small.tiny == 4 * 2 * 3
