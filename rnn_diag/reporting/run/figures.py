"""The figures of one layer, from what its log holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from rnn_diag.reporting.figures import (
    complex_plane,
    gates_over_time,
    gates_over_training,
    gradient_heat_map,
    gradient_profile,
    influence,
    lyapunov,
    memory_horizon,
    units,
)
from rnn_diag.reporting.run.logged import Logged, LoggedLayer, gates_in_time, profiles, shares

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CELLS = 2_000_000
"""Of a heat map: of longer sequences fewer training steps are shown."""


def figures_of(layer: LoggedLayer) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Give by its title what draws each figure that a layer has numbers for."""
    series = layer.series
    if gradient := series.get("grad"):
        if len(gradient.events) > 1:
            yield "Does the gradient reach the beginning? Over the training", lambda: _heat_map(gradient)
        yield "Gradient over the timesteps", lambda: _profiles(gradient)
    if reach := series.get("influence"):
        yield f"How far back single losses reach, at step {reach.steps[-1]}", lambda: _influence(reach, series)
    if (horizon := series.get("horizon")) and len(horizon.events) > 1:
        yield (
            "How long is the memory? Over the training",
            lambda: memory_horizon(horizon.steps, [one.values for one in horizon.events]),
        )
    if gates := series.get("gates"):
        if len(gates.events) > 1:
            yield "How have the gates changed?", lambda: _gates_over_training(gates)
        names = gates.content["labels"]
        yield (
            f"What do the gates do over time? At step {gates.steps[-1]}",
            lambda: gates_over_time(dict(zip(names, gates_in_time(gates.last), strict=True))),
        )
    if stuck := series.get("gate_units"):
        yield (
            f"Which units are stuck? At step {stuck.steps[-1]}",
            lambda: units(dict(zip(stuck.content["labels"], shares(stuck.last), strict=True))),
        )
    if exponents := series.get("lyapunov"):
        yield (
            "Does a small difference grow? Over the training",
            lambda: lyapunov(exponents.steps, [one.values for one in exponents.events]),
        )
    if eigenvalues := layer.by_matrix.get("eig"):
        step = max(one.steps[-1] for one in eigenvalues.values())
        yield f"Is the recurrence stable? At step {step}", lambda: _plane(layer)


def _thinned(series: Logged, timesteps: int) -> Logged:
    """Return evenly spaced events, no more than a heat map has room for."""
    most = max(20, MOST_CELLS // max(1, timesteps))
    kept = np.unique(np.linspace(0, len(series.events) - 1, most).round().astype(int))
    return Logged(series.content, [series.events[index] for index in kept])


def _heat_map(series: Logged) -> Figure:
    shown = _thinned(series, max(int(one.values[3].sum()) for one in series.events))
    return gradient_heat_map(shown.steps, [profiles(one.values)[0] for one in shown.events])


def _profiles(series: Logged) -> Figure:
    first, last = series.events[0], series.events[-1]
    ends = {one.step: profiles(one.values) for one in (first, last)}
    return gradient_profile({f"step {step}": rows for step, rows in ends.items()}, relative=True)


def _influence(series: Logged, others: dict[str, Logged]) -> Figure:
    horizon = float(others["horizon"].last[0]) if "horizon" in others else None
    return influence(profiles(series.last), horizon=horizon)


def _gates_over_training(series: Logged) -> Figure:
    shown = _thinned(series, max(int(one.values[0, 3].sum()) for one in series.events))
    rows = [gates_in_time(one.values) for one in shown.events]
    names = series.content["labels"]
    return gates_over_training(
        shown.steps, {name: [row[gate, 2] - row[gate, 1] for row in rows] for gate, name in enumerate(names)}
    )


def _plane(layer: LoggedLayer) -> Figure:
    eigenvalues = {name: one.last[:, 0] + 1j * one.last[:, 1] for name, one in layer.by_matrix["eig"].items()}
    stretches = layer.by_matrix.get("sv", {})
    return complex_plane(eigenvalues, {name: one.last for name, one in stretches.items() if name in eigenvalues})
