"""Plain recurrent layers whose weights are given: what most experiments look at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.nn import RNN

if TYPE_CHECKING:
    from jaxtyping import Float


def network(
    nonlinearity: str,
    recurrent: float | Float[Tensor, "units units"],
    bias: float = 0.0,
    incoming: float | Float[Tensor, "units features"] = 1.0,
) -> RNN:
    r"""Return :math:`h_t = φ(W h_{t-1} + C x_t + b)` in float64, not to be trained.

    Args:
        nonlinearity: tanh, relu, sigmoid or identity.
        recurrent: W, or the one weight of a single unit.
        bias: b, the same for every unit.
        incoming: C; a number c stands for c times the identity.

    Example:
        >>> network("identity", 0.5)(torch.tensor([[4.0], [0.0]]).double())[0].tolist()
        [[4.0], [2.0]]
    """
    matrix = torch.as_tensor(recurrent, dtype=torch.float64).reshape(_square(recurrent))
    into = incoming if isinstance(incoming, Tensor) else incoming * torch.eye(len(matrix), dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):  # The layer draws weights, which are then replaced.
        made = RNN(into.shape[1], len(matrix), nonlinearity=nonlinearity, dtype=torch.float64).requires_grad_(False)
    made.get_parameter("weight_hh_l0").copy_(matrix)
    made.get_parameter("weight_ih_l0").copy_(into)
    made.get_parameter("bias_ih_l0").fill_(bias)
    made.get_parameter("bias_hh_l0").zero_()
    return made


def one_input(steps: int, size: float = 1.0, features: int = 1) -> Float[Tensor, "time one features"]:
    """Return an input of that size at step 0, followed by zeros."""
    inputs = torch.zeros(steps, 1, features, dtype=torch.float64)
    inputs[0] = size
    return inputs


def gaussian_matrix(units: int, radius: float, seed: int) -> Float[Tensor, "units units"]:
    r"""Return a matrix of independent normal entries with standard deviation :math:`radius / \sqrt{units}`.

    Its spectral radius comes near to `radius` as the units become many.
    """
    generator = torch.Generator().manual_seed(seed)
    entries = torch.randn(units, units, generator=generator, dtype=torch.float64)
    return entries * (radius / math.sqrt(units))


def _square(recurrent: float | Tensor) -> tuple[int, ...]:
    return tuple(recurrent.shape) if isinstance(recurrent, Tensor) else (1, 1)
