"""The copy task: repeat, after a long delay, the symbols that were shown at the beginning."""

from __future__ import annotations

import math

import torch

from rnn_diag.arguments import whole
from rnn_diag.batch import IGNORED_TARGET, Batch, TaskSpec
from rnn_diag.tasks.generated import GeneratedTask


class CopyMemory(GeneratedTask):
    r"""Repeat `symbols` random symbols, in order, `delay` steps after they ended.

    The tokens are `alphabet` symbols `0 … alphabet - 1`, a blank (`alphabet`) and a go sign (`alphabet + 1`). A
    sequence is: the symbols; `delay` steps, blank but for the last, which is the go sign; and as many blanks as there
    were symbols, during which they are to be repeated. Only these last steps count: all other targets are
    `IGNORED_TARGET`, since to answer "blank" there is no feat and would hide a failure in the average.

    The baseline guesses the symbol: it is right once in `alphabet` times, at a cross-entropy of
    :math:`\ln \text{alphabet}` nats per symbol to repeat.

    Args:
        delay: Steps between the last symbol shown and the first one repeated, at least 1.
        symbols: Symbols to remember.
        alphabet: Different symbols, at least 2.
        train_size: Training sequences.
        held_out_size: Validation sequences, and the same number of test sequences.
        batch_size: Sequences per batch and process.
        num_workers: Processes that fetch batches.
        seed: Determines the sequences and the order of training.

    Reference:
        Arjovsky, Shah, Bengio 2016, Unitary evolution recurrent neural networks, section 4.1,
        https://arxiv.org/abs/1511.06464, after Hochreiter and Schmidhuber 1997; there all steps count.
    """

    def __init__(
        self,
        delay: int = 50,
        symbols: int = 10,
        alphabet: int = 8,
        train_size: int = 20_000,
        held_out_size: int = 1_000,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(train_size, held_out_size, batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.delay = whole("delay", delay, 1)
        self.symbols = whole("symbols", symbols, 1)
        self.alphabet = whole("alphabet", alphabet, 2)

    def describe(self) -> TaskSpec:
        """Work out the `spec`."""
        return TaskSpec(
            target="class",
            input_size=self.alphabet + 2,
            output_size=self.alphabet,
            tokens=True,
            every_step=True,
            steps=2 * self.symbols + self.delay,
            baseline={"accuracy": 1 / self.alphabet, "cross_entropy": math.log(self.alphabet)},
            baseline_meaning=f"Guesses one of the {self.alphabet} symbols at every step that counts.",
        )

    def draw(self, count: int, generator: torch.Generator) -> Batch:
        """Return so many sequences."""
        shown = torch.randint(self.alphabet, (count, self.symbols), generator=generator)
        inputs = torch.full((count, self.spec.steps), self.alphabet)
        targets = torch.full_like(inputs, IGNORED_TARGET)
        inputs[:, : self.symbols] = shown
        inputs[:, self.symbols + self.delay - 1] = self.alphabet + 1
        targets[:, -self.symbols :] = shown
        return Batch(inputs, targets)
