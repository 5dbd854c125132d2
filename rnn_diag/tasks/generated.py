"""A task whose sequences are drawn at random, not read: as many as wanted, of any length."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from rnn_diag.arguments import whole
from rnn_diag.batch import Batch
from rnn_diag.tasks.task import SequenceTask, TensorSequences


class GeneratedTask(SequenceTask):
    """A task that draws `train_size` training sequences, and `held_out_size` each for validation and test, once.

    Args:
        train_size: Training sequences.
        held_out_size: Validation sequences, and the same number of test sequences.
        batch_size: Sequences per batch and process.
        num_workers: Processes that fetch batches.
        seed: Determines the sequences and the order of training.
    """

    def __init__(
        self, train_size: int, held_out_size: int, batch_size: int = 32, num_workers: int = 0, seed: int = 0
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.train_size = whole("train_size", train_size, 1)
        self.held_out_size = whole("held_out_size", held_out_size, 1)
        self._drawn: dict[str, TensorSequences] = {}

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> Batch:
        """Return so many sequences, all drawn at once from this generator."""

    def sequences(self, split: str) -> TensorSequences:
        """Return the sequences of a split, drawn the first time."""
        if split not in self._drawn:
            count = self.train_size if split == "train" else self.held_out_size
            self._drawn[split] = TensorSequences(self.draw(count, self.generator(split)))
        return self._drawn[split]


def draw_integers(low: int | Tensor, high: int | Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` integers, each drawn evenly from its own `low` to `high - 1`."""
    share = torch.rand(count, generator=generator, dtype=torch.float64)
    return (low + share * (high - low)).long()


def draw_lengths(longest: int, shortest: int | None, count: int, generator: torch.Generator) -> Tensor | None:
    """Return the valid steps of each sequence, drawn evenly from `shortest` to `longest`; None when all are full."""
    return None if shortest is None else draw_integers(shortest, longest + 1, count, generator)


def check_lengths(sequence_length: int, min_length: int | None, smallest: int) -> tuple[int, int | None]:
    """Return the arguments `sequence_length` and `min_length` of a task that needs at least `smallest` steps.

    Raises:
        TypeError: If one is no integer.
        ValueError: If one is too small, or `min_length` exceeds `sequence_length`.
    """
    whole("sequence_length", sequence_length, smallest)
    if min_length is not None and whole("min_length", min_length, smallest) > sequence_length:
        raise ValueError(f"min_length={min_length}; expected at most sequence_length={sequence_length}, or null")
    return sequence_length, min_length
