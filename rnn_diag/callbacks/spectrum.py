"""When and under which names the spectrum of recurrent weights is logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

from rnn_diag.arguments import whole
from rnn_diag.callbacks.concern import Patterns, Schedule
from rnn_diag.callbacks.diagnostic import Diagnostic
from rnn_diag.measurements.measure import Measure
from rnn_diag.measurements.statistics import Statistic
from rnn_diag.measurements.weights import MeasureWeights, WeightNumbers
from rnn_diag.reporting.images.spectrum import Spectrum, eigenvalue_plane
from rnn_diag.reporting.tensorboard import Writer
from rnn_diag.tb.kinds import write_eigenvalues, write_singular_values


@final
class RecurrentSpectrum(Diagnostic):
    """Logs the eigenvalues and singular values of every recurrent matrix: one per gate, and never of their stack.

    `<block>` is the gate (`input`, `forget`, `candidate`, `output`; `reset`, `update`, `candidate`) or, in a plain RNN,
    `hidden`. With `proj_size` the matrix is the gate's times the projection. Weights are those of the forward pass.

    Scalars, at every measured step at which the layer was called:

    - `spectrum/<layer>/<block>/spectral_radius`: largest modulus of an eigenvalue; growth per step in the end.
    - `spectrum/<layer>/<block>/sigma_max`: largest singular value; largest growth in one step.
    - `spectrum/<layer>/<block>/henrici`: departure from normality over the Frobenius norm, 0 (normal) to 1; NaN where
      the layer is too large to know all eigenvalues.
    - `spectrum/<layer>/<block>/numerical_radius`: largest `|v* W v|` over unit vectors; only with `transient=True`.
    - `spectrum/<layer>/<block>/log10_transient_growth`: largest norm of a power; only with `transient=True`.

    To TensorBoard:

    - `spectrum/<layer>/eigenvalues`: picture of the complex plane with the unit circle, singular values beneath.
    - `rnn_diag/<layer>/eig/<block>`: for the tab "RNN Diagnostics", the eigenvalues, at most 128.
    - `rnn_diag/<layer>/sv/<block>`: for the tab, the singular values, at most 64.

    Weights with NaN or Inf have NaN for all of them. In a gated layer these numbers say little about stability, which
    is that of the Jacobian of the full state.

    Rank zero measures for all, in a thread of its own and from copies, so that training does not wait: a step's numbers
    are published at the next measured step at which they are ready, or at the end of the fit, under the step that they
    belong to. A step that comes while the thread is still busy is left out, and so is one at which, on a CPU, the
    thread would take more than half of `max_overhead`; with `max_overhead=None` training waits instead. Cost: a copy
    of the weights; in the thread 15 ms per gate of 128 units and 0.4 s per gate of 512, on one core, and four times
    that with `transient=True`.

    Args:
        every_n_steps: See `Diagnostic`.
        layers: See `Diagnostic`.
        sequences: Has no influence on weights; for all callbacks alike.
        max_overhead: See `Diagnostic`.
        transient: Whether to look at what happens between the first step and the end, too.
        every_nth: Of its measured steps, at every how manieth spectra are taken, after as many in a row: weights move
            more and more slowly, and eigenvalues take long.
        discover: See `Diagnostic`.

    Raises:
        ValueError: If `every_nth` is not positive.
    """

    name: ClassVar[str] = "spectrum"
    statistics: ClassVar[tuple[Statistic, ...]] = WeightNumbers.statistics

    def __init__(
        self,
        every_n_steps: int = Schedule.every_n_steps,
        sequences: int | None = Schedule.sequences,
        layers: Patterns = Schedule.layers,
        max_overhead: float | None = Schedule.max_overhead,
        transient: bool = False,
        every_nth: int = 1,
        discover: bool = Schedule.discover,
    ) -> None:
        super().__init__(every_n_steps, sequences, layers, max_overhead, discover)
        self.transient = transient
        self.every_nth = whole("every_nth", every_nth, at_least=1)

    @property
    def measure_of(self) -> Measure:
        """What is measured."""
        return MeasureWeights(self.transient)

    def write(self, layer: str, merged: WeightNumbers, writer: Writer, step: int) -> None:
        """Write what the tab shows."""
        for block, spectrum in merged.spectra.items():
            write_eigenvalues(writer, layer, step, spectrum.eigenvalues, matrix=block)
            write_singular_values(writer, layer, step, spectrum.singular_values, matrix=block)

    def draw(self, layer: str, merged: WeightNumbers) -> Mapping[str, Any]:
        """Return the picture of the complex plane; none of a recurrence whose state enters by no product."""
        spectra = {
            block: Spectrum(spectrum.eigenvalues.numpy(), spectrum.singular_values.numpy())
            for block, spectrum in merged.spectra.items()
        }
        return {"eigenvalues": eigenvalue_plane(layer, spectra)} if spectra else {}
