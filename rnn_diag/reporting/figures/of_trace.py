"""From one recorded call to its numbers, and from these to figures: the short way in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.diagnostics import hidden_grad_norms
from rnn_diag.measurements.gates import GateCounts
from rnn_diag.measurements.influence import Influence
from rnn_diag.measurements.spread import Bands
from rnn_diag.measurements.weights import WeightNumbers
from rnn_diag.reporting.figures.gates import gates_over_time, units
from rnn_diag.reporting.figures.gradients import gradient_profile, influence
from rnn_diag.reporting.figures.spectrum import complex_plane
from rnn_diag.reporting.page.picture import inlined, svg_of
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Numbers:
    """What the figures of one call show.

    Attributes:
        log10_norms: Of the total gradient at every timestep: median, 10th and 90th percentile over sequences; None
            without a backward pass.
        log10_influence: Of single steps' losses on the states before them, relative to lag 0: median, 10th and 90th
            percentile over targets and sequences; None without any.
        horizon: The memory horizon: see `rnn_diag.measurements.influence.Influence`.
        gates: Of every sigmoid gate, over timesteps: mean, share of units shut, share open.
        units: Of every sigmoid gate, over units: mean, share of time shut, share open.
        eigenvalues: By recurrent matrix.
        singular_values: By recurrent matrix.
    """

    log10_norms: Float[Tensor, "three time"] | None
    log10_influence: Float[Tensor, "three lag"] | None
    horizon: float | None
    gates: dict[str, Float[Tensor, "three time"]]
    units: dict[str, Float[Tensor, "three hidden"]]
    eigenvalues: dict[str, Tensor]
    singular_values: dict[str, Tensor]


def numbers_of(trace: Trace) -> Numbers:
    """Return what the figures of a trace show: the numbers of `rnn_diag.measurements`, which the callbacks log, too."""
    spectra = WeightNumbers.of(trace).completed().spectra
    counts = GateCounts.of(trace)
    shares = (counts.activation, counts.usual.shut, counts.usual.open) if counts.gates else ()
    by_step = torch.stack([share.by_step for share in shares], dim=1) if shares else torch.zeros(0)
    by_unit = torch.stack([share.by_unit for share in shares], dim=1) if shares else torch.zeros(0)
    reach = Influence.of(trace) if trace.has_gradients else None
    has_curves = reach is not None and len(reach.bands.lengths) > 0
    return Numbers(
        log10_norms=_of_norms(trace) if trace.has_gradients else None,
        log10_influence=torch.from_numpy(reach.bands.percentiles) if reach and has_curves else None,
        horizon=reach.horizon if reach and has_curves else None,
        gates=dict(zip(counts.gates, by_step, strict=True)),
        units=dict(zip(counts.gates, by_unit, strict=True)),
        eigenvalues={name: spectrum.eigenvalues for name, spectrum in spectra.items()},
        singular_values={name: spectrum.singular_values for name, spectrum in spectra.items()},
    )


class Figures(dict[str, "Figure"]):
    """Figures by name, which a notebook shows below each other, with or without `%matplotlib`."""

    def __repr__(self) -> str:
        return f"Figures({', '.join(self)})"

    def _repr_html_(self) -> str:
        """Return the pictures within the text, as SVG."""
        pictures = (inlined(svg_of(one), f"{name}-{id(one)}", escape(name), {}) for name, one in self.items())
        return "".join(f'<div style="max-width: 640px; background: #fff">{picture}</div>' for picture in pictures)


def figures_of(trace: Trace) -> Figures:
    """Return the figures of one recorded call by name, those that it has numbers for.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> figures_of(linear_trace(0.5, steps=3))
        Figures(gradient_profile, influence, complex_plane)
    """
    numbers, name = numbers_of(trace), trace.layer
    drawn = Figures()
    if numbers.log10_norms is not None:
        drawn["gradient_profile"] = gradient_profile(numbers.log10_norms, title=f"{name}: total gradient")
    if numbers.log10_influence is not None:
        title = f"{name}: how far back single losses reach"
        drawn["influence"] = influence(numbers.log10_influence, horizon=numbers.horizon, title=title)
    title = f"{name}: recurrent weights"
    drawn["complex_plane"] = complex_plane(numbers.eigenvalues, numbers.singular_values, title=title)
    if numbers.gates:
        drawn["gates_over_time"] = gates_over_time(numbers.gates, title=f"{name}: gates")
        drawn["units"] = units(numbers.units, title=f"{name}: units")
    return drawn


def _of_norms(trace: Trace) -> Float[Tensor, "three time"]:
    """Return the spread of the gradient's norm over sequences, at every timestep."""
    return torch.from_numpy(Bands.of(hidden_grad_norms(trace), trace.mask, most=None).percentiles).double()
