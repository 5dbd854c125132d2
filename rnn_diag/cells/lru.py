"""The linear recurrent unit: complex eigenvalues inside the unit disc, and no gate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from rnn_diag.arguments import number
from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.gate import Gate
from rnn_diag.cells.product import Product, Rotation, complex_of
from rnn_diag.cells.weights import Weights


@final
class LRUEquations(Equations):
    r"""A linear recurrence with complex diagonal, in exponential parametrisation.

    .. math:: h_t = λ ⊙ h_{t-1} + γ ⊙ (B x_t), \qquad λ = \exp(-e^ν + i e^θ),\; γ = e^{g}

    The `hidden_size` real units are the real parts of half as many complex numbers, then their imaginary parts; so are
    the gradients, in torch's convention :math:`∂L/∂\Re h + i\, ∂L/∂\Im h`. `weight_hh [2, N]` holds ν and θ,
    `weight_ih` the rows of `B`, `gain [N]` the `g`. The paper's readout :math:`\Re(C h_t) + D x_t` is linear in the
    units: a `Linear` on top.

    Args:
        smallest, largest: Between which absolute values the eigenvalues start, spread evenly over that ring.
        angle: Up to which phase, in radians.

    Raises:
        ValueError: Unless `0 <= smallest < largest <= 1` and the angle is positive.

    Example:
        >>> from rnn_diag.nn import Recurrent
        >>> layer = Recurrent(LRUEquations(0.9, 0.99), 3, 6)
        >>> bool((layer.equations.eigenvalues(layer.weight_hh_l0).abs() - 0.945).abs().max() <= 0.046)
        True

    Reference:
        Orvieto et al. 2023, https://arxiv.org/abs/2303.06349
    """

    name: ClassVar[str] = "lru"
    blocks = (Gate("hidden", -math.inf, math.inf),)
    recurrent_product: Product = Rotation()
    extra_parameters: ClassVar[Mapping[str, tuple[str, ...]]] = {"gain": ("half",)}

    def __init__(self, smallest: float = 0.0, largest: float = 1.0, angle: float = 2 * math.pi) -> None:
        self.largest = number("largest", largest, above=0, at_most=1)
        self.smallest = number("smallest", smallest, at_least=0, below=self.largest)
        self.angle = number("angle", angle, above=0)

    def __reduce__(self) -> tuple[Any, ...]:
        return LRUEquations, (self.smallest, self.largest, self.angle)

    @property
    def gates(self) -> tuple[Gate, ...]:
        """None: nothing is gated."""
        return ()

    @staticmethod
    def eigenvalues(weight_hh: Tensor) -> Tensor:
        """Return the complex λ, one for each two units."""
        return Rotation.eigenvalues(weight_hh)

    @torch.no_grad()
    def initialise(self, weights: Weights) -> None:
        """Spread the eigenvalues evenly over the ring, and normalise what enters: `γ = sqrt(1 - |λ|²)`."""
        shrinking, turning = weights.weight_hh
        area = torch.empty_like(shrinking).uniform_(self.smallest**2, self.largest**2).clamp(1e-12, 1 - 1e-7)
        shrinking.copy_((-0.5 * area.log()).log())
        turning.copy_(torch.empty_like(turning).uniform_(1e-6, self.angle).log())
        weights.extra["gain"].copy_(0.5 * torch.log1p(-area))

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the new state; `recurrent` is `λ ⊙ h_{t-1}`."""
        h = recurrent + _both(weights) * projected
        return Step(h, None, (), (h,), (projected,))

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return `γ ⊙ δ^h` for the input's product and `δ^h` for the state's."""
        return StepAdjoint(_both(weights) * emitted_grad, emitted_grad)

    def preactivation_grad(
        self, step: Step, previous: State, adjoint: StepAdjoint, emitted_grad: Tensor, weights: Weights
    ) -> Tensor:
        """Return `δ^h`: no nonlinearity stands between."""
        return emitted_grad

    def extra_weight_grads(
        self, step: Step, previous: State, adjoint: StepAdjoint, emitted_grad: Tensor, weights: Weights
    ) -> dict[str, Tensor]:
        """Return the gradient of `g`."""
        (projected,) = step.kept
        both = adjoint.projected_grad * projected
        return {"gain": sum(half.sum(dim=(0, 1)) for half in both.chunk(2, dim=-1))}  # type: ignore[dict-item]

    def scanned(self, projected: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        """Return `λ` and `γ ⊙ (B x)`, complex."""
        bias = 0.0 if weights.bias_hh is None else weights.bias_hh
        return self.eigenvalues(weights.weight_hh), complex_of(_both(weights) * projected + bias)


def _both(weights: Weights) -> Tensor:
    """Return `γ` for real and imaginary parts."""
    return weights.extra["gain"].exp().repeat(2)
