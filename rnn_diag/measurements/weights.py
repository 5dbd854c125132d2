"""What a layer's weights alone say: the spectra of its recurrent matrices, and the bias of the gate that remembers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from rnn_diag.diagnostics import recurrent_spectrum
from rnn_diag.diagnostics.numerics.precision import in_double
from rnn_diag.measurements.measure import GradientUnits, Measure, Needs
from rnn_diag.measurements.statistics import Statistic
from rnn_diag.pending import Pending
from rnn_diag.trace import Trace

SMALL = 256
"""Units up to which the transient growth of a plain recurrence is always computed; a few milliseconds."""


class BlockSpectrum(NamedTuple):
    """The spectrum of one recurrent matrix; None for what was not computed.

    Attributes:
        eigenvalues: By falling modulus.
        singular_values: Falling.
        spectral_radius: Largest modulus of an eigenvalue.
        henrici: Departure from normality over the Frobenius norm.
        numerical_radius: Largest `|v* W v|` over unit vectors.
        transient_growth: Largest norm of a power.
    """

    eigenvalues: Tensor
    singular_values: Tensor
    spectral_radius: float
    henrici: float
    numerical_radius: float | None
    transient_growth: float | None

    @property
    def spectral_norm(self) -> float:
        """Largest singular value."""
        return self.singular_values[0].item()


class BiasParts(NamedTuple):
    """The bias of the gate that remembers, above 0 for remembering: torch adds two vectors.

    Attributes:
        ih, hh: Mean of `bias_ih` and of `bias_hh` over units.
        ih_spread, hh_spread: Their standard deviations.
    """

    ih: float
    hh: float
    ih_spread: float
    hh_spread: float


@dataclass(frozen=True)
class WeightNumbers:
    """What one layer's weights say, which are the same at every call and on every rank.

    Attributes:
        is_gated: Whether the recurrence has gates: its spectra then say little about stability.
        bias: Of the gate that remembers; None without one, or without biases.
        with_transient: Whether numerical radius and transient growth were asked for.
        matrices: Copies of the recurrent matrices by block; empty once the spectra are computed.
        spectra: By block; empty before.
    """

    is_gated: bool
    bias: BiasParts | None
    with_transient: bool = False
    matrices: dict[str, Tensor] = field(default_factory=dict)
    spectra: dict[str, BlockSpectrum] = field(default_factory=dict)

    statistics: ClassVar[tuple[Statistic, ...]] = (
        Statistic(
            "<block>/spectral_radius",
            "factor per step",
            "largest modulus of an eigenvalue; growth per step in the end",
            headline=True,
            chart="spectral radius",
            vital="spectral_radius",
        ),
        Statistic(
            "<block>/sigma_max",
            "factor",
            "largest singular value; largest growth in one step",
            chart="largest singular value",
            vital="spectral_norm",
        ),
        Statistic(
            "<block>/henrici",
            "share",
            "departure from normality over the Frobenius norm, 0 (normal) to 1; NaN where the layer is too large to "
            "know all eigenvalues",
        ),
        Statistic(
            "<block>/numerical_radius",
            "factor",
            "largest `|v* W v|` over unit vectors; only with `transient=True`",
        ),
        Statistic("<block>/log10_transient_growth", "log10", "largest norm of a power; only with `transient=True`"),
    )

    @classmethod
    def of(cls, trace: Trace, transient: bool = False, gated: bool = True) -> WeightNumbers:
        """Return copies of one layer's recurrent matrices, and what is read from its biases at once.

        Args:
            trace: Of one call.
            transient: Whether numerical radius and transient growth are asked for.
            gated: Whether the spectra of gated recurrences are asked for.
        """
        return cls.pending(trace, transient, gated).here()

    @classmethod
    def pending(cls, trace: Trace, transient: bool = False, gated: bool = True) -> Pending[WeightNumbers]:
        """Ask the call's device for the same."""
        is_gated = bool(trace.equations.gates)
        asked = trace.recurrent_weights if gated or not is_gated else {}
        names = tuple(asked)
        copies = Pending([one.clone() for one in asked.values()], lambda *copied: dict(zip(names, copied, strict=True)))
        return Pending.together([_bias(trace), copies], lambda bias, some: cls(is_gated, bias, transient, some))

    def completed(self) -> WeightNumbers:
        """Return the numbers with the spectra, which take long.

        Example:
            >>> from rnn_diag.testing.known import linear_trace
            >>> WeightNumbers.of(linear_trace(0.5, steps=2)).completed().numbers["hidden/spectral_radius"]
            0.5
        """
        spectra = {block: self._spectrum(matrix) for block, matrix in self.matrices.items()}
        return replace(self, matrices={}, spectra=self.spectra | spectra)

    @property
    def plain(self) -> BlockSpectrum | None:
        """The spectrum of a plain recurrence's only matrix; None for gated ones, and before it is computed."""
        return None if self.is_gated else next(iter(self.spectra.values()), None)

    @property
    def forget_bias(self) -> float:
        """Mean of both biases of the gate that remembers; NaN without one."""
        return math.nan if self.bias is None else self.bias.ih + self.bias.hh

    @property
    def numbers(self) -> dict[str, float]:
        """The statistics by name."""
        numbers = {}
        for block, spectrum in self.spectra.items():
            numbers[f"{block}/spectral_radius"] = spectrum.spectral_radius
            numbers[f"{block}/sigma_max"] = spectrum.spectral_norm
            numbers[f"{block}/henrici"] = spectrum.henrici
            if self.with_transient and spectrum.numerical_radius is not None and spectrum.transient_growth is not None:
                numbers[f"{block}/numerical_radius"] = spectrum.numerical_radius
                numbers[f"{block}/log10_transient_growth"] = math.log10(spectrum.transient_growth)
        return numbers

    def __add__(self, other: WeightNumbers) -> WeightNumbers:
        """Return these numbers, with the other's spectra where these have none yet."""
        return replace(self, spectra=self.spectra or other.spectra)

    def _spectrum(self, matrix: Tensor) -> BlockSpectrum:
        spectrum = recurrent_spectrum(matrix)
        judged = not self.is_gated and len(matrix) <= SMALL
        return BlockSpectrum(
            spectrum.eigenvalues,
            spectrum.singular_values,
            spectrum.spectral_radius,
            spectrum.henrici_normalised,
            spectrum.numerical_radius if self.with_transient else None,
            spectrum.transient_growth if self.with_transient or judged else None,
        )


