"""The stretch of held-out text that shows most: a brace in a comment that a careless reader would count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from rnn_diag.lab.marked_text import BraceTokens, MarkedText
from rnn_diag.tasks.braces import LabelledText
from rnn_diag.tasks.lexer import Region

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


class Excerpt(NamedTuple):
    """Text that begins where no brace is open.

    Attributes:
        text: One window.
        telling: The places of its telling braces.
    """

    text: MarkedText
    telling: list[int]


def telling_braces(text: LabelledText, braces: BraceTokens) -> Bool[Tensor, " character"]:
    """Return which braces outside code would change whether one is open, if they were taken for real.

    That is `{` where none is open and `}` where one is.
    """
    opens = (text.tokens == braces.opening) & (text.depth == 0)
    closes = (text.tokens == braces.closing) & (text.depth == 1)
    return (text.region != Region.CODE) & (opens | closes)


def best_excerpt(labelled: Mapping[str, LabelledText], braces: BraceTokens, length: int) -> Excerpt | None:
    """Return the excerpt with a telling brace in which braces open and close most often; None if there is none.

    Nothing that a network says has a part in the choice. Of several equal ones the first is taken.

    Args:
        labelled: Text by split.
        braces: Their tokens.
        length: In characters.
    """
    best: tuple[int, LabelledText, int] | None = None
    for text in labelled.values():
        starts = _starts(text, telling_braces(text, braces), length)
        if len(starts):
            is_open = (text.depth > 0).long()
            turns = _before((is_open[1:] != is_open[:-1]).long())
            scores = turns[starts + length - 1] - turns[starts]
            score = int(scores.max())
            if best is None or score > best[0]:
                best = score, text, int(starts[int(scores.argmax())])
    if best is None:
        return None
    _, text, start = best
    span = slice(start, start + length)
    window = MarkedText(text.tokens[span].long()[None], text.region[span].long()[None], torch.ones(1, length).bool())
    return Excerpt(window, telling_braces(text, braces)[span].nonzero()[:, 0].tolist())


def _starts(text: LabelledText, telling: Tensor, length: int) -> Int[Tensor, " start"]:
    """Return where an excerpt can begin: a line of code, no brace open, whole, and with a telling brace inside."""
    starts = (text.starts & (text.opened == 0)).nonzero()[:, 0]
    starts = starts[starts + length <= len(text.tokens)]
    told, cuts = _before(telling.long()), _before(text.cut.long())
    inside = told[starts + length] > told[starts]
    whole = cuts[starts + length] == cuts[starts + 1]
    return starts[inside & whole]


def _before(counts: Tensor) -> Tensor:
    """Return how many there are before every place, and in all at the end."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
