"""Gradients on their way back through tanh networks and LSTMs: what the carousel keeps, and what it cannot stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from rnn_diag.arguments import number, numbers, whole
from rnn_diag.diagnostics import carousel, cell_grad_norms, hidden_grad_norms, lyapunov_exponents, recurrent_spectrum
from rnn_diag.interventions.initialization import forget_gate_bias
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table, one_thread
from rnn_diag.lab.parts.figures import THEORY, LineEnd, figure, label_ends, name_axes, ordered_colours
from rnn_diag.lab.parts.networks import at_the_end, gaussian_matrix, network, recorded
from rnn_diag.lab.parts.words import named, written
from rnn_diag.nn import LSTM
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SEQUENCES = 8
_SETTLING = 20  # steps at both ends that are not part of a rate: directions turn there to where they are taken


class Journey(NamedTuple):
    """One network and the gradient on its way back through it.

    Attributes:
        name: For labels.
        trace: Under a loss at the last step.
        recurrent: Largest spectral radius of its recurrent matrices: one for an RNN, one per gate for an LSTM.
    """

    name: str
    trace: Trace
    recurrent: float

    @property
    def is_lstm(self) -> bool:
        """Whether it has a memory."""
        return self.trace.equations.has_cell

    @property
    def norms(self) -> Tensor:
        """Norm of the gradient of the state that carries it, averaged over sequences, by step."""
        return (cell_grad_norms if self.is_lstm else hidden_grad_norms)(self.trace).mean(1)

    @property
    def rate(self) -> float:
        """Nats per step by which the gradient of the full state grows on its way back, away from both ends."""
        squares = hidden_grad_norms(self.trace).square()
        if self.is_lstm:
            squares = squares + cell_grad_norms(self.trace).square()
        logs = squares[_SETTLING:-_SETTLING].log() / 2
        return float((logs[0] - logs[-1]).mean()) / (len(logs) - 1)

    @property
    def exponent(self) -> float:
        """Its largest Lyapunov exponent, over the same steps."""
        return float(lyapunov_exponents(self.trace, k=1, warmup=_SETTLING).mean())


@dataclass(frozen=True)
class Carousel(Experiment):
    r"""Along :math:`c_t = f ⊙ c_{t-1} + i ⊙ g` a gradient is multiplied by f alone; beside it, by everything else.

    Attributes:
        radii: Spectral radii of tanh networks, nearly.
        forget_biases: Of LSTMs with torch's initial weights.
        explosive_bias: Forget bias of one more LSTM.
        explosive_factor: What its recurrent weights are multiplied by.
        units: How many in every network.
        steps: Length of the sequence; the loss is at its end.
        noise: Standard deviation of the inputs.
        seed: Of weights, inputs and the loss.
    """

    title: ClassVar[str] = "The carousel"
    question: ClassVar[str] = "What keeps a gradient alive in an LSTM, and what can make it explode there?"
    theory: ClassVar[tuple[int, ...]] = (12, 18, 10)

    radii: Sequence[float] = (0.7, 1.0, 3.0)
    forget_biases: Sequence[float] = (0.0, 2.0, 5.0)
    explosive_bias: float = 2.0
    explosive_factor: float = 12.0
    units: int = 32
    steps: int = 100
    noise: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        numbers("radii", self.radii, above=0.0)
        numbers("forget_biases", self.forget_biases)
        number("explosive_bias", self.explosive_bias)
        number("explosive_factor", self.explosive_factor, above=0.0)
        number("noise", self.noise, above=0.0)
        whole("units", self.units, 2)
        whole("steps", self.steps, 3 * _SETTLING)

    @one_thread()
    def run(self) -> Outcome:
        """Differentiate the same kind of loss in every network."""
        rnns = [self._rnn(radius) for radius in sorted(self.radii)]
        biases = sorted(self.forget_biases)
        lstms = [self._lstm(bias, 1.0) for bias in biases] + [self._lstm(self.explosive_bias, self.explosive_factor)]
        alone = [self._lstm(bias, 0.0) for bias in biases]
        journeys = [*rnns, *lstms]
        checks = [check for one in alone for check in _checks_alone(one)] + [_rate_check(one) for one in journeys]
        figures = {"gradients": _figure(rnns, lstms)}
        return Outcome(_conclusion(rnns, lstms), checks, [_table(journeys), _shares(lstms)], figures)

    def _rnn(self, radius: float) -> Journey:
        layer = network("tanh", gaussian_matrix(self.units, radius, self.seed)).requires_grad_()
        return self._journey(named("ρ", radius), layer)

    def _lstm(self, bias: float, factor: float) -> Journey:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            layer = LSTM(self.units, self.units, dtype=torch.float64)
        forget_gate_bias(layer, bias)
        layer.get_parameter("weight_hh_l0").data.mul_(factor)
        beside = "" if factor == 1.0 else f", W_hh × {written(factor)}"
        return self._journey(f"{named('b_f', bias)}{beside}", layer)

    def _journey(self, name: str, layer: torch.nn.Module) -> Journey:
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randn(self.steps + 1, _SEQUENCES, self.units, generator=generator, dtype=torch.float64)
        direction = drawn[-1] / math.sqrt(self.units)
        trace = recorded(layer, self.noise * drawn[:-1], at_the_end(self.steps, direction))
        matrices = trace.recurrent_weights.values()
        return Journey(name, trace, max(recurrent_spectrum(matrix).spectral_radius for matrix in matrices))


def _expected(journey: Journey) -> Tensor:
    """Return the norms that the carousel alone would give: the last gradient of c times all later forget gates."""
    found = carousel(journey.trace)
    assert journey.trace.cell_grad is not None
    alone: Tensor = torch.linalg.vector_norm(found.log_retention.exp() * journey.trace.cell_grad[-1], dim=-1)
    return alone.mean(1)


def _checks_alone(journey: Journey) -> list[Check]:
    error = float(((journey.norms - _expected(journey)) / _expected(journey)).abs().max())
    early = float(hidden_grad_norms(journey.trace)[:-1].max())
    return [
        Check(f"{journey.name}: ‖∂L/∂cₜ‖ without recurrent weights, distance from ∏f", 0.0, error, 1e-10),
        Check(f"{journey.name}: ‖∂L/∂hₜ‖ without recurrent weights, before the last step", 0.0, early, 1e-12),
    ]


def _rate_check(journey: Journey) -> Check:
    what = f"{'LSTM' if journey.is_lstm else 'tanh'}, {journey.name}: growth of the gradient, nats per step"
    return Check(what, journey.exponent, journey.rate, 0.03)


def _table(journeys: Sequence[Journey]) -> Table:
    rows = [
        (
            "LSTM" if one.is_lstm else "tanh",
            one.name,
            one.recurrent,
            one.exponent,
            one.rate,
            float(one.norms[0] / one.norms[-1]),
        )
        for one in journeys
    ]
    header = (
        "network",
        "made with",
        "largest ρ(W_hh)",
        "λ₁ (nats per step)",
        "growth per step back (nats)",
        "gradient at step 0 / at the last",
    )
    return Table("What the spectral radius says, what the Lyapunov exponent says, and what happens", header, rows)


def _shares(lstms: Sequence[Journey]) -> Table:
    rows = []
    for one in lstms:
        found = carousel(one.trace)
        rows.append(
            (
                one.name,
                float(found.log_retention[0].exp().mean()),
                float(found.time_constants.median()),
                float(found.carousel_share[:-1].mean()),
            )
        )
    header = ("LSTM", "∏f from step 0 to the end, mean", "median time constant (steps)", "share through the carousel")
    return Table("How much of the gradient travels on the carousel", header, rows)


def _conclusion(rnns: Sequence[Journey], lstms: Sequence[Journey]) -> str:
    *kept, wild = lstms
    weakest, strongest = rnns[0], rnns[-1]
    steps = len(wild.norms) - 1
    return (
        f"After {steps} steps back the gradient is multiplied by {_times(weakest)} in the tanh network with "
        f"{weakest.name} and by {_times(strongest)} with {strongest.name}; in the LSTM with {kept[-1].name} by "
        f"{_times(kept[-1])}, with {kept[0].name} by {_times(kept[0])}, although both have the same W_hh "
        f"(ρ = {kept[0].recurrent:.2f}). Larger recurrent weights ({wild.name}) make an LSTM explode all the same: "
        f"{_times(wild)}, at a Lyapunov exponent of {written(wild.exponent)} nats per step."
    )


def _times(journey: Journey) -> str:
    return written(float(f"{float(journey.norms[0] / journey.norms[-1]):.2g}"))


def _figure(rnns: Sequence[Journey], lstms: Sequence[Journey]) -> Figure:
    made, panels = figure(columns=2, height=3.6, sharey=True)
    for axes, group in zip(panels, (rnns, lstms), strict=True):
        for one, colour in zip(group, ordered_colours(len(group)), strict=True):
            axes.plot(one.norms / one.norms[-1], color=colour, linewidth=2.2)
            if one.is_lstm and one is not group[-1]:
                axes.plot(_expected(one) / one.norms[-1], **THEORY)
        axes.set_yscale("log")
    name_axes(panels[0], "tanh networks", "step t", "‖∂L/∂hₜ‖, as a ratio to the last")
    name_axes(panels[1], "LSTMs; dashed: ∏f alone", "step t", "‖∂L/∂cₜ‖, as a ratio to the last")
    panels[1].tick_params(labelleft=True)
    for axes, group in zip(panels, (rnns, lstms), strict=True):
        axes.invert_xaxis()
        colours = ordered_colours(len(group))
        ends = zip(group, colours, strict=True)
        label_ends(axes, [LineEnd(float(one.norms[0] / one.norms[-1]), one.name, colour) for one, colour in ends])
    return made
