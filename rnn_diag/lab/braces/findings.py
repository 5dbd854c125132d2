"""What a trained reader of braces does on files that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from rnn_diag.lab.braces.reader import BraceReader
from rnn_diag.lab.braces.text import joined, marked_text, planted, some_windows
from rnn_diag.lab.braces.unit import Reaction, Unit, find_unit, natural_braces, reactions
from rnn_diag.tasks import Braces
from rnn_diag.tasks.lexer import Region
from rnn_diag.trace import Trace

HELD_OUT: Final = ("validation", "test")
"""The splits that are measured."""

_WINDOWS: Final = 400  # of each split: what is traced


@dataclass(frozen=True)
class Found:
    """What was measured on text that was never trained on.

    Attributes:
        unit: The one that keeps the open brace; chosen on training text.
        accuracy: Of the answers.
        guessing: Accuracy of always saying the commoner answer.
        correlation: Of the unit with the truth.
        comment_unit: The one that shows most whether this is a comment or a string; chosen on training text.
        in_comment: Its correlation with that.
        reactions: What planted braces do.
        natural: Braces that the comments and strings of the text hold themselves, and how many are answered rightly.
        trace: What the LSTM went through.
    """

    unit: Unit
    accuracy: float
    guessing: float
    correlation: float
    comment_unit: Unit
    in_comment: float
    reactions: list[Reaction]
    natural: tuple[int, int]
    trace: Trace

    def right(self, place: str) -> float:
        """Return the share of right answers after planted braces of both kinds."""
        there = [one for one in self.reactions if one.place == place and one.events]
        return sum(one.right * one.events for one in there) / max(1, sum(one.events for one in there))

    def change(self, brace: str, place: str) -> float:
        """Return how far a planted brace has moved the unit some characters later."""
        return next(one.later for one in self.reactions if (one.brace, one.place) == (brace, place))


def measured(task: Braces, reader: BraceReader, planted_rate: float, seed: int) -> Found:
    """Choose the units on training text and measure them on held-out text.

    Args:
        task: The text.
        reader: The trained network.
        planted_rate: Share of letters, digits and spaces that braces replace in the text for choosing: without them, a
            unit that counts every brace looks as good.
        seed: Of what is planted.
    """
    generator = torch.Generator().manual_seed(seed)
    unit, comment_unit = _chosen_units(task, reader, planted_rate, generator)
    whole = [marked_text(windows, range(len(windows))) for windows in map(task.sequences, HELD_OUT)]
    said = [(reader.answers(text), reader.open_after(text)) for text in whole]
    opened = torch.cat([truth.flatten() for _, truth in said]).double().mean()
    text = joined([some_windows(task.sequences(split), _WINDOWS) for split in HELD_OUT])
    trace = reader.trace(text)
    return Found(
        unit,
        accuracy=float(torch.cat([(answer == truth).flatten() for answer, truth in said]).double().mean()),
        guessing=float(torch.maximum(opened, 1 - opened)),
        correlation=unit.correlation(trace, reader.open_after(text) == 1),
        comment_unit=comment_unit,
        in_comment=comment_unit.correlation(trace, text.region != Region.CODE),
        reactions=reactions(reader, unit, text, generator),
        natural=natural_braces(reader, whole),
        trace=trace,
    )


def _chosen_units(
    task: Braces, reader: BraceReader, planted_rate: float, generator: torch.Generator
) -> tuple[Unit, Unit]:
    text = some_windows(task.sequences("train"), _WINDOWS)
    text = planted(text, reader.vocabulary, planted_rate, generator)
    trace = reader.trace(text)
    return find_unit(trace, reader.open_after(text) == 1), find_unit(trace, text.region != Region.CODE)
