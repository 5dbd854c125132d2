"""When and under which names the Lyapunov exponents of a layer are logged."""

from __future__ import annotations

from typing import ClassVar, final

from rnn_diag.arguments import whole
from rnn_diag.callbacks.concern import Patterns, Schedule
from rnn_diag.callbacks.diagnostic import Diagnostic
from rnn_diag.measurements.exponents import ExponentSums, MeasureExponents
from rnn_diag.measurements.measure import Measure
from rnn_diag.measurements.statistics import Statistic
from rnn_diag.reporting.tensorboard import Writer
from rnn_diag.tb.kinds import write_lyapunov


@final
class LyapunovSpectrum(Diagnostic):
    """Logs how fast neighbouring states of a layer part (above 0) or meet (below 0), along the data it is trained on.

    The state is the full one, `(h, c)` for an LSTM, driven by the batch's inputs. In nats per step.

    Scalars, at every measured step at which the layer was called:

    - `lyapunov/<layer>/lambda_<i>`: the `i`-th largest exponent, averaged over sequences; `i` from 1 to `k`.
    - `lyapunov/<layer>/lambda_1_spread`: standard deviation of the largest over sequences.
    - `lyapunov/<layer>/kaplan_yorke`: dimension of the attractor that they imply; a lower bound where it is `k`.

    To TensorBoard:

    - `rnn_diag/<layer>/lyapunov`: for the tab "RNN Diagnostics", the exponents averaged over sequences.

    Ranks are merged by sums and counts, exactly. Cost: a loop over time with a QR decomposition at every step, several
    times that of a sweep; therefore rare by default.

    Args:
        every_n_steps: See `Diagnostic`.
        sequences: See `Diagnostic`.
        layers: See `Diagnostic`.
        max_overhead: See `Diagnostic`.
        k: How many exponents; no more than the state has units.
        warmup: Steps at the start of every sequence that are carried but not counted.
        discover: See `Diagnostic`.

    Raises:
        ValueError: If `k` is not positive or `warmup` is negative.
    """

    name: ClassVar[str] = "lyapunov"
    statistics: ClassVar[tuple[Statistic, ...]] = ExponentSums.statistics

    def __init__(
        self,
        every_n_steps: int = 10 * Schedule.every_n_steps,
        sequences: int | None = Schedule.sequences,
        layers: Patterns = Schedule.layers,
        max_overhead: float | None = Schedule.max_overhead,
        k: int = 4,
        warmup: int = 0,
        discover: bool = Schedule.discover,
    ) -> None:
        super().__init__(every_n_steps, sequences, layers, max_overhead, discover)
        self.k = whole("k", k, at_least=1)
        self.warmup = whole("warmup", warmup, at_least=0)

    @property
    def measure_of(self) -> Measure:
        """What is measured."""
        return MeasureExponents(self.k, self.warmup)

    def write(self, layer: str, merged: ExponentSums, writer: Writer, step: int) -> None:
        """Write what the tab shows."""
        write_lyapunov(writer, layer, step, merged.mean)
