"""h-detach: random steps take the hidden state before them as a constant; gradients go back through the memory."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor


def checked_probability(probability: float) -> float:
    """Return a probability of detaching.

    Raises:
        ValueError: If it is not between 0 and 1.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"h_detach is {probability}; expected a probability from 0 (never) to 1 (at every step)")
    return float(probability)


def drawn_steps(
    probability: float, layers: int, steps: int, generator: torch.Generator | None = None
) -> Bool[Tensor, "layer time"]:
    r"""Draw the steps whose gates take :math:`h_{t-1}` as a constant, for every layer and direction.

    One draw holds for the whole batch, as published. Values forwards are the same; backwards the recurrent products of
    these steps hand nothing to :math:`h_{t-1}`, and :math:`c_{t-1}` gets all that it would: through the forget gate,
    and through peepholes. Weights get their whole gradient, `∂L/∂W_hh = Σ δ_t h_{t-1}^T`, of the δ that are left.

    Args:
        probability: Of every step.
        layers: Layers times directions.
        steps: Length of the longest sequence.
        generator: Where the numbers come from: torch's own, on the CPU, by default, whatever device computes.

    Example:
        >>> drawn_steps(1.0, layers=1, steps=3)
        tensor([[True, True, True]])

    Reference:
        Arpit, Kanuparthi, Kerg, Ke, Mitliagkas, Bengio 2019, h-detach: modifying the LSTM gradient towards better
        optimization, https://arxiv.org/abs/1810.03023
    """
    return torch.rand(layers, steps, generator=generator, dtype=torch.float32, device="cpu") < probability
