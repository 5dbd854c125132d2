"""The GRU's update gate as a leak: how fast a state is given up, and the Jacobian at rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from rnn_diag.arguments import numbers, whole
from rnn_diag.diagnostics import half_life, impulse_response, module_trace, state_jacobian
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table
from rnn_diag.lab.parts.figures import (
    COLOURS,
    GUIDE,
    INK,
    THEORY,
    figure,
    name_axes,
    name_beside,
    ordered_colours,
)
from rnn_diag.lab.parts.networks import blank_layer, one_input
from rnn_diag.lab.parts.words import named
from rnn_diag.nn import GRU
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROUNDING = 1e-10


class Leak(NamedTuple):
    """One unit whose update gate never moves.

    Attributes:
        z: Where the gate stands.
        trace: What it goes through after one input.
        response: Its answer to a small kick, by lag.
        verdict: On that answer.
    """

    z: float
    trace: Trace
    response: Tensor
    verdict: str

    @property
    def hidden(self) -> Tensor:
        """The state at every step."""
        return self.trace.hidden.flatten()

    @property
    def time_constant(self) -> float:
        """Steps to 1/e, from the first and the last state that is not too small."""
        seen = int((self.hidden > 1e-250).sum()) - 1
        return seen / float((self.hidden[0] / self.hidden[seen]).log())


@dataclass(frozen=True)
class GruLeak(Experiment):
    r"""With a gate that stands at z, :math:`h_t = (1 - z)\, n_t + z\, h_{t-1}` leaks: a *large* z remembers.

    Attributes:
        update_gates: Values of z to try, between 0 and 1.
        steps: How long one input is followed.
        units: Of the GRU with random weights whose Jacobian at rest is looked at.
        seed: Of these weights.
    """

    title: ClassVar[str] = "The leak of the GRU"
    question: ClassVar[str] = "How long does a GRU remember, and does a large update gate update or remember?"
    theory: ClassVar[tuple[int, ...]] = (17,)

    update_gates: Sequence[float] = (0.5, 0.9, 0.98)
    steps: int = 100
    units: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        numbers("update_gates", self.update_gates, above=0.0, below=1.0)
        whole("steps", self.steps, 8)
        whole("units", self.units, 1)

    def run(self) -> Outcome:
        """Kick units with a fixed gate, and look at a whole network at rest."""
        leaks = [_leak(z, self.steps) for z in sorted(self.update_gates)]
        jacobian, expected = self._at_rest()
        error = float((jacobian - expected).abs().max())
        checks = [check for leak in leaks for check in _checks(leak)]
        checks.append(Check("at rest: largest distance of the Jacobian from I/2 + W_hn/4", 0.0, error, ROUNDING))
        eigenvalues = torch.linalg.eigvals(jacobian)
        figures = {"leak": _figure(leaks, eigenvalues)}
        return Outcome(_conclusion(leaks, eigenvalues), checks, [_table(leaks)], figures)

    def _at_rest(self) -> tuple[Tensor, Tensor]:
        """Return the Jacobian at a state of zeros without input and biases, and its closed form."""
        layer = blank_layer(GRU, 1, self.units)
        generator = torch.Generator().manual_seed(self.seed)
        weight = layer.get_parameter("weight_hh_l0")
        weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) / math.sqrt(self.units))
        expected = torch.eye(self.units, dtype=torch.float64) / 2 + weight[-self.units :] / 4
        return state_jacobian(module_trace(layer, one_input(1, 0.0)), 0)[0], expected


def _leak(z: float, steps: int) -> Leak:
    layer = blank_layer(GRU, 1, 1)
    layer.get_parameter("weight_ih_l0")[2] = 1.0  # the candidate sees the input
    layer.get_parameter("bias_ih_l0")[1] = math.log(z / (1 - z))
    answer = impulse_response(module_trace(layer, one_input(steps, 0.0)))
    return Leak(z, module_trace(layer, one_input(steps)), answer.response[:, 0], answer.verdicts[0])


def _powers(leak: Leak) -> Tensor:
    r"""Return the closed form: the input 1 at step 0 writes `(1 - z) tanh 1`, of which `z^t` is left."""
    return (1 - leak.z) * math.tanh(1.0) * leak.z ** torch.arange(len(leak.hidden), dtype=torch.float64)


def _checks(leak: Leak) -> list[Check]:
    name, expected = named("z", leak.z), _powers(leak)
    error = float(((leak.hidden - expected) / expected).abs().max())
    constant = -1 / math.log(leak.z)
    checks = [
        Check(f"{name}: state, distance from (1 − z) tanh(1) zᵗ", 0.0, error, 1e-9),
        Check(f"{name}: time constant in steps, against −1/ln z", constant, leak.time_constant, 1e-6 * constant),
    ]
    if leak.z ** (len(expected) - 1) < 0.5:
        half = math.log(2) * constant
        checks.append(
            Check(f"{name}: half-life of a kick in steps", half, float(half_life(leak.response)), 1e-4 * half)
        )
    return checks


def _table(leaks: Sequence[Leak]) -> Table:
    rows = [
        (
            leak.z,
            leak.time_constant,
            -1 / math.log(leak.z),
            float(half_life(leak.response)),
            float(leak.hidden[0]),
            float(leak.hidden[-1] / leak.hidden[0]),
            leak.verdict,
        )
        for leak in leaks
    ]
    header = (
        "z",
        "time constant (steps)",
        "−1/ln z",
        "half-life (steps)",
        "written by an input of 1",
        "share left at the end",
        "verdict",
    )
    return Table("A gate that stands still", header, rows)


def _conclusion(leaks: Sequence[Leak], eigenvalues: Tensor) -> str:
    short, long = leaks[0], leaks[-1]
    return (
        f"With {named('z', short.z)} the state falls to 1/e within {short.time_constant:.2f} steps, with "
        f"{named('z', long.z)} within {long.time_constant:.1f}: a large update gate remembers, and writes less "
        f"({float(long.hidden[0]):.3f} against {float(short.hidden[0]):.3f} of an input of 1). At rest the eigenvalues "
        f"of the Jacobian lie around {float(eigenvalues.real.mean()):.2f}, within "
        f"{float((eigenvalues - 0.5).abs().max()):.2f} of 0.5: about half of the state leaks per step."
    )


def _figure(leaks: Sequence[Leak], eigenvalues: Tensor) -> Figure:
    made, (course, plane) = figure(columns=2, height=3.4, width_ratios=[1.25, 1.0])
    colours = ordered_colours(len(leaks))
    for leak, colour in zip(leaks, colours, strict=True):
        course.plot(leak.hidden / leak.hidden[0], color=colour, linewidth=2.2)
        course.plot(_powers(leak) / _powers(leak)[0], **THEORY)
    course.set(yscale="log", ylim=(1e-6, 2.0))
    _draw_plane(plane, eigenvalues)
    name_axes(course, "What is left of one input", "step t", "h at step t / h at step 0")
    name_axes(plane, "Jacobian of a GRU at rest", "real part", "imaginary part")
    for leak, colour in zip(leaks, colours, strict=True):
        name_beside(course, leak.hidden / leak.hidden[0], named("z", leak.z), colour, at=3e-5)
    return made


def _draw_plane(axes: Axes, eigenvalues: Tensor) -> None:
    """Draw eigenvalues with the circle that the random weights fill, and the unit circle."""
    turn = torch.linspace(0, 2 * math.pi, 181)
    axes.plot(turn.cos(), turn.sin(), **GUIDE)
    axes.plot(0.5 + turn.cos() / 4, turn.sin() / 4, **THEORY)
    axes.plot(eigenvalues.real, eigenvalues.imag, "o", markersize=4, color=COLOURS[0], alpha=0.8)
    axes.text(0.5, 0.32, "dashed: ½ + ¼ of the unit circle", fontsize=8, ha="center", color=INK)
    axes.set(xlim=(-0.25, 1.15), ylim=(-0.7, 0.7), aspect="equal")
