"""How a layer answers a small kick of its input, around the states that it goes through anyway."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rnn_diag.arguments import number, whole
from rnn_diag.cells.equations import State
from rnn_diag.diagnostics.horizon import half_life, memory_horizon
from rnn_diag.diagnostics.module_trace import module_trace
from rnn_diag.diagnostics.numerics.precision import in_double, weights_in_double
from rnn_diag.diagnostics.numerics.reading_order import in_reading_order
from rnn_diag.diagnostics.stability import stability_verdicts
from rnn_diag.engine.unroll import unroll
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float

_SETTLED = 0.02


@dataclass(frozen=True)
class ImpulseResponse:
    """How far the hidden state is moved, per unit of kick, by the number of steps after it.

    Attributes:
        response: After a kick at one step; NaN beyond the end of a sequence, infinite where a state is not finite.
        step_response: After a change of the input from that step on.
        verdicts: One for each sequence, as `stability_verdicts` gives them.
    """

    response: Float[Tensor, "lag batch"]
    step_response: Float[Tensor, "lag batch"]
    verdicts: tuple[str, ...]

    @property
    def peak(self) -> Float[Tensor, " batch"]:
        """The largest response."""
        return self.response.nan_to_num(nan=0.0, posinf=math.inf).amax(0)

    @property
    def peak_lag(self) -> Float[Tensor, " batch"]:
        """After how many steps it comes."""
        return self.response.nan_to_num(nan=-1.0, posinf=math.inf).argmax(0)

    @property
    def gain(self) -> Float[Tensor, " batch"]:
        """Sum of the response over all lags: for a linear layer at most so much per unit of a bounded input."""
        return self.response.nansum(0)

    @property
    def half_life(self) -> Float[Tensor, " batch"]:
        """Steps from the peak to half of it."""
        return half_life(self.response)

    @property
    def settling_steps(self) -> Float[Tensor, " batch"]:
        """Steps after which the response stays below 2 % of its peak; as long as the sequence when it never does."""
        return memory_horizon(self.response, _SETTLED) + 1


def impulse_response(
    layer: Trace | nn.Module, step: int = 0, direction: Float[Tensor, " features"] | None = None, size: float = 1e-4
) -> ImpulseResponse:
    r"""Return how a layer answers a small kick of its input at one step, around its own states.

    .. math:: r_\tau = \frac{\lVert h_{t+\tau}(x + \varepsilon\, d\, [\cdot = t]) - h_{t+\tau}(x) \rVert_2}{\varepsilon}

    The layer runs again in double precision from the trace's inputs and initial state, with and without the kick. A
    network with bounded activations is always bounded; the question is whether a kick dies out (`forgets`), stays
    without adding up (`holds`: a latch, an oscillation), stays and adds up (`integrator`), or is amplified
    (`unstable`). An integrator's impulse response is bounded, and yet bounded inputs drive it beyond any bound.

    Args:
        layer: What was recorded, no gradients needed; or a recurrent module, whose first layer is then looked at from
            rest, with inputs of zeros before and after the kick (`module_trace` gives other layers and inputs).
        step: Where to kick, in the order of reading.
        direction: What to kick with, scaled to length 1; all features equally by default.
        size: Length of the kick.

    Raises:
        ValueError: If the step is not within the trace, the direction not one of the input, or the kick zero.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> found = impulse_response(linear_trace(0.5, steps=40))
        >>> [round(value, 6) for value in found.response[:3, 0].tolist()], found.verdicts
        ([1.0, 0.5, 0.25], ('forgets',))
    """
    trace = layer if isinstance(layer, Trace) else module_trace(layer)
    steps, _, features = trace.inputs.shape
    if not 0 <= step < steps:
        raise ValueError(f"step {step}; expected one of a trace of {steps} steps, counted in the order of reading")
    kick = _kick(trace, direction, features, size)
    at_step, from_step = (torch.zeros(steps, 1, 1, dtype=kick.dtype, device=kick.device) for _ in range(2))
    at_step[step], from_step[step:] = 1.0, 1.0
    rest = _hidden(trace)
    response, step_response = (
        _moved(trace, _hidden(trace, when * kick), rest)[step:] / size for when in (at_step, from_step)
    )
    return ImpulseResponse(response, step_response, stability_verdicts(response, step_response))


def bounded_input_gain(layer: Trace | nn.Module, size: float = 1e-2, draws: int = 8) -> Float[Tensor, " batch"]:
    r"""Return the largest distance that bounded noise on the input drove the hidden state, per unit of noise.

    .. math:: \max_{draws, t} \frac{\lVert \Delta h_t \rVert_2}{\max_t \lVert \Delta x_t \rVert_2}

    An empirical gain: a lower bound of what the worst input can do. The noise is random signs, always the same ones.

    Args:
        layer: What was recorded, no gradients needed; or a recurrent module, whose first layer is looked at from rest.
        size: Length of the noise vector at every step.
        draws: How many noises are tried.

    Raises:
        ValueError: If the noise has no size, or there is none.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> round(bounded_input_gain(linear_trace(0.0, steps=5)).item(), 9)
        1.0
    """
    number("size", size, above=0)
    whole("draws", draws, at_least=1)
    trace = layer if isinstance(layer, Trace) else module_trace(layer)
    generator = torch.Generator().manual_seed(0)
    rest, largest = _hidden(trace), None
    for _ in range(draws):
        signs = 2.0 * torch.randint(2, trace.inputs.shape, generator=generator) - 1.0
        noise = (size / math.sqrt(trace.inputs.shape[-1]) * signs.double()).to(rest.device)
        moved = _moved(trace, _hidden(trace, noise), rest).nan_to_num(nan=0.0, posinf=math.inf).amax(0) / size
        largest = moved if largest is None else torch.maximum(largest, moved)
    assert largest is not None
    return largest


def _kick(trace: Trace, direction: Tensor | None, features: int, size: float) -> Float[Tensor, " features"]:
    inputs = in_double(trace.inputs[:1])
    direction = inputs.new_ones(features) if direction is None else in_double(direction).to(inputs.device)
    if direction.shape != (features,) or not direction.any() or size <= 0:
        raise ValueError(
            f"kick of size {size} along a direction of shape {tuple(direction.shape)}; "
            f"expected a positive size and a direction of {features} features that are not all zero"
        )
    kick: Tensor = direction * (size / direction.norm())
    return kick


def _hidden(trace: Trace, change: Tensor | float = 0.0) -> Float[Tensor, "time batch projected"]:
    """Return the states in reading order when the inputs are changed."""
    inputs = in_double(in_reading_order(trace, trace.inputs)) + change
    cell = trace.initial_cell
    initial = State(in_double(trace.initial_hidden), None if cell is None else in_double(cell))
    with torch.no_grad():
        return unroll(trace.equations, weights_in_double(trace.weights), inputs, initial).hidden


def _moved(trace: Trace, changed: Tensor, rest: Tensor) -> Float[Tensor, "time batch"]:
    distance: Tensor = torch.linalg.vector_norm(changed - rest, dim=-1)
    distance = distance.nan_to_num(nan=math.inf, posinf=math.inf)
    return distance.masked_fill(~trace.mask_with(distance), math.nan)
