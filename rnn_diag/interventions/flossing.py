"""Gradient flossing: pushing Lyapunov exponents towards zero, so that gradients neither vanish nor explode."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnn_diag.cells.equations import Equations, State
from rnn_diag.cells.of_module import equations_of, recurrent_modules, suffixes_of
from rnn_diag.cells.weights import Weights, weights_of
from rnn_diag.diagnostics.lyapunov import exponents_along
from rnn_diag.diagnostics.numerics.tangent import Tangent
from rnn_diag.engine.packing import Packing
from rnn_diag.engine.unroll import Unrolled, unroll


def lyapunov_penalty(
    module: nn.Module,
    inputs: Tensor | PackedSequence,
    k: int = 1,
    target: float = 0.0,
    warmup: int = 0,
    detach_states: bool = False,
) -> Tensor:
    r"""Return a differentiable penalty on the Lyapunov exponents of every layer along some inputs.

    .. math:: \frac{1}{k} \sum_{j=1}^k (λ_j - \text{target})^2, \quad \text{averaged over layers and sequences}

    To be added to a loss, `loss + weight * lyapunov_penalty(self.lstm, x, k=16)`, for some time before or during
    training. With `target=0` the directions that the `k` exponents measure are neither lost nor blown up. The exponents
    are those of `rnn_diag.diagnostics.lyapunov_exponents`, of the full state `(h, c)`, from a state of zeros; dropout
    between layers is left out.

    Args:
        module: `torch.nn.RNN`, `LSTM`, `GRU`, or one of this package's.
        inputs: What the module is fed, in any form that it takes.
        k: Exponents of each layer. A step costs about as much as `k` times as many sequences, and a QR decomposition.
        target: In nats per step.
        warmup: Steps at the start of every sequence that are not counted.
        detach_states: Take states and gates as constants. Only the weights that stand in the Jacobians themselves
            (`W_hh`, peepholes) then have a gradient, which ignores that they also move the states: cheaper, not exact.

    Returns:
        A scalar, in squared nats per step, on the graph of the parameters and, unless states are detached, the inputs.

    Raises:
        TypeError: If the module is no recurrent one.
        ValueError: If `k` or `warmup` does not fit, or an exponent is infinite: the recurrence wipes a direction out.

    Example:
        >>> layer = nn.RNN(1, 1, nonlinearity="relu").requires_grad_(False)
        >>> _ = [parameter.fill_(0.5) for parameter in layer.parameters()]
        >>> round(lyapunov_penalty(layer, torch.ones(10, 2, 1)).item(), 6)  # ln(0.5)²
        0.480453

    Reference:
        Engelken 2023, Gradient flossing, https://arxiv.org/abs/2312.17306
    """
    found = exponents_by_layer(module, inputs, k, warmup, detach_states)
    for layer, exponents in found.items():
        if not bool(exponents.isfinite().all()):
            raise ValueError(
                f"{type(module).__name__} {layer}: a Lyapunov exponent is {_first_not_finite(exponents)} with k={k}; "
                "expected a direction that is not wiped out by the recurrence, and finite states: try a smaller k"
            )
    return torch.stack([(exponents - target).square().mean() for exponents in found.values()]).mean()


def exponents_by_layer(
    module: nn.Module, inputs: Tensor | PackedSequence, k: int = 1, warmup: int = 0, detach_states: bool = False
) -> dict[str, Tensor]:
    """Return the `k` largest Lyapunov exponents `[B, k]` of every layer and direction, differentiable.

    Args and errors are those of `lyapunov_penalty`.
    """
    equations = equations_of(module)
    if equations is None:
        raise TypeError(
            f"{type(module).__name__} is no recurrent module; expected torch's or rnn_diag's RNN, LSTM or GRU"
        )
    packing = Packing.of(inputs, getattr(module, "batch_first", False), type(module).__name__)
    if packing.lengths is not None and int(packing.lengths.min()) <= warmup:
        raise ValueError(f"warmup={warmup}; expected less than the shortest sequence, of {int(packing.lengths.min())}")
    with torch.autocast(packing.data.device.type, enabled=False):
        return _stack(module, equations, packing, k, warmup, detach_states)


def gradient_flossing(
    module: nn.Module,
    k: int = 16,
    steps: int = 100,
    sequence_length: int = 100,
    sequences: int = 4,
    learning_rate: float = 0.005,
    generator: torch.Generator | None = None,
) -> list[float]:
    """Bring the `k` largest Lyapunov exponents of every recurrent module close to zero, before training.

    An initialisation: recurrent weights and biases are changed in place, by Adam on `lyapunov_penalty` along fresh
    standard normal inputs; input weights stay, since shutting the inputs out would be the easy way. On inputs of
    another kind, minimise the penalty on these instead.

    Args:
        module: A recurrent module of torch's or this package's, or a model that holds some.
        k: Exponents of each layer, or one for each unit where these are fewer.
        steps: Of the optimiser.
        sequence_length: Steps of time: about the length of the sequences to train on.
        sequences: Per optimiser step.
        learning_rate: Adam's.
        generator: Where the inputs come from.

    Returns:
        The penalty before every optimiser step, averaged over the recurrent modules.

    Raises:
        ValueError: If there is no recurrent module inside; and as `lyapunov_penalty`.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> penalties = gradient_flossing(nn.RNN(2, 8), k=4, steps=20, sequence_length=20)
        >>> penalties[-1] < penalties[0] / 2
        True
    """
    found: list[Any] = [one for one, _ in recurrent_modules(module)]
    parameters = [value for one in found for value in _of_the_recurrence(one) if value.requires_grad]
    if not parameters:
        raise ValueError(f"no recurrent module to train in {type(module).__name__}; expected an RNN, LSTM or GRU")
    counts = [min(k, one.hidden_size) for one in found]
    optimizer = torch.optim.Adam(parameters, learning_rate)
    penalties = []
    for _ in range(steps):
        with torch.enable_grad():
            drawn = [_noise(one, sequence_length, sequences, generator) for one in found]
            penalty = torch.stack(list(map(lyapunov_penalty, found, drawn, counts))).mean()
        grads = torch.autograd.grad(penalty, parameters, allow_unused=True)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        optimizer.step()
        penalties.append(float(penalty.detach()))
    optimizer.zero_grad(set_to_none=True)
    return penalties


def _stack(
    module: nn.Module, equations: Equations, packing: Packing, k: int, warmup: int, detach_states: bool
) -> dict[str, Tensor]:
    """Run the layers one after the other, each along what those below it put out."""
    suffixes, found = suffixes_of(module), {}
    directions = 2 if any(suffix.endswith("_reverse") for suffix in suffixes) else 1
    inputs, outputs = packing.padded(), []
    for suffix in suffixes:
        weights = weights_of(module, suffix)
        reverse = suffix.endswith("_reverse")
        fed = packing.reversed(inputs) if reverse else inputs
        with torch.set_grad_enabled(torch.is_grad_enabled() and not detach_states):
            unrolled = unroll(equations, weights, fed, _zeros(equations, weights, fed), packing.mask)
        found[suffix] = _exponents(equations, weights, unrolled, k, warmup)
        outputs.append(packing.reversed(unrolled.hidden) if reverse else unrolled.hidden)
        if len(outputs) == directions:
            inputs, outputs = torch.cat(outputs, dim=-1), []
    return found


def _exponents(equations: Equations, weights: Weights, unrolled: Unrolled, k: int, warmup: int) -> Tensor:
    tangent = Tangent(equations, weights, unrolled, differentiable=torch.is_grad_enabled())
    return exponents_along(tangent, k, warmup, weights.weight_hh.dtype)


def _zeros(equations: Equations, weights: Weights, inputs: Tensor) -> State:
    return equations.zeros(weights, inputs.shape[1]).map(lambda part: part.to(inputs))


def _of_the_recurrence(module: nn.Module) -> list[nn.Parameter]:
    return [value for name, value in module.named_parameters() if not name.startswith("weight_ih")]


def _noise(module: nn.Module, steps: int, sequences: int, generator: torch.Generator | None) -> Any:
    like = next(module.parameters())
    device = like.device if generator is None else generator.device
    drawn = torch.randn(steps, sequences, module.input_size, generator=generator, dtype=like.dtype, device=device)  # type: ignore[call-overload]
    return (drawn.transpose(0, 1) if getattr(module, "batch_first", False) else drawn).to(like.device)


def _first_not_finite(exponents: Tensor) -> float:
    return float(exponents.detach()[~exponents.isfinite()][0])
