"""Norms of weights by gate, and of their gradients and updates: what the optimiser saw and what it did."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from rnn_diag.cells.equations import Equations
from rnn_diag.cells.weights import Weights
from rnn_diag.measurements.gradients import together
from rnn_diag.measurements.spread import Bands
from rnn_diag.measurements.statistics import Statistic

MATRICES = {"weight_ih": "ih", "weight_hh": "hh"}
"""What the two matrices of a gate are called in tags."""
QUANTITIES = ("weight", "grad", "clipped_grad", "update")
"""What is known of each, as tags have it."""
CELLS = 32
"""Rows and columns of a map, at most: the mean magnitudes of as many parts of the matrix."""


class WeightMap(NamedTuple):
    """The magnitudes of one gate's weights, input next to recurrent, and of their gradient.

    Attributes:
        weight: `[rows, columns]` mean magnitudes.
        grad: The same of the gradient; None without one.
        split: Columns of the input weights.
    """

    weight: Tensor
    grad: Tensor | None
    split: int


@dataclass(frozen=True)
class GateWeightNumbers:
    """What one layer's weights are by gate, and how the optimiser changed them.

    Attributes:
        norms: By tag, `<gate>/<what>_<matrix>`.
        early_late_cosine: See `rnn_diag.diagnostics.early_late_cosine`, a mean over sequences; None where not known.
        maps: By gate.
        contributions: What each timestep adds to the gradient of the recurrent weights, by sequence; None where it is
            not known.
        sequences: Over how many the cosine is a mean.
    """

    norms: Mapping[str, float]
    early_late_cosine: float | None = None
    maps: Mapping[str, WeightMap] = field(default_factory=dict)
    contributions: Bands | None = None
    sequences: int = 1

    statistics: ClassVar[tuple[Statistic, ...]] = (
        Statistic("<block>/weight_<matrix>", "", "norm of the gate's input (`ih`) or recurrent (`hh`) weights"),
        Statistic(
            "<block>/grad_<matrix>",
            "loss per weight",
            "norm of their gradient as the optimiser would get it without clipping: summed over accumulated batches, "
            "averaged over ranks, without a loss scale",
            chart="gradient of recurrent weights",
        ),
        Statistic("<block>/clipped_grad_<matrix>", "loss per weight", "the same after clipping; only with clipping"),
        Statistic(
            "<block>/update_<matrix>",
            "share",
            "norm of what the optimiser added to them over their own norm; around 1e-3 is usual",
            chart="update over weight",
        ),
        Statistic(
            "early_late_cosine",
            "cosine",
            "between what the early and the late half of the sequences ask of the recurrent weights; at -1 they cancel",
        ),
    )

    @property
    def numbers(self) -> dict[str, float]:
        """The statistics by name."""
        cosine = self.early_late_cosine
        return {**self.norms, **({} if cosine is None else {"early_late_cosine": cosine})}

    @property
    def by_gate(self) -> dict[str, list[list[float]]]:
        """For every gate, of input and recurrent weights: the norms as the tab shows them; NaN where not known."""
        gates = dict.fromkeys(tag.partition("/")[0] for tag in self.norms)
        return {
            gate: [
                [self.norms.get(f"{gate}/{one}_{matrix}", math.nan) for one in QUANTITIES]
                for matrix in MATRICES.values()
            ]
            for gate in gates
        }

    def __add__(self, other: GateWeightNumbers) -> GateWeightNumbers:
        """Return these numbers, as weights are the same at every call and on every rank; of sequences, all together."""
        known = [one for one in (self, other) if one.early_late_cosine is not None and one.sequences]
        sequences = sum(one.sequences for one in known)
        total = sum((one.early_late_cosine or 0.0) * one.sequences for one in known)
        return replace(
            self,
            early_late_cosine=total / sequences if sequences else None,
            contributions=together(self.contributions, other.contributions),
            sequences=sequences,
        )


def by_gate(equations: Equations, weights: Weights, of: str) -> Iterator[tuple[str, Tensor]]:
    """Give the part of each gate in a layer's matrices, by `<gate>/<of>_<matrix>`."""
    for parameter, matrix in MATRICES.items():
        stacked = getattr(weights, parameter)
        if stacked is not None:
            for block, part in equations.by_block(stacked, dim=0).items():
                yield f"{block}/{of}_{matrix}", part


def norms(parts: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the norm of every tensor, read from the device at once.

    Example:
        >>> norms({"a": torch.tensor([3.0, 4.0]), "b": torch.zeros(2)})
        {'a': 5.0, 'b': 0.0}
    """
    if not parts:
        return {}
    found = torch.stack([torch.linalg.vector_norm(part.detach().float()) for part in parts.values()])
    return dict(zip(parts, found.tolist(), strict=True))


def pooled(matrix: Tensor, cells: int = CELLS) -> Tensor:
    """Return mean magnitudes of at most `cells × cells` parts of a matrix, on the CPU.

    A vector is one column, and further axes stand next to each other as columns. No columns stay none.
    """
    matrix = matrix.reshape(len(matrix), -1) if matrix.numel() else matrix.new_zeros(len(matrix), 0)
    rows, columns = (min(size, cells) for size in matrix.shape)
    if not columns:
        return torch.zeros(rows, 0)
    return adaptive_avg_pool2d(matrix.detach().float().abs().unsqueeze(0), (rows, columns)).squeeze(0).cpu()


def smaller(one: WeightMap, cells: int) -> tuple[Tensor, int]:
    """Return a map of at most `cells` rows and twice as many columns, `[2, rows, columns]`, and its split.

    The first part is of weights, the second of their gradient: NaN without one.

    Example:
        >>> maps, split = smaller(WeightMap(torch.ones(4, 6), None, 2), cells=2)
        >>> list(maps.shape), split, bool(maps[1].isnan().all())
        ([2, 2, 4], 2, True)
    """
    parts = [one.weight, torch.full_like(one.weight, math.nan) if one.grad is None else one.grad]
    halves = [
        torch.cat([pooled(half, cells) for half in part.tensor_split([one.split], dim=1)], dim=1) for part in parts
    ]
    return torch.stack(halves), min(one.split, cells)


def map_of(weight: tuple[Tensor, Tensor], grad: tuple[Tensor, Tensor] | None) -> WeightMap:
    """Return the map of one gate from its input and recurrent weights, and the gradients of both.

    Recurrent weights that are not one row for each unit, as an eigenvalue's two numbers are, have no part in it.
    """
    shown = 2 if len(weight[0]) == len(weight[1]) else 1
    parts = [pooled(part) for part in weight[:shown]]
    grads = None if grad is None else torch.cat([pooled(part) for part in grad[:shown]], dim=1)
    return WeightMap(torch.cat(parts, dim=1), grads, parts[0].shape[1])
