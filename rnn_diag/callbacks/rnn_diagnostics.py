"""The whole suite in one callback."""

from __future__ import annotations

from typing import final

from rnn_diag.callbacks.diagnostic import Diagnostic, DiagnosticCallback
from rnn_diag.callbacks.gradient_norms import GradientNorms
from rnn_diag.callbacks.saturation import GateSaturation
from rnn_diag.callbacks.spectrum import RecurrentSpectrum


@final
class RNNDiagnostics(DiagnosticCallback):
    """Logs gradients over time, recurrent spectra and gate saturation of every recurrent layer.

    The tags are those of `GradientNorms`, `RecurrentSpectrum` and `GateSaturation`, and for the run as a whole:

    - `rnn_diag/overhead`: time spent on measuring, in percent of the training time so far; the largest of all ranks.
      What recording adds inside the forward pass of a measured step does not count.
    - `rnn_diag/coverage/text_summary`: how every recurrent module is seen, or why not; in TensorBoard's
      Text tab.

    Args:
        every_n_steps: It measures at training steps that are multiples of this.
        sequences: How many sequences of a batch are looked at on each rank; None for all.
        layers: Glob pattern of the layers' names, or several.

    Raises:
        ValueError: If `every_n_steps` or `sequences` is not positive.
    """

    def __init__(
        self, every_n_steps: int = 50, sequences: int | None = 8, layers: str | list[str] | tuple[str, ...] = "*"
    ) -> None:
        super().__init__()
        concerns = (GradientNorms, RecurrentSpectrum, GateSaturation)
        self._diagnostics: tuple[Diagnostic, ...] = tuple(
            concern(every_n_steps, sequences, layers) for concern in concerns
        )

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """One callback for each concern."""
        return self._diagnostics
