"""The memory capacity: how many past inputs can be read off the hidden state, delay by delay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rnn_diag.arguments import whole
from rnn_diag.diagnostics.module_trace import module_trace
from rnn_diag.diagnostics.numerics.precision import in_double
from rnn_diag.diagnostics.numerics.reading_order import in_reading_order
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float

_SAMPLES_PER_UNIT = 200
_SHORTEST_PERIOD = 512


@dataclass(frozen=True)
class MemoryCapacity:
    """How well inputs of earlier steps can be read off the hidden state.

    Attributes:
        by_delay: The squared correlation of each delayed feature with its best linear readout; NaN for a
            feature that does not vary, and where states are not finite.
        samples: Steps, over all sequences, that the readouts were fitted to.
    """

    by_delay: Float[Tensor, "delay feature"]
    samples: int

    @property
    def total(self) -> float:
        """The sum over delays and features: at most the number of units, if the inputs are white noise."""
        return self.by_delay.nansum().item()


def memory_capacity(layer: Trace | nn.Module, max_delay: int | None = None, washout: int = 0) -> MemoryCapacity:
    r"""Return how well the inputs of each step can be read off the hidden states of later steps.

    .. math:: MC_k = \max_w \operatorname{corr}^2(x_{t-k},\, w^T h_t), \qquad MC = \sum_k MC_k \le H

    Only `h` is read: what an LSTM's memory holds without showing it does not count. The sum is bounded by the number of
    units where the inputs are independent from step to step and of each other; of real data, whose steps tell of each
    other, it may be larger.

    A module is driven by noise that is exactly white over its period: what is found is exact for a linear network whose
    memory is shorter, and the bound holds for any. On a trace readouts are fitted to the few steps that they are judged
    by; their squared correlations are adjusted for that, :math:`1 - (1 - R^2) \frac{n - 1}{n - H - 1}`: without memory
    they scatter around 0 by :math:`\sqrt{2 H} / n`, and half of them are negative.

    Args:
        layer: What was recorded, no gradients needed; or a recurrent module, whose first layer is then driven from rest
            by white noise of variance 1 (`module_trace` gives other layers and inputs).
        max_delay: The largest delay; by default twice the number of units, on a trace as far as that leaves twice as
            many samples as units.
        washout: Number of first steps of every sequence that are left out, beyond the largest delay; of a module a
            whole period of the noise is left out, too.

    Raises:
        ValueError: If the delay or the washout is negative, or leaves no more samples than units.

    Example:
        >>> line = nn.RNN(1, 3, bias=False).requires_grad_(False)
        >>> line.weight_ih_l0[:] = torch.tensor([[1e-3], [0.0], [0.0]])
        >>> line.weight_hh_l0[:] = torch.diag(torch.ones(2), -1)  # a delay line: every unit hands on to the next one
        >>> [round(value, 1) for value in memory_capacity(line, max_delay=4).by_delay.flatten().abs().tolist()]
        [1.0, 1.0, 1.0, 0.0, 0.0]

    Reference:
        Jaeger 2001, Short term memory in echo state networks, GMD report 152; the bound for any network: Dambre et al.
        2012, https://doi.org/10.1038/srep00514
    """
    washout = whole("washout", washout, at_least=0)
    if max_delay is not None:
        max_delay = whole("max_delay", max_delay, at_least=0)
    if not isinstance(layer, Trace):
        return _of_module(layer, max_delay, washout)
    delay = _largest_delay(layer, washout) if max_delay is None else max_delay
    return _fitted(layer, delay, delay + washout, adjusted=True)


def _of_module(module: nn.Module, max_delay: int | None, washout: int) -> MemoryCapacity:
    """Return the capacity of a module's first layer along one period of noise, after it has settled for one."""
    at_rest = module_trace(module)
    units, features = at_rest.hidden.shape[-1], at_rest.inputs.shape[-1]
    delay = 2 * units if max_delay is None else max_delay
    period = max(_SHORTEST_PERIOD, 8 * (delay + 1))
    noise = _white_noise(period, features, draws=math.ceil(_SAMPLES_PER_UNIT * units / period / features))
    before = noise[torch.arange(-washout, 0) % period] if washout else noise[:0]
    trace = module_trace(module, torch.cat((before, noise, noise)).to(at_rest.inputs))
    return _fitted(trace, delay, washout + period, adjusted=False)


def _white_noise(period: int, features: int, draws: int) -> Float[Tensor, "time sequence feature"]:
    """Return noise without a mean that is uncorrelated with itself at all lags below half of its period.

    It has all odd harmonics, with equal amplitudes and random phases. Over the sequences of one draw the features are
    uncorrelated, too: each is the same noise, times its own row of an orthogonal matrix.
    """
    generator = torch.Generator().manual_seed(0)
    phases = 2 * math.pi * torch.rand(draws, period // 4, generator=generator, dtype=torch.float64)
    spectrum = torch.zeros(draws, period // 2 + 1, dtype=torch.complex128)
    spectrum[:, 1::2] = torch.polar(torch.full_like(phases, math.sqrt(2 * period)), phases)
    noise = torch.fft.irfft(spectrum, n=period)
    angles = 2 * math.pi * torch.outer(torch.arange(features), torch.arange(features)).double() / features
    signs = angles.cos() + angles.sin()  # Hartley's matrix: orthogonal, with entries of at most sqrt(2)
    return torch.einsum("dt,sf->tdsf", noise, signs).flatten(1, 2)


def _fitted(trace: Trace, delay: int, first: int, adjusted: bool) -> MemoryCapacity:
    """Return the squared correlations of the readouts of all steps from `first` on."""
    states, inputs = (in_double(in_reading_order(trace, steps)) for steps in (trace.hidden, trace.inputs))
    rows = trace.mask_with(states)[first:]
    samples, units = int(rows.sum()), states.shape[-1]
    if samples <= units + 1:
        raise ValueError(
            f"max_delay={delay}, washout={first - delay}; expected to leave more than {units + 1} steps for {units} "
            f"units, left: {samples}"
        )
    basis = _orthonormal(states[first:][rows], torch.finfo(trace.hidden.dtype).eps)
    missed = [_missed(basis, inputs[first - k : len(inputs) - k][rows]) for k in range(delay + 1)]
    factor = (samples - 1) / (samples - basis.shape[1] - 1) if adjusted else 1.0
    return MemoryCapacity(1 - torch.stack(missed) * factor, samples)


def _largest_delay(trace: Trace, washout: int) -> int:
    """Return twice the number of units, or the largest delay that leaves twice as many samples as units."""
    units = trace.hidden.shape[-1]
    left = trace.mask.sum(1).flip(0).cumsum(0).flip(0)[washout:]
    return max(min(2 * units, int((left >= 2 * units).sum()) - 1), 0)


def _orthonormal(states: Float[Tensor, "sample units"], eps: float) -> Float[Tensor, "sample direction"]:
    """Return an orthonormal basis of what the states span around their mean, without what rounding alone spans."""
    if not states.isfinite().all():
        return states[:, :1] * math.nan
    basis: Tensor
    basis, sizes, _ = torch.linalg.svd(states - states.mean(0), full_matrices=False)
    return basis[:, sizes > eps * len(states) ** 0.5 * sizes[0]]


def _missed(basis: Float[Tensor, "sample direction"], target: Float[Tensor, "sample feature"]) -> Tensor:
    """Return the share of each feature's variance outside the span of the basis."""
    target = target - target.mean(0)
    missed: Tensor = (target - basis @ (basis.T @ target)).square().sum(0) / target.square().sum(0)
    return missed
