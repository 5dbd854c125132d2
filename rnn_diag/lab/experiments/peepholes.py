"""What a gate can do that sees the memory: a clock of one unit, by hand and by training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from rnn_diag.arguments import number, whole
from rnn_diag.diagnostics import module_trace
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table, one_thread
from rnn_diag.lab.parts.figures import COLOURS, FAINT, GUIDE, THEORY, figure, name_axes
from rnn_diag.lab.parts.networks import blank_layer, one_input
from rnn_diag.lab.parts.peephole_reference import BackwardErrors, backward_errors
from rnn_diag.lab.parts.single_units import SingleUnits
from rnn_diag.lab.parts.words import written
from rnn_diag.nn import LSTM, PeepholeLSTM
from rnn_diag.nn.layer import RecurrentLayer
from rnn_diag.tasks import Timing
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEARNT = 0.05
"""Share of the baseline's error below which a network has learnt the task."""

_SHARP = 800.0  # how steep a gate is: half a tick away from its threshold it is open or shut to 1e-15


class Trained(NamedTuple):
    """Errors of networks of one unit on sequences that were not trained on, as shares of the baseline's, in order.

    Attributes:
        peephole: With peepholes.
        plain: Without.
    """

    peephole: Tensor
    plain: Tensor


@dataclass(frozen=True)
class Peepholes(Experiment):
    r"""A clock of one unit: its memory adds up, :math:`p_o c_t` opens the output gate, :math:`p_f c_{t-1}` starts anew.

    Without peepholes the gates see the memory through :math:`h = o \tanh c` only, which is 0 while the unit is silent:
    nothing tells them the time.

    Attributes:
        period: Steps from spike to spike of the clock that is set by hand.
        ticks: How many periods are looked at.
        interval: Steps from cue to spike in the task that is learnt.
        networks: How many of one unit are trained, of each kind.
        steps: Of training.
        learning_rate: Adam's, falling as a cosine.
        seed: Of initial weights and batches.
    """

    title: ClassVar[str] = "Peepholes"
    question: ClassVar[str] = "What can one memory cell do when its gates see it, that it cannot do otherwise?"
    theory: ClassVar[tuple[int, ...]] = (15, 16)

    period: int = 12
    ticks: int = 4
    interval: int = 5
    networks: int = 40
    steps: int = 2000
    learning_rate: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        for name, least in (("period", 2), ("ticks", 1), ("interval", 1), ("networks", 1), ("steps", 1), ("seed", 0)):
            whole(name, getattr(self, name), least)
        number("learning_rate", self.learning_rate, above=0.0)

    @one_thread()
    def run(self) -> Outcome:
        """Set a clock by hand, train many, and check the gradients that trained them."""
        steps = self.period * self.ticks + self.period // 2
        peephole, plain = (module_trace(_clock(kind, self.period), one_input(steps)) for kind in (PeepholeLSTM, LSTM))
        expected = torch.arange(1, self.ticks + 1) * self.period - 1
        trained, errors = self._trained(), backward_errors(self.seed)
        checks = [*_clock_checks(peephole, plain, expected), *_trained_checks(trained), *_backward_checks(errors)]
        figures = {"clock": _figure(peephole, plain, expected, trained)}
        return Outcome(_conclusion(peephole, plain, trained), checks, [_table(trained)], figures)

    def _trained(self) -> Trained:
        task = Timing(interval=self.interval, sequence_length=5 * self.interval, seed=self.seed)
        held_out, baseline = task.sequences("validation").whole, task.spec.baseline["mse"]
        shares = []
        for kind in (PeepholeLSTM, LSTM):
            units = SingleUnits(kind, self.networks, self.seed)
            units.learn(task, self.steps, self.learning_rate, self.seed)
            with torch.no_grad():
                shares.append(units.errors(held_out.inputs, held_out.targets).double().sort().values / baseline)
        return Trained(*shares)


def _clock(kind: type[PeepholeLSTM] | type[LSTM], period: int) -> RecurrentLayer:
    """Return a unit that counts in ticks of 1/period from a cue on, speaks at `period` ticks, and starts anew."""
    layer = blank_layer(kind, 1, 1)
    tick, full = 1 / period, 1 - 0.5 / period
    into, bias = layer.get_parameter("weight_ih_l0"), layer.get_parameter("bias_ih_l0")
    into[0] = _SHARP
    levels = [-_SHARP * tick / 2, _SHARP * full, math.atanh(tick), -_SHARP * full]
    bias.copy_(torch.tensor(levels, dtype=torch.float64))
    if isinstance(layer, PeepholeLSTM):
        layer.get_parameter("weight_ci_l0").fill_(_SHARP)  # goes on counting once it has begun
        layer.get_parameter("weight_cf_l0").fill_(-_SHARP)  # forgets when full
        layer.get_parameter("weight_co_l0").fill_(_SHARP)  # speaks when full
    return layer


