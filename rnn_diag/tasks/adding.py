"""The adding problem: sum the two marked numbers of a long row of random ones."""

from __future__ import annotations

import torch

from rnn_diag.batch import Batch, TaskSpec
from rnn_diag.tasks.generated import GeneratedTask, check_lengths, draw_integers, draw_lengths


class Adding(GeneratedTask):
    r"""Return the sum of two marked numbers, once the sequence has ended.

    Feature 0 is a number drawn evenly from 0 to 1 at every step; feature 1 is 1 at two steps, else 0. One
    marked step lies in the first half of the sequence and one in the second, so what must be remembered lasts longer
    the longer the sequence is. Steps past a sequence's own length are zero.

    The baseline always answers 1, the mean: its mean squared error is the variance of the sum,
    :math:`2 \cdot 1/12 = 1/6`.

    Args:
        sequence_length: Steps, at least 2.
        min_length: Draw each sequence's length from here to `sequence_length`; None makes all of them full.
        train_size: Training sequences.
        held_out_size: Validation sequences, and the same number of test sequences.
        batch_size: Sequences per batch and process.
        num_workers: Processes that fetch batches.
        seed: Determines the sequences and the order of training.

    Reference:
        Hochreiter, Schmidhuber 1997, Long short-term memory, section 5.4, in the form with numbers from 0 to 1 and a
        target that is the plain sum.
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
        self.sequence_length, self.min_length = check_lengths(sequence_length, min_length, smallest=2)

    def describe(self) -> TaskSpec:
        """Work out the `spec`."""
        return TaskSpec(
            target="value",
            input_size=2,
            output_size=1,
            tokens=False,
            every_step=False,
            steps=self.sequence_length,
            baseline={"mse": 1 / 6},
            baseline_meaning="Always answers 1, the mean of the sum of two numbers drawn from 0 to 1.",
        )

    def draw(self, count: int, generator: torch.Generator) -> Batch:
        """Return so many sequences."""
        lengths = draw_lengths(self.sequence_length, self.min_length, count, generator)
        ends = torch.full((count,), self.sequence_length) if lengths is None else lengths
        values = torch.rand(count, self.sequence_length, generator=generator)
        first = draw_integers(0, ends // 2, count, generator)
        second = draw_integers(ends // 2, ends, count, generator)
        marked = torch.stack([first, second], dim=1)
        marks = torch.zeros_like(values).scatter_(1, marked, 1.0)
        valid = torch.arange(self.sequence_length) < ends[:, None]
        total = values.gather(1, marked).sum(dim=1, keepdim=True)
        return Batch(torch.stack([values * valid, marks], dim=2), total, lengths)
