"""What drives a gate: the shares of input, recurrence, bias and peephole in its pre-activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.cells.equations import Equations, State
from rnn_diag.diagnostics.numerics.precision import in_double, weights_in_double
from rnn_diag.diagnostics.numerics.reading_order import in_reading_order
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float

DRIVE_SOURCES = ("input", "recurrent", "bias", "peephole")
"""The sources of a gate's pre-activation."""


@dataclass(frozen=True)
class GateDrive:
    """What each block's pre-activation is made of.

    `+` merges further batches and ranks exactly: what is stored are sums.

    Attributes:
        blocks: Names of the row blocks.
        magnitudes: Sum over valid steps of the absolute contribution, for each of `DRIVE_SOURCES`.
    """

    blocks: tuple[str, ...]
    magnitudes: Float[Tensor, "block source hidden"]

    @property
    def shares(self) -> Float[Tensor, "block source hidden"]:
        """Share of each source; they add up to 1. NaN for a unit that nothing drives."""
        return self.magnitudes / self.magnitudes.sum(1, keepdim=True)

    def __add__(self, other: GateDrive) -> GateDrive:
        if self.blocks != other.blocks:
            raise ValueError(f"drives of different layers: {', '.join(self.blocks)} and {', '.join(other.blocks)}")
        return GateDrive(self.blocks, self.magnitudes + other.magnitudes)


def gate_drive(trace: Trace) -> GateDrive:
    r"""Return how much of every pre-activation comes from the input, the recurrence, the bias and the peephole.

    .. math:: z = W_{ih} x + W_{hh} h_{t-1} + b + p ⊙ c, \qquad
        \text{share of a term} = \frac{\sum_t |\text{term}|}{\sum_{\text{terms}} \sum_t |\text{term}|}

    A gate that only its bias drives is a constant. In a GRU's candidate the recurrent term and its bias are those that
    passed the reset gate. The sum runs over valid steps.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> gate_drive(linear_trace(0.5, steps=3)).shares.flatten().tolist()
        [0.0, 1.0, 0.0, 0.0]
    """
    weights, inputs = weights_in_double(trace.weights), in_double(in_reading_order(trace, trace.inputs))
    unrolled = trace.unrolled
    previous_cell = None if unrolled.previous_cell is None else in_double(unrolled.previous_cell)
    previous = State(in_double(unrolled.previous_hidden), previous_cell)
    equations = trace.equations
    features = equations.features(inputs, weights)
    from_input, drawn = equations.input_product(features, weights.weight_ih), inputs[..., features.shape[-1] :]
    from_hidden = equations.recurrent_product(previous.hidden, weights.weight_hh)
    nothing = torch.zeros_like(from_input)
    input_bias = nothing if weights.bias_ih is None else nothing + weights.bias_ih
    hidden_bias = nothing if weights.bias_hh is None else nothing + weights.bias_hh

    def preactivation(block: int, projected: Tensor, recurrent: Tensor) -> Tensor:
        """Return one block's pre-activation when its own products are these, and all other blocks' the real ones."""
        projected = _with_block(equations, from_input + input_bias, projected, block)
        recurrent = _with_block(equations, from_hidden + hidden_bias, recurrent, block)
        projected = torch.cat((projected, drawn), dim=-1)
        return equations.step(projected, recurrent, previous, weights).preactivations[block]

    padding = ~trace.mask_with(inputs).unsqueeze(-1)
    names = tuple(block.name for block in equations.blocks)
    magnitudes = []
    for block in range(len(names)):
        peephole = preactivation(block, nothing, nothing)
        terms = (
            preactivation(block, from_input, nothing) - peephole,
            preactivation(block, nothing, from_hidden) - peephole,
            preactivation(block, input_bias, hidden_bias) - peephole,
            peephole,
        )
        magnitudes.append(torch.stack([term.abs().masked_fill(padding, 0.0).sum((0, 1)) for term in terms]))
    return GateDrive(names, torch.stack(magnitudes))


def _with_block(equations: Equations, whole: Tensor, replacement: Tensor, block: int) -> Tensor:
    parts = list(equations.by_block(whole, dim=-1).values())
    parts[block] = list(equations.by_block(replacement, dim=-1).values())[block]
    return torch.cat(parts, dim=-1)
