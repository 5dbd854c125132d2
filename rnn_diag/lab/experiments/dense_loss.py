"""A loss at every step hides that nothing travels far; gradients resolved by lag show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from rnn_diag.arguments import numbers, whole
from rnn_diag.diagnostics import hidden_grad_norms, lagged_grad_norms, memory_horizon
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table
from rnn_diag.lab.parts.figures import GUIDE, THEORY, figure, name_axes, name_beside, ordered_colours
from rnn_diag.lab.parts.networks import at_the_end, network, recorded
from rnn_diag.lab.parts.words import named, written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROUNDING = 1e-10
SHARE = 0.01
_NAMED_AT = 1e-6


class Unit(NamedTuple):
    """One linear unit under two losses.

    Attributes:
        weight: Its recurrent weight.
        dense: Norm of the total gradient by step, when the loss is the sum of all states.
        last: The same, when the loss is the last state.
        by_lag: What the loss of the last step alone sends back, under the dense loss; by lag.
    """

    weight: float
    dense: Tensor
    last: Tensor
    by_lag: Tensor

    @property
    def flatness(self) -> float:
        """The gradient at step 0 over the one in the middle, under the dense loss: 1 where it looks flat."""
        return float(self.dense[0] / self.dense[len(self.dense) // 2])

    @property
    def horizon(self) -> float:
        """Steps that the loss of one step reaches back, at 1 % of its peak."""
        return float(memory_horizon(self.by_lag, SHARE))


@dataclass(frozen=True)
class DenseLoss(Experiment):
    r"""With :math:`h_t = w h_{t-1} + x_t` and :math:`L = \sum_t h_t` the total gradient is a geometric sum.

    .. math:: \frac{\partial L}{\partial h_t} = \frac{1 - w^{T-t}}{1 - w}, \qquad
        \text{of which the loss at lag } τ \text{ gives } w^τ

    Attributes:
        weights: Values of w between 0 and 1 to try.
        steps: Length of the sequence.
    """

    title: ClassVar[str] = "A loss at every step"
    question: ClassVar[str] = "Why does a loss at every step make vanishing gradients look healthy?"
    theory: ClassVar[tuple[int, ...]] = (10,)

    weights: Sequence[float] = (0.5, 0.8, 0.95)
    steps: int = 120

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        numbers("weights", self.weights, above=0.0, below=1.0)  # where gradients vanish
        whole("steps", self.steps, 8)

    def run(self) -> Outcome:
        """Differentiate both losses through every unit."""
        units = [_unit(w, self.steps) for w in sorted(self.weights)]
        checks = [check for unit in units for check in _checks(unit)]
        return Outcome(_conclusion(units), checks, [_table(units)], {"dense_loss": _figure(units)})


def _unit(w: float, steps: int) -> Unit:
    layer = network("identity", w).requires_grad_()
    inputs = torch.zeros(steps, 1, 1, dtype=torch.float64)
    dense = recorded(layer, inputs, torch.ones_like(inputs))
    last = recorded(layer, inputs, at_the_end(steps, torch.ones(1, 1, dtype=torch.float64)))
    by_lag = lagged_grad_norms(dense, [-1])[:, 0, 0]
    return Unit(w, hidden_grad_norms(dense)[:, 0], hidden_grad_norms(last)[:, 0], by_lag)


def _sums(w: float, steps: int) -> Tensor:
    """Return the closed form of the total gradient at every step."""
    left = torch.arange(steps, 0, -1, dtype=torch.float64)
    return (1 - w**left) / (1 - w)


def _powers(w: float, steps: int) -> Tensor:
    return w ** torch.arange(steps, dtype=torch.float64)


def _checks(unit: Unit) -> list[Check]:
    steps, name = len(unit.dense), named("w", unit.weight)
    sums, powers = _sums(unit.weight, steps), _powers(unit.weight, steps)
    horizon = float(torch.nonzero(powers >= SHARE)[-1])
    return [
        Check(f"{name}: total gradient, distance from (1 − wᵀ⁻ᵗ)/(1 − w)", 0.0, _error(unit.dense, sums), ROUNDING),
        Check(f"{name}: gradient by lag, distance from w^τ", 0.0, _error(unit.by_lag, powers), ROUNDING),
        Check(f"{name}: gradient of the last loss alone", 0.0, _error(unit.last.flip(0), powers), ROUNDING),
        Check(f"{name}: horizon at 1 % in steps", horizon, unit.horizon, 0.0),
    ]


def _error(measured: Tensor, expected: Tensor) -> float:
    return float(((measured - expected) / expected).abs().max())


def _table(units: Sequence[Unit]) -> Table:
    rows = [
        (
            unit.weight,
            float(unit.dense[0]),
            unit.flatness,
            float(unit.last[0]),
            unit.horizon,
        )
        for unit in units
    ]
    header = (
        "w",
        "gradient at step 0, loss at every step",
        "the same over that in the middle",
        "gradient at step 0, loss at the end",
        "horizon of one loss (steps)",
    )
    return Table("The same networks under two losses", header, rows)


def _conclusion(units: Sequence[Unit]) -> str:
    shortest, longest = units[0], units[-1]
    steps = len(shortest.dense)
    return (
        f"Under a loss at every step the gradient at step 0 is {shortest.flatness:.3f} to {longest.flatness:.3f} of "
        f"that in the middle of {steps} steps: it looks healthy for every weight. A single loss reaches "
        f"{shortest.horizon:.0f} steps back with {named('w', shortest.weight)} and {longest.horizon:.0f} with "
        f"{named('w', longest.weight)}; of the last one, {written(float(shortest.last[0]))} and "
        f"{written(float(longest.last[0]))} arrive at step 0."
    )


def _figure(units: Sequence[Unit]) -> Figure:
    made, (total, lagged) = figure(columns=2, height=3.4)
    colours = ordered_colours(len(units))
    for unit, colour in zip(units, colours, strict=True):
        total.plot(unit.dense, color=colour, linewidth=2.2)
        total.plot(_sums(unit.weight, len(unit.dense)), **THEORY)
        lagged.plot(unit.by_lag, color=colour, linewidth=2.2)
        lagged.plot(_powers(unit.weight, len(unit.by_lag)), **THEORY)
        total.text(0.0, 1.06 * float(unit.dense[0]), named("w", unit.weight), color=colour, fontsize=9, va="bottom")
    for axes in (total, lagged):
        axes.set_yscale("log")
    total.set_ylim(0.8, 1.6 * max(float(unit.dense.max()) for unit in units))
    lagged.set_ylim(1e-8, 2.0)
    lagged.axhline(SHARE, **GUIDE)
    name_axes(total, "Loss at every step: all of it", "step t", "‖∂L/∂hₜ‖")
    name_axes(lagged, "The last loss alone", "steps back", "its part of the gradient")
    for unit, colour in zip(units, colours, strict=True):
        name_beside(lagged, unit.by_lag, named("w", unit.weight), colour, _NAMED_AT)
    return made
