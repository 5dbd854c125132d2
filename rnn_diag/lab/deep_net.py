"""A deep net with weights of its own in every layer: the chain rule written out, beside autograd."""

from __future__ import annotations

import torch

from rnn_diag.lab.networks import gaussian_matrix


def chain_against_autograd(units: int, layers: int, radius: float, seed: int) -> float:
    r"""Return how far the written-out gradient at the input of a deep tanh net is from autograd's, relatively.

    .. math:: \nabla_{f_0} L = W_1^T \nabla f_1 \cdots W_N^T \nabla f_N \cdot \nabla L

    An RNN is the case in which all W are one matrix.

    Args:
        units: Of every layer.
        layers: How many.
        radius: As in `gaussian_matrix`.
        seed: Of the weights, the input and the loss.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = [gaussian_matrix(units, radius, seed + 1 + layer) for layer in range(layers)]
    start, direction = torch.randn(2, units, generator=generator, dtype=torch.float64).unbind()
    first = start.clone().requires_grad_()
    features = [first]
    for weight in weights:
        features.append(torch.tanh(weight @ features[-1]))
    (by_autograd,) = torch.autograd.grad(features[-1] @ direction, first)
    chained = direction
    for weight, feature in zip(reversed(weights), reversed(features[1:]), strict=True):
        chained = weight.T @ ((1 - feature.detach().square()) * chained)
    return float((chained - by_autograd).norm() / by_autograd.norm())
