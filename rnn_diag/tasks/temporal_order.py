"""The temporal order problem: in which order did two widely separated symbols come?"""

from __future__ import annotations

from typing import Final

import torch

from rnn_diag.batch import Batch, TaskSpec
from rnn_diag.tasks.generated import GeneratedTask, check_lengths, draw_integers, draw_lengths

ALPHABET: Final = "abcdXYBE"
"""Token to symbol: four that distract, the two that matter, the beginning and the end."""

_DISTRACTORS: Final = 4
_X, _B, _E = (ALPHABET.index(symbol) for symbol in "XBE")


class TemporalOrder(GeneratedTask):
    """Name the two symbols that matter, in order, once the sequence has ended: XX, XY, YX or YY.

    A sequence begins with B, ends with E at its own last step, and holds random letters a to d but for two steps: one
    between a tenth and a fifth of the length, one between a half and three fifths, each X or Y. Steps past a sequence's
    own length hold token 0 and are to be left out by `Batch.lengths`.

    The baseline guesses: one of four classes is right.

    Args:
        sequence_length: Steps, at least 10.
        min_length: Draw each sequence's length from here to `sequence_length`; None makes all of them full.
        train_size: Training sequences.
        held_out_size: Validation sequences, and the same number of test sequences.
        batch_size: Sequences per batch and process.
        num_workers: Processes that fetch batches.
        seed: Determines the sequences and the order of training.

    Reference:
        Hochreiter, Schmidhuber 1997, Long short-term memory, section 5.6, task 6a, where the length is 100 to 110.
    """

    def __init__(
        self,
        sequence_length: int = 100,
        min_length: int | None = None,
        train_size: int = 20_000,
        held_out_size: int = 1_000,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(train_size, held_out_size, batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.sequence_length, self.min_length = check_lengths(sequence_length, min_length, smallest=10)

    def describe(self) -> TaskSpec:
        """Work out the `spec`."""
        return TaskSpec(
            target="class",
            input_size=len(ALPHABET),
            output_size=4,
            tokens=True,
            every_step=False,
            steps=self.sequence_length,
            baseline={"accuracy": 1 / 4},
            baseline_meaning="Guesses one of XX, XY, YX and YY.",
        )

    def draw(self, count: int, generator: torch.Generator) -> Batch:
        """Return so many sequences."""
        lengths = draw_lengths(self.sequence_length, self.min_length, count, generator)
        ends = torch.full((count,), self.sequence_length) if lengths is None else lengths
        inputs = torch.randint(_DISTRACTORS, (count, self.sequence_length), generator=generator)
        early = draw_integers(ends // 10, ends // 5, count, generator)
        late = draw_integers(ends // 2, 3 * ends // 5, count, generator)
        matters = torch.randint(2, (count, 2), generator=generator)
        inputs.scatter_(1, torch.stack([early, late], dim=1), _X + matters)
        inputs[:, 0] = _B
        inputs.scatter_(1, ends[:, None] - 1, _E)
        inputs.masked_fill_(torch.arange(self.sequence_length) >= ends[:, None], 0)
        return Batch(inputs, 2 * matters[:, 0] + matters[:, 1], lengths)
