"""When and under which names the spectrum of recurrent weights is logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

from rnn_diag.callbacks.diagnostic import Diagnostic
from rnn_diag.callbacks.framework import GradientUnits
from rnn_diag.diagnostics import Spectrum, recurrent_spectrum
from rnn_diag.reporting import plane
from rnn_diag.trace import Trace


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

    To TensorBoard:

    - `spectrum/<layer>/eigenvalues`: picture of the complex plane with the unit circle, singular values beneath.

    Weights with NaN or Inf have NaN for all of them. In a gated layer these numbers say little about stability, which
    is that of the Jacobian of the full state. Rank zero measures for all. Cost: 0.1 s per gate of 128 units.

    Args:
        every_n_steps: See `Diagnostic`.
        layers: See `Diagnostic`.
        sequences: Has no influence on weights; for all callbacks alike.
    """

    name: ClassVar[str] = "spectrum"
    of_weights: ClassVar[bool] = True

    def measure(self, trace: Trace, units: GradientUnits) -> Spectra:
        """Return the spectra of one layer."""
        return Spectra(recurrent_spectrum(trace.recurrent_weights, max_power=1))

    def scalars(self, layer: str, merged: Spectra) -> Mapping[str, float]:
        """Return the layer's numbers."""
        numbers = {}
        for block, spectrum in merged.by_block.items():
            numbers[f"{block}/spectral_radius"] = spectrum.spectral_radius
            numbers[f"{block}/sigma_max"] = spectrum.spectral_norm
            numbers[f"{block}/henrici"] = spectrum.henrici_normalised
        return numbers

    def draw(self, layer: str, merged: Spectra) -> Mapping[str, Any]:
        """Return the picture of the complex plane."""
        spectra = {
            block: plane.Spectrum(spectrum.eigenvalues.numpy(), spectrum.singular_values.numpy())
            for block, spectrum in merged.by_block.items()
        }
        return {"eigenvalues": plane.eigenvalue_plane(layer, spectra)}


@dataclass(frozen=True)
class Spectra:
    """The spectra of a layer's recurrent matrices, which are the same at every call and on every rank."""

    by_block: dict[str, Spectrum]

    def __add__(self, other: Spectra) -> Spectra:
        return self
