"""The constant-error carousel: how long a gated memory lasts, and how much gradient travels through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.cells.equations import State, Step
from rnn_diag.diagnostics.gradient_norms import cell_grad_norms
from rnn_diag.diagnostics.numerics.precision import in_double, in_single
from rnn_diag.diagnostics.numerics.reading_order import in_reading_order, padding_as_nan
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class ForgetRate:
    """How fast every unit forgets; `+` merges batches and ranks exactly, as sums and counts add up.

    Attributes:
        log_forget: Sum of `log f` over valid steps, `f` being the share of the memory that the gate keeps.
        steps: Valid steps times sequences.
        sequences: Number of sequences.
    """

    log_forget: Float[Tensor, " hidden"]
    steps: int
    sequences: int

    @property
    def time_constants(self) -> Float[Tensor, " hidden"]:
        r"""Steps after which `1/e` of the memory is left: :math:`-1/\ln \bar f`, with the geometric mean of `f`.

        Infinite for a unit that keeps everything, `f = 1`.
        """
        return self.steps / self.log_forget.abs()

    @property
    def mean_length(self) -> float:
        """Mean length of a sequence."""
        return self.steps / self.sequences

    @property
    def spanning_share(self) -> float:
        """Share of units whose time constant is at least as long as a sequence."""
        return (self.time_constants >= self.mean_length).double().mean().item()

    def __add__(self, other: ForgetRate) -> ForgetRate:
        return ForgetRate(
            self.log_forget + other.log_forget, self.steps + other.steps, self.sequences + other.sequences
        )


@dataclass(frozen=True)
class Carousel:
    """What travels through the memory cells.

    Attributes:
        cell_grad_norms: Norm of `∂L/∂c_t`; NaN at padding.
        log_retention: Log of the product of the forget gates from the step after `t` to the last one read: what is
            left of `c_t` at the end. NaN at padding.
        carousel_share: The share of the gradient of `c_t` that came through the next memory and its forget gate alone;
            the rest came through outputs and gates. By norms. 0 at the last step read, NaN at padding.
        forget_rate: How fast every unit forgets.
    """

    cell_grad_norms: Float[Tensor, "time batch"]
    log_retention: Float[Tensor, "time batch hidden"]
    carousel_share: Float[Tensor, "time batch"]
    forget_rate: ForgetRate

    @property
    def time_constants(self) -> Float[Tensor, " hidden"]:
        """Of this trace alone; see `ForgetRate`."""
        return self.forget_rate.time_constants


def carousel(trace: Trace) -> Carousel:
    r"""Return what travels through the memory cells, and how far.

    .. math:: \frac{\partial L}{\partial c_t} = \underbrace{f_{t+1} ⊙ \frac{\partial L}{\partial c_{t+1}}}_{carousel}
        + \text{(through } h_t \text{ and the gates)}, \qquad
        \ln \prod_{s > t} f_s, \qquad \tau = \frac{-1}{\ln \bar f}

    Raises:
        RuntimeError: If the trace holds no gradients; `forget_rate` and `log_retention` need none.
        ValueError: If the recurrence has no memory cell with a forget gate, or one of several parts.

    Example:
        >>> from rnn_diag.testing.known import forgetting_trace
        >>> found = carousel(forgetting_trace(0.5, steps=3))
        >>> found.log_retention.exp().flatten().tolist(), found.carousel_share.flatten().tolist()
        ([0.25, 0.5, 1.0], [1.0, 1.0, 0.0])

    Reference:
        Hochreiter, Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; time constants: Tallec, Ollivier 2018,
        https://arxiv.org/abs/1804.11188
    """
    parts = trace.equations.cell_parts
    if len(parts) > 1:
        raise ValueError(f"layer={trace.layer!r} has a memory of several parts ({', '.join(parts)}); expected one")
    return Carousel(cell_grad_norms(trace), log_retention(trace), _carousel_share(trace), forget_rate(trace))


def log_retention(trace: Trace) -> Float[Tensor, "time batch hidden"]:
    """Return the log of the product of the forget gates from the step after `t` to the last one read.

    The forget gate is whichever gate keeps the memory: a GRU's update gate keeps its hidden state. Of a gate that keeps
    when it is shut, the product is over one minus the gate.

    Raises:
        ValueError: If no sigmoid gate of the recurrence keeps its memory.

    Example:
        >>> from rnn_diag.testing.known import forgetting_trace
        >>> log_retention(forgetting_trace(0.5, steps=3)).exp().flatten().tolist()
        [0.25, 0.5, 1.0]
    """
    logs = _log_forget(trace)
    later = torch.cat((logs[1:], torch.zeros_like(logs[:1])))
    return padding_as_nan(trace, in_reading_order(trace, later.flip(0).cumsum(0).flip(0)))


def forget_rate(trace: Trace) -> ForgetRate:
    """Return how fast every unit forgets, over all valid steps, by the gate that `log_retention` reads.

    Raises:
        ValueError: If no sigmoid gate of the recurrence keeps its memory.

    Example:
        >>> import math
        >>> from rnn_diag.testing.known import forgetting_trace
        >>> math.exp(-1 / forget_rate(forgetting_trace(0.5, steps=3)).time_constants.item())
        0.5
    """
    return ForgetRate(summed_log_forget(trace), int(trace.mask.sum()), trace.mask.shape[1])


def summed_log_forget(trace: Trace) -> Float[Tensor, " hidden"]:
    """Return the sum over valid steps of the log of the share that every unit keeps; no GPU is waited for."""
    return _log_forget(trace, in_single).sum((0, 1), dtype=torch.float64)


def _log_forget(
    trace: Trace, in_precision: Callable[[Tensor], Tensor] = in_double
) -> Float[Tensor, "time batch hidden"]:
    """Return the log of the share kept, in reading order, 0 at padding."""
    equations = trace.equations
    if equations.memory_gate is None:
        raise ValueError(
            f"layer={trace.layer!r} is a {equations.name}; expected one in which a sigmoid gate keeps the memory"
        )

    steps, before = trace.unrolled.steps, State(trace.unrolled.previous_hidden, trace.unrolled.previous_cell)
    step = Step(
        steps.emitted,
        None if steps.cell is None else in_precision(steps.cell),
        (),
        tuple(map(in_precision, steps.preactivations)),
        steps.kept,
    )
    logs = equations.log_kept(step, before.map(in_precision), trace.weights)
    return logs if trace.source.mask is None else logs.masked_fill(~trace.mask_with(logs).unsqueeze(-1), 0.0)


def _carousel_share(trace: Trace) -> Float[Tensor, "time batch"]:
    assert trace.cell_grad is not None
    total = in_double(in_reading_order(trace, trace.cell_grad))
    valid = trace.mask_with(total).unsqueeze(-1)
    carried = (_log_forget(trace).exp() * total).masked_fill(~valid, 0.0)
    between = trace.unrolled.between
    if between is not None and between.passed.cell is not None:
        carried = carried * in_double(between.passed.cell)
    carried = torch.cat((carried[1:], torch.zeros_like(carried[:1])))
    through, around = (torch.linalg.vector_norm(part, dim=-1) for part in (carried, total - carried))
    return padding_as_nan(trace, in_reading_order(trace, (through / (through + around)).unsqueeze(-1)).squeeze(-1))
