"""The unit of a reader that keeps an open brace, and how it answers a brace in code, in a comment, in a string."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import torch
from torch import Tensor

from rnn_diag.lab.braces.reader import BraceReader
from rnn_diag.lab.braces.text import MarkedText, plantable
from rnn_diag.tasks.lexer import Region
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

PLACES: Final = {
    "code": (Region.CODE,),
    "comment": (Region.COMMENT,),
    "string or character": (Region.STRING, Region.CHARACTER),
}
"""Where a brace may stand."""


@dataclass(frozen=True)
class Unit:
    """One memory cell.

    Attributes:
        index: Which one.
        sign: 1 or -1, so that what it stands for is positive.
    """

    index: int
    sign: float

    def activation(self, trace: Trace) -> Float[Tensor, "window time"]:
        """Return `tanh c`, what the memory shows when the output gate is open, positive for what it stands for."""
        assert trace.cell is not None
        return self.sign * trace.cell[:, :, self.index].tanh().T.double()

    def gate(self, trace: Trace, name: str) -> Float[Tensor, "window time"]:
        """Return one of its gates."""
        return trace.gates[name][:, :, self.index].T.double()

    def correlation(self, trace: Trace, truth: Bool[Tensor, "window time"]) -> float:
        """Return the correlation of its activation with the truth over all characters; NaN where either is constant."""
        return float(_correlations(self.activation(trace).flatten().unsqueeze(1), truth)[0])


class Reaction(NamedTuple):
    """What a planted brace does.

    Attributes:
        brace: `{`, planted where none is open, or `}`, planted where one is.
        place: One of `PLACES`.
        events: How often it was tried, at most once in a window.
        at_once: Change of the unit's activation at the brace, against the same text without it; the mean.
        later: The same some characters later.
        right: Share of answers that are right at that later character.
    """

    brace: str
    place: str
    events: int
    at_once: float
    later: float
    right: float


def find_unit(trace: Trace, truth: Bool[Tensor, "window time"]) -> Unit:
    """Return the unit whose activation correlates most with the truth, of either sign."""
    assert trace.cell is not None
    by_unit = _correlations(trace.cell.transpose(0, 1).flatten(0, 1).tanh().double(), truth).nan_to_num()
    index = int(by_unit.abs().argmax())
    return Unit(index, -1.0 if by_unit[index] < 0 else 1.0)


def reactions(
    reader: BraceReader, unit: Unit, text: MarkedText, generator: torch.Generator, later: int = 5
) -> list[Reaction]:
    """Return what a brace does to the unit, by brace and place, at once and `later` characters after it."""
    found = []
    for brace, token, depth in (("{", reader.braces.opening, 0), ("}", reader.braces.closing, 1)):
        for place, regions in PLACES.items():
            where = _trials(reader, text, depth, regions, later)
            found.append(Reaction(brace, place, *_tried(reader, unit, text, token, where, generator, later)))
    return found


def natural_braces(reader: BraceReader, texts: Sequence[MarkedText]) -> tuple[int, int]:
    """Return how many braces the comments and strings of texts hold themselves, and how many are answered rightly."""
    count = right = 0
    for text in texts:
        inert = torch.isin(text.tokens, torch.tensor(reader.braces)) & (text.region != Region.CODE)
        holding = inert.any(1).nonzero()[:, 0]
        if len(holding):
            some = text.rows(holding)
            agrees = reader.answers(some) == reader.open_after(some)
            count += int(inert.sum())
            right += int((agrees & inert[holding]).sum())
    return count, right


def _trials(
    reader: BraceReader, text: MarkedText, depth: int, regions: Collection[Region], later: int
) -> Bool[Tensor, "window time"]:
    """Return where a brace would tell at this depth and in these regions, with no brace among the next characters."""
    inside = torch.isin(text.region, torch.tensor([int(region) for region in regions]))
    is_brace = torch.isin(text.tokens, torch.tensor(reader.braces))
    followed = is_brace.long().unfold(1, later + 1, 1).sum(-1) > 0
    calm = torch.zeros_like(is_brace)
    calm[:, : followed.shape[1]] = ~followed
    where: Tensor = inside & calm & plantable(text, reader.vocabulary) & (text.depth(reader.braces) == depth)
    return where


def _tried(
    reader: BraceReader, unit: Unit, text: MarkedText, token: int, where: Tensor, generator: torch.Generator, later: int
) -> tuple[int, float, float, float]:
    chosen = where.any(1).nonzero()[:, 0]
    if not len(chosen):
        return 0, float("nan"), float("nan"), float("nan")
    place = torch.multinomial(where[chosen].double(), 1, generator=generator)
    plain = text.rows(chosen)
    changed = plain._replace(tokens=plain.tokens.scatter(1, place, token))
    moved = unit.activation(reader.trace(changed)) - unit.activation(reader.trace(plain))
    right = (reader.answers(changed) == reader.open_after(changed)).gather(1, place + later)
    at_once, at_last = (float(moved.gather(1, where_to).mean()) for where_to in (place, place + later))
    return len(chosen), at_once, at_last, float(right.double().mean())


def _correlations(values: Float[Tensor, "character unit"], truth: Tensor) -> Float[Tensor, " unit"]:
    stands = truth.flatten().double()
    stands, values = stands - stands.mean(), values - values.mean(0)
    by_unit: Tensor = (values * stands.unsqueeze(1)).sum(0) / (values.norm(dim=0) * stands.norm())
    return by_unit
