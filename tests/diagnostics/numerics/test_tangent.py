from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rnn_diag.cells import State, Step, Weights
from rnn_diag.cells.derivatives import scaled_rows
from rnn_diag.cells.equations import Equations, StepAdjoint
from rnn_diag.cells.gate import Gate
from rnn_diag.diagnostics.jacobian import jacobian_product_singular_values, state_jacobian
from rnn_diag.diagnostics.lyapunov import lyapunov_exponents
from rnn_diag.diagnostics.numerics.tangent import Tangent
from rnn_diag.trace import Trace
from tests.reference.random_layers import CELLS, random_trace


class LeakyTanh(Equations):
    """`h_t = h_{t-1} / 2 + tanh(z_t) / 2`, whose adjoint leaves the graph where `through` and `past` say so."""

    name = "leaky_tanh"
    blocks = (Gate("hidden", -1.0, 1.0),)

    def __init__(self, through: Callable[[Tensor], Tensor], past: Callable[[Tensor], Tensor]) -> None:
        self._through, self._past = through, past

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        z = projected + recurrent
        return Step((previous.hidden + z.tanh()) / 2, None, (z.tanh(),), (z,))

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        delta = self._through(emitted_grad * (1 - step.gates[0] ** 2) / 2)
        return StepAdjoint(delta, delta, previous_hidden_grad=self._past(emitted_grad / 2))

    def jacobian(self, step: Step, previous: State, weights: Weights) -> Tensor:
        return torch.eye(len(weights.weight_hh)) / 2 + scaled_rows((1 - step.gates[0] ** 2) / 2, weights.weight_hh)


def leaky_trace(through: Callable[[Tensor], Tensor] = Tensor.clone, past: Callable[[Tensor], Tensor] = Tensor.clone):
    plain = random_trace("rnn", [6, 4], grads=None)
    return Trace.of(
        "l0", LeakyTanh(through, past), plain.weights, plain.inputs, State(plain.initial_hidden), mask=plain.mask
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_forward_and_backward_apply_the_state_jacobian_and_its_transpose(cell: str, reverse: bool) -> None:
    trace = random_trace(cell, [5, 5], grads=None, reverse=reverse)
    tangent = Tangent.of(trace)
    vectors = torch.randn(3, 2, tangent.state_size, dtype=torch.float64)
    for position in range(5):
        jacobian = state_jacobian(trace, 4 - position if reverse else position)
        forward, backward = tangent.forward(position, vectors), tangent.backward(position, vectors)
        torch.testing.assert_close(forward, torch.einsum("bij,dbj->dbi", jacobian, vectors), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(backward, torch.einsum("bji,dbj->dbi", jacobian, vectors), rtol=1e-12, atol=1e-14)


def test_an_adjoint_on_the_graph_gives_the_exponents_of_its_jacobians() -> None:
    trace = leaky_trace()
    logs = [torch.linalg.slogdet(state_jacobian(trace, t)[0]).logabsdet for t in range(6)]
    found = lyapunov_exponents(trace, k=3)[0].sum().item()
    assert found == pytest.approx(torch.stack(logs).mean().item(), rel=1e-12)


@pytest.mark.parametrize(
    ("through", "past"),
    [(Tensor.detach, Tensor.detach), (Tensor.detach, Tensor.clone), (Tensor.clone, Tensor.detach)],
    ids=["wholly", "through the product", "past the product"],
)
@pytest.mark.parametrize("measure", [lyapunov_exponents, jacobian_product_singular_values])
def test_an_adjoint_off_the_graph_is_refused_instead_of_giving_zeros(through, past, measure) -> None:
    with pytest.raises(RuntimeError, match="adjoint of equations 'leaky_tanh' is not on the autograd graph"):
        measure(leaky_trace(through, past))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 1e200])
def test_an_unusual_state_does_not_pass_for_an_adjoint_off_the_graph(value: float) -> None:
    trace = random_trace("lstm", [4], grads=None)
    trace.inputs[1] = value
    assert Tangent.of(trace).steps == 4
