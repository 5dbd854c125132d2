"""What ranks send each other of a measurement: bounded, however long sequences, wide layers and large batches are.

Sums and counts are sent as they are. What has an entry for every step, unit or sequence is sent at a fixed number of
points, and read again at its full size:

- steps and lags: all of the first 64, the last, and 16 in each octave between: at most 288. Of the steps that a point
  stands for, profiles and bands keep the largest value, as pictures do, and shares their mean.
- units: at most 256, spread evenly; each stands for its neighbours.
- curves over sequences: those of the first 32. Horizons of single sequences: 256, by falling rank.
- eigenvalues and singular values: the 128 largest, as the tab shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnn_diag.diagnostics import ForgetRate, GateSaturation, Profile, Share
from rnn_diag.measurements.call import CallFacts
from rnn_diag.measurements.exponents import ExponentSums
from rnn_diag.measurements.gate_weights import GateWeightNumbers
from rnn_diag.measurements.gates import GateCounts
from rnn_diag.measurements.gradients import GradientSums, NormSums
from rnn_diag.measurements.influence import Influence
from rnn_diag.measurements.spread import Bands
from rnn_diag.measurements.starts import InitialStates
from rnn_diag.measurements.weights import BlockSpectrum, WeightNumbers

EVERY, OCTAVE, OCTAVES = 64, 16, 14
"""The first steps, which are all sent; points in each doubling from there; and how many doublings."""
UNITS, SEQUENCES, CURVES, EIGENVALUES = 256, 32, 256, 128

_STARTS = np.concatenate(
    [np.arange(EVERY), *(EVERY * 2**octave * (OCTAVE + np.arange(OCTAVE)) // OCTAVE for octave in range(OCTAVES))]
)


class _Parts(NamedTuple):
    """A measurement in parts of few bytes, and what makes it whole again."""

    whole: Callable[..., Any]
    parts: tuple[Any, ...]


def sent(value: Any) -> Any:
    """Return a measurement as it is sent to other ranks; one of a kind that is not known here is sent as it is.

    Example:
        >>> profile = Profile(torch.arange(5000.0), torch.ones(5000))
        >>> again = received(sent(profile))
        >>> len(again.total), again.total[63].item(), again.total[-1].item()
        (5000, 63.0, 4999.0)
        >>> len(sent(profile).parts[1])
        164
    """
    if isinstance(value, dict):
        return {name: sent(one) for name, one in value.items()}
    if (how := _SENT.get(type(value))) is not None:
        return how(value)
    if type(value) is Tensor and value.device.type == "cpu" and value.dtype is not torch.bfloat16:
        return _Parts(torch.from_numpy, (value.detach().numpy().copy(),))  # torch's own way takes a millisecond
    if isinstance(value, _OF_PARTS):
        return _Parts(type(value), tuple(sent(getattr(value, one.name)) for one in dataclasses.fields(value)))
    return value


def received(value: Any) -> Any:
    """Return a measurement from what `sent` made of it."""
    if isinstance(value, dict):
        return {name: received(one) for name, one in value.items()}
    if isinstance(value, _Parts):
        return value.whole(*map(received, value.parts))
    return value


def _profile(one: Profile) -> _Parts:
    total, count = one.total.numpy(), one.count.numpy()
    points, weights = total, count
    if len(total) > EVERY:
        starts = _starts(len(total))
        with np.errstate(invalid="ignore", divide="ignore"):
            largest = np.maximum.reduceat(np.where(count > 0, total / count, -np.inf), starts)
            weights = np.maximum.reduceat(count, starts)
            points = np.where(weights > 0, largest * weights, 0.0)
        points[:EVERY] = total[:EVERY]
    return _Parts(_whole_profile, (len(total), points, weights.astype(np.float32), total[-1:], count[-1:]))


def _whole_profile(steps: int, points: Any, weights: Any, last: Any, last_weight: Any) -> Profile:
    total, count = _spread(points, steps, last), _spread(weights.astype(last_weight.dtype), steps, last_weight)
    return Profile(torch.from_numpy(total), torch.from_numpy(count))


def _bands(one: Bands) -> _Parts:
    lengths = one.lengths[:SEQUENCES].numpy()
    logs = one.logs[:, :SEQUENCES].numpy()
    known = np.where(np.arange(len(logs))[:, None] < lengths, logs, -np.inf)
    least = known[-1:].astype(np.float16)
    points = np.maximum.reduceat(known, _starts(len(logs)), axis=0) if len(logs) else known
    return _Parts(_whole_bands, (len(logs), points.astype(np.float16), least, lengths))


def _whole_bands(steps: int, points: Any, last: Any, lengths: Any) -> Bands:
    return Bands(torch.from_numpy(_spread(points, steps, last).astype(np.float32)), torch.from_numpy(lengths))


def _share(one: Share) -> _Parts:
    steps, units = len(one.sequences), one.unit_counts.shape[1]
    starts = _starts(steps)
    chosen = np.arange(min(units, UNITS)) * units // max(min(units, UNITS), 1)
    counts = one.step_counts.numpy()
    by_step = np.add.reduceat(counts, starts, axis=1) if steps else counts
    sequences = np.add.reduceat(one.sequences.numpy(), starts) if steps else one.sequences.numpy()
    by_unit = one.unit_counts.numpy()[:, chosen].astype(np.float32)
    return _Parts(_whole_share, (one.blocks, steps, units, by_unit, by_step.astype(np.float32), sequences))


def _whole_share(blocks: tuple[str, ...], steps: int, units: int, by_unit: Any, by_step: Any, sequences: Any) -> Share:
    widths = _widths(steps)
    by_step = np.repeat(by_step.astype(np.float64) / widths, widths, axis=1)
    sequences = np.repeat(sequences / widths, widths)
    by_unit = by_unit[:, np.arange(units) * by_unit.shape[1] // max(units, 1)].astype(np.float64)
    return Share(blocks, torch.from_numpy(by_unit), torch.from_numpy(by_step), torch.from_numpy(sequences))


def _forget_rate(one: ForgetRate) -> _Parts:
    units = len(one.log_forget)
    starts = np.arange(min(units, UNITS)) * units // min(units, UNITS)
    longest = np.maximum.reduceat(one.log_forget.numpy(), starts)  # the unit that forgets least of each group
    return _Parts(_whole_forget_rate, (units, longest, one.steps, one.sequences))


def _whole_forget_rate(units: int, log_forget: Any, steps: int, sequences: int) -> ForgetRate:
    return ForgetRate(torch.from_numpy(log_forget[np.arange(units) * len(log_forget) // units]), steps, sequences)


def _influence(one: Influence) -> _Parts:
    curves = (_by_rank(part) for part in (one.horizons, one.half_lives, one.furthest))
    return _Parts(
        _whole_influence, (one.threshold, sent(one.profile), sent(one.cell_profile), sent(one.bands), *curves)
    )


def _whole_influence(threshold: float, profile: Any, cell_profile: Any, bands: Any, *curves: Any) -> Influence:
    return Influence(threshold, profile, cell_profile, bands, *map(torch.from_numpy, curves))


def _by_rank(values: Tensor) -> Any:
    """Return all values, or as many as are sent, from the smallest to the largest."""
    if len(values) <= CURVES:
        return values.numpy()
    ranks = torch.linspace(0, len(values) - 1, CURVES).round().long()
    return values.sort().values[ranks].numpy()


def _states(one: InitialStates) -> InitialStates:
    return dataclasses.replace(one, began=None, ended=None)  # other ranks have other sequences, which these end in


def _spectrum(one: BlockSpectrum) -> _Parts:
    return _Parts(
        BlockSpectrum, (sent(one.eigenvalues[:EIGENVALUES]), sent(one.singular_values[:EIGENVALUES]), *one[2:])
    )


def _gate_weights(one: GateWeightNumbers) -> GateWeightNumbers:
    return dataclasses.replace(one, maps={}, contributions=sent(one.contributions))


_OF_PARTS = (CallFacts, ExponentSums, GateCounts, GateSaturation, GradientSums, NormSums, WeightNumbers)
_SENT: dict[type, Callable[[Any], Any]] = {
    Bands: _bands,
    BlockSpectrum: _spectrum,
    ForgetRate: _forget_rate,
    GateWeightNumbers: _gate_weights,
    Influence: _influence,
    InitialStates: _states,
    Profile: _profile,
    Share: _share,
}


def _starts(steps: int) -> Any:
    """Return the first step that each point stands for."""
    return _STARTS[steps > _STARTS]


def _widths(steps: int) -> Any:
    """Return how many steps each point stands for."""
    return np.diff(_starts(steps), append=steps)


def _spread(points: Any, steps: int, last: Any) -> Any:
    """Return an entry for every step, by points and the last entry."""
    entries = np.repeat(points, _widths(steps), axis=0)
    if steps:
        entries[-1:] = last
    return entries
