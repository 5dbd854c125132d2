"""How deep are the open curly braces here? Asked at every character of real C++ text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnn_diag.arguments import whole
from rnn_diag.batch import Batch, TaskSpec
from rnn_diag.tasks.corpus import Passage
from rnn_diag.tasks.lexer import Region, code_points, lex
from rnn_diag.tasks.task import SequenceDataset
from rnn_diag.tasks.text_task import TextTask


class LabelledText(NamedTuple):
    """Tokens end to end, with what the lexer says of each.

    Attributes:
        tokens: `[N]`, with `<file>` where a file begins.
        opened: `[N]` open curly braces before the token.
        depth: `[N]` open curly braces after the token, not clipped.
        region: `[N]` the token's `Region`.
        starts: `[N]` whether a window may start here: at the beginning of a file, or of a line that begins in code.
        cut: `[N]` whether the token does not follow the one before it: a piece of a file that does not open the file.
    """

    tokens: Tensor
    opened: Tensor
    depth: Tensor
    region: Tensor
    starts: Tensor
    cut: Tensor


class BraceWindows(SequenceDataset):
    """Windows of labelled text, each led by as many `{` as are open where it starts."""

    def __init__(self, text: LabelledText, starts: Tensor, steps: int, brace: int, max_depth: int) -> None:
        self.text = text
        self.starts = starts
        self.steps = steps
        self.brace = brace
        self.max_depth = max_depth

    def __len__(self) -> int:
        return len(self.starts)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        start = self.starts[torch.as_tensor(indices), None]
        opened = self.text.opened[start]
        offset = torch.arange(self.steps) - opened
        leads = offset < 0
        position = start + offset.clamp(min=0)
        inputs = self.text.tokens[position].masked_fill(leads, self.brace)
        depth = torch.where(leads, opened + offset + 1, self.text.depth[position])
        return Batch(inputs.long(), depth.clamp(max=self.max_depth).long())


class Braces(TextTask):
    """Label every character with the number of curly braces that are open after it.

    A brace in a comment, a string, a character literal or a raw string does not count: the network must remember the
    open brace until it is closed, and ignore one inside a comment. `{` already counts itself; at its `}` the brace is
    closed. Depths from `max_depth` on are one class.

    A window of the text starts at the beginning of a line, in code, somewhere in a file, where `d` braces are already
    open. Nobody could know this `d`, so the window begins with `d` characters `{` in place of the text that opened
    them, and with that every label follows from the window alone. The windows are shuffled and no state is carried.
    A window may run past the end of its file; `<file>` marks the beginning of the next, where the depth is 0.
    Places where more braces are open than a quarter of the window (an `#if` with an `#else` that both open one, many
    times over) start no window.

    The baseline is the accuracy, on validation, of always saying the depth that is the most frequent one in training.

    Args:
        max_depth: The deepest class: 5 gives the six classes 0, 1, 2, 3, 4, and 5 or more.

    The other arguments are those of `TextTask`.
    """

    def __init__(
        self,
        path: str | None = None,
        max_depth: int = 5,
        sequence_length: int = 128,
        batch_size: int = 32,
        max_characters: int = 2_000_000,
        minimum_count: int = 5,
        unknown: str = "token",
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            path,
            sequence_length,
            batch_size,
            max_characters,
            minimum_count,
            unknown,
            num_workers=num_workers,
            seed=seed,
        )
        self.max_depth = whole("max_depth", max_depth, 1)

    @cached_property
    def labelled(self) -> Mapping[str, LabelledText]:
        """All tokens of every split with their depths and regions."""
        return {split: self._label(passages) for split, passages in self.corpus.items()}

    def describe(self) -> TaskSpec:
        """Work out the `spec`."""
        train, validation = (self.labelled[split].depth.clamp(max=self.max_depth) for split in ("train", "validation"))
        majority = torch.bincount(train).argmax()
        return TaskSpec(
            target="class",
            input_size=len(self.vocabulary),
            output_size=self.max_depth + 1,
            tokens=True,
            every_step=True,
            steps=self.sequence_length,
            baseline={"accuracy": float((validation == majority).double().mean())},
            baseline_meaning=f"Always says depth {int(majority)}, the most frequent one in the training text.",
        )

    def sequences(self, split: str) -> BraceWindows:
        """Return the windows of a split: about one per `sequence_length` characters.

        Raises:
            ValueError: If no window fits.
        """
        text = self.labelled[split]
        usable = _window_starts(text, self.sequence_length)
        if len(usable) == 0:
            raise ValueError(
                f"sequence_length={self.sequence_length} fits nowhere in the {split} text of path={self.path!r}: "
                f"{len(text.tokens)} characters in {len(self.corpus[split])} file(s); expected room for a window that "
                "starts with a line of code"
            )
        wanted = torch.arange(0, len(text.tokens), self.sequence_length)
        chosen = np.unique(torch.searchsorted(usable, wanted).clamp(max=len(usable) - 1).numpy())
        brace = int(self.vocabulary.encode("{")[0])
        return BraceWindows(text, usable[torch.from_numpy(chosen)], self.sequence_length, brace, self.max_depth)

    def _label(self, passages: list[Passage]) -> LabelledText:
        lexed = [_label_characters(passage) for passage in passages]
        labels = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*lexed, strict=True))
        return LabelledText(torch.cat([self.encode(passage) for passage in passages]), *labels)


def _label_characters(passage: Passage) -> tuple[NDArray[np.generic], ...]:
    """Return `opened`, `depth`, `region`, `starts` and `cut` of every character, after `<file>` where a file opens."""
    text = passage.before + passage.text
    depth, region = lex(text)
    opened = np.concatenate([[np.int32(0)], depth[:-1]])
    begins_line = np.concatenate([[True], code_points(text)[:-1] == ord("\n")])
    columns = (opened, depth, region, begins_line & (region == Region.CODE), np.zeros(len(text), dtype=bool))
    if not passage.before:
        of_file_token = (0, 0, Region.CODE, True, False)
        return tuple(np.insert(column, 0, first) for column, first in zip(columns, of_file_token, strict=True))
    columns[-1][len(passage.before)] = True
    return tuple(column[len(passage.before) :] for column in columns)


def _window_starts(text: LabelledText, steps: int) -> Tensor:
    """Return where a window of so many steps can start, fit, hold its leading braces, and be labelled from itself."""
    starts = torch.nonzero(text.starts & (text.opened <= steps // 4))[:, 0]
    starts = starts[starts + steps <= len(text.tokens)]
    cuts_until = text.cut.cumsum(0)
    return starts[cuts_until[starts] == cuts_until[starts + steps - 1]]