def _spikes(trace: Trace) -> Tensor:
    return (trace.hidden.flatten() > 0.5 * math.tanh(1.0)).nonzero()[:, 0]


def _clock_checks(peephole: Trace, plain: Trace, expected: Tensor) -> list[Check]:
    found, hidden = _spikes(peephole), peephole.hidden.flatten()
    away = float((found - expected).abs().max()) if len(found) == len(expected) else math.nan
    silent = torch.ones_like(hidden, dtype=torch.bool)
    silent[expected] = False
    return [
        Check("clock with peepholes: distance of its spikes from their time, steps", 0.0, away, 0.0),
        Check(
            "clock with peepholes: height of the spikes, tanh 1", math.tanh(1.0), float(hidden[expected].mean()), 1e-9
        ),
        Check("clock with peepholes: largest |h| between spikes", 0.0, float(hidden[silent].abs().max()), 1e-9),
        Check("the same weights without peepholes: largest |h|", 0.0, float(plain.hidden.abs().max()), 1e-9),
    ]


def _trained_checks(trained: Trained) -> list[Check]:
    with_them, without = (float(part.median()) for part in trained)
    return [Check("median error with peepholes, at most that without", without, with_them, 0.0, "at most")]


def _backward_checks(errors: BackwardErrors) -> list[Check]:
    return [
        Check("written backward pass: weights, distance from autograd", 0.0, errors.weights, 1e-10),
        Check("written backward pass: ∂L/∂hₜ and ∂L/∂cₜ, distance from autograd", 0.0, errors.states, 1e-10),
        Check("written backward pass: weights, distance from finite differences", 0.0, errors.differences, 1e-6),
    ]


def _table(trained: Trained) -> Table:
    rows = [
        (
            name,
            len(part),
            int((part < LEARNT).sum()),
            float(part.min()),
            float(part.median()),
            float(part.max()),
        )
        for name, part in (("with peepholes", trained.peephole), ("without", trained.plain))
    ]
    header = ("one unit", "networks", "learnt it", "best error / baseline", "median", "worst")
    return Table(f"Timed spikes; learnt: below {LEARNT:.0%} of the baseline's error", header, rows)


def _conclusion(peephole: Trace, plain: Trace, trained: Trained) -> str:
    found = _spikes(peephole).tolist()
    learnt = [int((part < LEARNT).sum()) for part in trained]
    return (
        f"One unit with peepholes, cued once, fires at steps {', '.join(map(str, found))} and is silent between; with "
        f"the same weights and no peepholes it fires {len(_spikes(plain))} times. Trained to fire at a fixed interval "
        f"after each cue, {learnt[0]} of {len(trained.peephole)} one-unit networks with peepholes come below "
        f"{LEARNT:.0%} of the baseline's error and {learnt[1]} of {len(trained.plain)} without; the medians are "
        f"{written(float(trained.peephole.median()))} and {written(float(trained.plain.median()))} of it."
    )


def _figure(peephole: Trace, plain: Trace, expected: Tensor, trained: Trained) -> Figure:
    made, (clock, errors) = figure(columns=2, height=3.5, width_ratios=[1.5, 1.0])
    for trace, colour, row in ((peephole, COLOURS[1], 1.3), (plain, COLOURS[0], 0.0)):
        assert trace.cell is not None
        clock.plot(row + trace.cell.flatten(), color=FAINT, linewidth=1.2)
        clock.plot(row + trace.hidden.flatten(), color=colour, linewidth=2.0)
    for step in expected.tolist():
        clock.axvline(step, **GUIDE)
    clock.set(yticks=[0.0, 1.0, 1.3, 2.3], yticklabels=["0", "1", "0", "1"], ylim=(-0.1, 2.75))
    clock.text(0, 2.45, "with peepholes", color=COLOURS[1], fontsize=9)
    clock.text(0, 0.25, "the same weights without", color=COLOURS[0], fontsize=9)
    name_axes(clock, "A clock set by hand; grey: memory c", "steps after the cue", "h, and c")
    _draw_errors(errors, trained)
    return made


def _draw_errors(axes: Axes, trained: Trained) -> None:
    for part, colour, name in ((trained.peephole, COLOURS[1], "with"), (trained.plain, COLOURS[0], "without")):
        rank = torch.arange(1, len(part) + 1)
        axes.plot(rank, part, "o", color=colour, markersize=3.5)
        axes.text(
            len(part) * 0.62, float(part[int(len(part) * 0.6)]) * 1.35, name, color=colour, fontsize=9, ha="right"
        )
    axes.axhline(LEARNT, **GUIDE)
    axes.axhline(1.0, **THEORY)
    axes.set_yscale("log")
    name_axes(axes, "Trained one-unit networks", "rank", "error / baseline's")
