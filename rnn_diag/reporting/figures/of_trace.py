"""From one recorded call to its numbers, and from these to figures: the short way in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.diagnostics import (
    Share,
    gate_saturation,
    hidden_grad_norms,
    lagged_grad_norms,
    memory_horizon,
    recurrent_spectrum,
)
from rnn_diag.diagnostics.numerics.precision import in_double
from rnn_diag.reporting.figures.gates import gates_over_time, units
from rnn_diag.reporting.figures.gradients import gradient_profile, influence
from rnn_diag.reporting.figures.spectrum import complex_plane
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.figure import Figure

PERCENTILES = (0.5, 0.1, 0.9)


@dataclass(frozen=True)
class Numbers:
    """What the figures of one call show.

    Attributes:
        log10_norms: Of the total gradient at every timestep: median, 10th and 90th percentile over sequences; None
            without a backward pass.
        log10_influence: Of the last step's loss on the states before it, relative to lag 0; None where the last step
            has no loss of its own.
        horizon: Largest lag that keeps at least 1 % of it.
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
    """Return what the figures of a trace show, by the functions of `rnn_diag.diagnostics`."""
    spectra = {name: recurrent_spectrum(weights) for name, weights in trace.recurrent_weights.items()}
    by_step, by_unit = _gates(trace)
    try:
        log10_norms = _log10_spread(hidden_grad_norms(trace))
    except RuntimeError:  # Nothing was differentiated while it was recorded.
        log10_norms = None
    lagged, horizon = _influence(trace) if log10_norms is not None else (None, None)
    return Numbers(
        log10_norms=log10_norms,
        log10_influence=lagged,
        horizon=horizon,
        gates=by_step,
        units=by_unit,
        eigenvalues={name: spectrum.eigenvalues for name, spectrum in spectra.items()},
        singular_values={name: spectrum.singular_values for name, spectrum in spectra.items()},
    )


def figures_of(trace: Trace) -> dict[str, Figure]:
    """Return the figures of one recorded call by name, those that it has numbers for.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> list(figures_of(linear_trace(0.5, steps=3)))
        ['gradient_profile', 'influence', 'complex_plane']
    """
    numbers, name = numbers_of(trace), trace.layer
    drawn = {}
    if numbers.log10_norms is not None:
        drawn["gradient_profile"] = gradient_profile(numbers.log10_norms, title=f"{name}: total gradient")
    if numbers.log10_influence is not None:
        title = f"{name}: how far back the last loss reaches"
        drawn["influence"] = influence(numbers.log10_influence, horizon=numbers.horizon, title=title)
    title = f"{name}: recurrent weights"
    drawn["complex_plane"] = complex_plane(numbers.eigenvalues, numbers.singular_values, title=title)
    if numbers.gates:
        drawn["gates_over_time"] = gates_over_time(numbers.gates, title=f"{name}: gates")
        drawn["units"] = units(numbers.units, title=f"{name}: units")
    return drawn


def _log10_spread(norms: Float[Tensor, "time batch"]) -> Float[Tensor, "three time"]:
    """Return percentiles over sequences: the nearest of the values there are."""
    shares = torch.tensor(PERCENTILES, dtype=torch.float64, device=norms.device)
    return torch.log10(torch.nanquantile(in_double(norms), shares, dim=1, interpolation="nearest")).cpu()


def _influence(trace: Trace) -> tuple[Tensor | None, float | None]:
    norms = lagged_grad_norms(trace, [-1])[:, 0]
    norms = norms[:, norms[0] > 0]
    if not norms.shape[1]:
        return None, None
    relative = norms / norms[0]
    return _log10_spread(relative), float(memory_horizon(relative).nanmedian())


def _gates(trace: Trace) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    saturation = gate_saturation(trace)
    if not saturation.gates:
        return {}, {}
    mean = Share.of(trace, {gate: in_double(trace.gates[gate]) for gate in saturation.gates})
    parts = (mean, saturation.shut, saturation.open)
    by_step = torch.stack([part.by_step for part in parts], dim=1).cpu()
    by_unit = torch.stack([part.by_unit for part in parts], dim=1).cpu()
    return dict(zip(saturation.gates, by_step, strict=True)), dict(zip(saturation.gates, by_unit, strict=True))