@dataclass(frozen=True)
class MeasureWeights(Measure):
    """Asks for `WeightNumbers`.

    Attributes:
        transient: Whether to look at what happens between the first step and the end, too.
        gated: Whether gated recurrences have their spectra taken, which say little about stability.
    """

    transient: bool = False
    gated: bool = True

    needs: ClassVar[Needs] = Needs(weights_only=True)

    def pending(self, trace: Trace, units: GradientUnits) -> Pending[WeightNumbers]:
        """Ask for copies of one layer's recurrent matrices."""
        return WeightNumbers.pending(trace, self.transient, self.gated)

    def at_once(self, measured: WeightNumbers) -> WeightNumbers:
        """Return what is read from the biases."""
        return replace(measured, matrices={})

    def complete(self, measured: WeightNumbers) -> WeightNumbers:
        """Return the spectra of one layer."""
        return measured.completed()


def _bias(trace: Trace) -> Pending[BiasParts | None]:
    gate, weights = trace.equations.memory_gate, trace.weights
    if gate is None or weights.bias_ih is None or weights.bias_hh is None:
        return Pending.known(None)
    sign = 1 if trace.equations.block(gate).keeps_when == "open" else -1
    biases = (weights.bias_ih, weights.bias_hh)
    parts = torch.stack([sign * in_double(trace.equations.by_block(bias, dim=0)[gate]) for bias in biases])
    both = torch.cat((parts.mean(1), parts.std(1, correction=0)))
    return Pending([both], lambda numbers: BiasParts(*numbers.tolist()))
