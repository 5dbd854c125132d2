"""Windows of source text whose characters know their regions: braces are planted and counted, an excerpt is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from rnn_diag.tasks.braces import BraceWindows, LabelledText
from rnn_diag.tasks.lexer import Region
from rnn_diag.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


class BraceTokens(NamedTuple):
    """The tokens of the two curly braces."""

    opening: int
    closing: int

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> BraceTokens:
        """Return those of a vocabulary."""
        opening, closing = vocabulary.encode("{}").tolist()
        return cls(opening, closing)


class MarkedText(NamedTuple):
    """Windows of text.

    Attributes:
        tokens: What is read.
        region: The `Region` of every character.
        own: Whether a character is the text's own, not one of the braces that lead a window.
    """

    tokens: Int[Tensor, "window time"]
    region: Int[Tensor, "window time"]
    own: Bool[Tensor, "window time"]

    def depth(self, braces: BraceTokens) -> Int[Tensor, "window time"]:
        """Return how many braces are open after every character, those in comments and strings not counted.

        Example:
            >>> text = MarkedText(torch.tensor([[7, 7, 8, 7]]), torch.tensor([[0, 1, 0, 0]]), torch.ones(1, 4).bool())
            >>> text.depth(BraceTokens(7, 8)).tolist()
            [[1, 1, 0, 1]]
        """
        code = self.region == Region.CODE
        change = (code & (self.tokens == braces.opening)).long() - (code & (self.tokens == braces.closing)).long()
        balance = change.cumsum(1)
        return balance - balance.cummin(1).values.clamp(max=0)  # a closing brace at depth 0 stays at 0

    def rows(self, chosen: Tensor) -> MarkedText:
        """Return some of the windows."""
        return MarkedText(*(part[chosen] for part in self))


def marked_text(windows: BraceWindows, chosen: Sequence[int] | Tensor) -> MarkedText:
    """Return some windows of a task with the regions of their characters."""
    indices = torch.as_tensor(chosen)
    start = windows.starts[indices, None]
    offset = torch.arange(windows.steps) - windows.text.opened[start]
    own = offset >= 0
    region = windows.text.region[start + offset.clamp(min=0)].long()
    return MarkedText(windows.__getitems__(indices.tolist()).inputs, torch.where(own, region, int(Region.CODE)), own)


def plantable(text: MarkedText, vocabulary: Vocabulary) -> Bool[Tensor, "window time"]:
    """Return where a brace may take a character's place: letters, digits and spaces, which open and close nothing."""
    harmless = torch.tensor([len(name) == 1 and (name.isalnum() or name == " ") for name in vocabulary.names])
    return harmless[text.tokens] & text.own


def planted(text: MarkedText, vocabulary: Vocabulary, rate: float, generator: torch.Generator) -> MarkedText:
    """Return the text with random braces in place of a share of its letters, digits and spaces.

    What is a comment or a string stays one: only the depth changes, where a brace falls into code.
    """
    braces = BraceTokens.of(vocabulary)
    shape = text.tokens.shape
    hit = plantable(text, vocabulary) & (torch.rand(shape, generator=generator) < rate)
    opening = torch.rand(shape, generator=generator) < 0.5
    brace = torch.where(opening, braces.opening, braces.closing)
    return text._replace(tokens=torch.where(hit, brace, text.tokens))


def some_windows(windows: BraceWindows, count: int) -> MarkedText:
    """Return so many windows, or all there are, spread evenly over the text."""
    return marked_text(windows, torch.linspace(0, len(windows) - 1, min(count, len(windows))).long())


def joined(parts: Sequence[MarkedText]) -> MarkedText:
    """Return all windows of several texts."""
    return MarkedText(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


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
