"""The whole suite in one callback."""

from __future__ import annotations

from typing import final

from rnn_diag.arguments import whole
from rnn_diag.callbacks.attachment import DiagnosticCallback
from rnn_diag.callbacks.concern import Patterns, Schedule
from rnn_diag.callbacks.diagnostic import Diagnostic
from rnn_diag.callbacks.gradient_norms import GradientNorms
from rnn_diag.callbacks.lyapunov import LyapunovSpectrum
from rnn_diag.callbacks.memory_horizon import MemoryHorizon
from rnn_diag.callbacks.saturation import GateSaturation
from rnn_diag.callbacks.spectrum import RecurrentSpectrum


@final
class RNNDiagnostics(DiagnosticCallback):
    """Logs gradients over time, memory horizons, recurrent spectra and gate saturation of every recurrent layer.

    The tags are those of `GradientNorms`, `MemoryHorizon`, `RecurrentSpectrum` and `GateSaturation`, with
    `lyapunov=True` those of `LyapunovSpectrum`, and for the run as a whole:

    - `rnn_diag/overhead`: time spent on measuring, in percent of the time since the first measured step, whose own cost
      comes once; the largest of all ranks. What another thread computes counts where training runs on the CPU.
    - `rnn_diag/every_n_steps`: steps from one measured step to the next, which `max_overhead` stretches.
    - `rnn_diag/cost`: for the tab "RNN Diagnostics", milliseconds for the measured step, and the share of the time.
    - `rnn_diag/coverage/text_summary`: how every recurrent module is seen, or why not; in TensorBoard's
      Text tab.
    - `rnn_diag/verdict`: for the tab, what the doctor's judge says of all layers; whenever that changes. Each of these
      callbacks writes it alone, too, by what it measures.
    - `rnn_diag/verdict/text_summary`: the same in the Text tab.
    - `custom_scalars__config__`: charts for TensorBoard's Custom Scalars tab, unless the run has a layout of its own by
      the first measured step; one that is written later wins, and `rnn_diag.reporting.layout.custom_scalars_layout`
      gives ours to merge.

    Args:
        every_n_steps: It measures at training steps that are multiples of this.
        sequences: How many sequences of a batch are looked at on each rank; None for all.
        layers: Glob pattern of the layers' names, or several.
        max_overhead: The share of the training time that measuring may take: see `Diagnostic`.
        lyapunov: Whether to measure Lyapunov exponents, too, a tenth as often.
        spectra_every_nth: Of its measured steps, at every how manieth spectra are taken, after as many in a row:
            weights move more and more slowly, and eigenvalues take long.
        discover: See `Diagnostic`.

    Raises:
        ValueError: If `every_n_steps`, `sequences` or `spectra_every_nth` is not positive, or `max_overhead` not
            between 0 and 1.
    """

    def __init__(
        self,
        every_n_steps: int = Schedule.every_n_steps,
        sequences: int | None = Schedule.sequences,
        layers: Patterns = Schedule.layers,
        max_overhead: float | None = Schedule.max_overhead,
        lyapunov: bool = False,
        spectra_every_nth: int = 4,
        discover: bool = Schedule.discover,
    ) -> None:
        super().__init__(Schedule(every_n_steps, sequences, layers, max_overhead, discover))
        every_nth = whole("spectra_every_nth", spectra_every_nth, at_least=1)
        schedule = vars(self.schedule)
        self._diagnostics: tuple[Diagnostic, ...] = (
            GradientNorms(**schedule),
            MemoryHorizon(**schedule),
            RecurrentSpectrum(**schedule, every_nth=every_nth),
            GateSaturation(**schedule),
        )
        if lyapunov:
            self._diagnostics += (
                LyapunovSpectrum(10 * every_n_steps, sequences, layers, max_overhead, discover=discover),
            )

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """One callback for each concern."""
        return self._diagnostics
