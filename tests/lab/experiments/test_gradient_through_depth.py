"""The gradient's way back and its factors, beside autograd on an unrolled network."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.lab.experiments.gradient_through_depth import GradientThroughDepth, _journey, chain_against_autograd
from rnn_diag.lab.parts.networks import gaussian_matrix

FUNCTIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softmax": lambda z: torch.softmax(z, dim=-1),
}


@pytest.mark.parametrize("activation", sorted(FUNCTIONS))
def test_norms_and_factors_are_those_of_autograd(activation: str) -> None:
    experiment = GradientThroughDepth((activation,), units=5, steps=6)
    matrix = gaussian_matrix(5, experiment.radius, 0)
    trace = experiment._trace(activation, matrix)
    hidden, states, products = torch.zeros(1, 5).double(), [], []
    for x in trace.inputs:
        z = (x + hidden @ matrix.T).requires_grad_()
        z.retain_grad()
        hidden = FUNCTIONS[activation](z)
        hidden.retain_grad()
        products.append(z)
        states.append(hidden)
    (states[-1] * trace.hidden_grad_direct[-1]).sum().backward()
    norms = [float(state.grad.norm()) for state in reversed(states)]
    after = [float(z.grad.norm()) for z in reversed(products)]
    journey = _journey(activation, trace)
    assert journey.norms.tolist() == pytest.approx(norms, rel=1e-9)
    assert journey.slopes.tolist() == pytest.approx([a / n for a, n in zip(after, norms, strict=True)][:-1], rel=1e-9)
    assert journey.stretches.tolist() == pytest.approx(
        [n / a for n, a in zip(norms[1:], after, strict=False)], rel=1e-9
    )


def test_every_check_holds_and_the_sigmoid_gradient_vanishes_first_among_the_elementwise_ones() -> None:
    outcome = GradientThroughDepth(units=16, steps=12).run()
    assert outcome.holds
    left = {row[0]: row[-1] for row in outcome.tables[0].rows}
    assert left["sigmoid"] < 1e-4 < left["tanh"]
    assert left["softmax"] < left["sigmoid"]


def test_the_chain_of_a_deep_net_is_autograds() -> None:
    assert chain_against_autograd(units=7, layers=9, radius=1.3, seed=4) < 1e-12


def test_an_activation_without_a_closed_form_here_is_refused() -> None:
    with pytest.raises(ValueError, match="activations='gelu'; choices: tanh, sigmoid, relu, softmax"):
        GradientThroughDepth(activations=("gelu",))
