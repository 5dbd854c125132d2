"""Character-level language model on real text, in streams that go on from batch to batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnn_diag.batch import Batch, TaskSpec
from rnn_diag.tasks.task import SequenceDataset
from rnn_diag.tasks.text_task import TextTask


class Streams(SequenceDataset):
    """A long row of tokens cut into streams of equal length, each of which is cut into pieces of equal length.

    Item `i` is piece `i // streams` of stream `i % streams`. Read in this order, `streams` items at a time, row `b` of
    every batch goes on where row `b` of the batch before ended. With `W` processes that take every `W`-th item each,
    `streams / W` items at a time, the same holds in each process, and no stream is seen by two of them.
    What is left over at the end of the row, less than one piece per stream, is not used.
    """

    def __init__(self, tokens: Tensor, streams: int, piece: int) -> None:
        self.tokens = tokens
        self.streams = streams
        self.piece = piece
        self.pieces = (len(tokens) - 1) // streams // piece

    def __len__(self) -> int:
        return self.streams * self.pieces

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        item = torch.as_tensor(indices)
        piece, stream = item // self.streams, item % self.streams
        start = (stream * self.pieces + piece) * self.piece
        window = self.tokens[start[:, None] + torch.arange(self.piece + 1)].long()
        return Batch(window[:, :-1], window[:, 1:], continues=bool((piece > 0).all()))


class SourceText(TextTask):
    """Predict the next character, with the state carried from batch to batch (truncated backpropagation through time).

    Each of the `batch_size` rows is a stream: a stretch of the training text that is read from front to end once per
    epoch, `sequence_length` characters per batch. `Batch.continues` is True except in the first batch of an epoch, and
    then the state that row `b` ended with belongs to row `b`. A stream starts anywhere in a file and runs on
    into the next file, whose beginning is marked by the token `<file>`; the state is carried across it, and to forget
    there is for the model to learn. With several processes, each has streams of its own: the text is cut into
    `batch_size` times as many streams as there are processes.

    Validation and test text that is too short for `batch_size` streams is read in fewer.

    The baseline is the cross-entropy of the validation text under the frequencies of the training text's characters.
    """

    shuffles = False

    def describe(self) -> TaskSpec:
        """Work out the `spec`."""
        self.sequences("train")
        return TaskSpec(
            target="next_token",
            input_size=len(self.vocabulary),
            output_size=len(self.vocabulary),
            tokens=True,
            every_step=True,
            steps=self.sequence_length,
            baseline={"bits_per_character": self._unigram_bits()},
            baseline_meaning="Predicts every character from how often it occurs in the training text.",
        )

    def sequences(self, split: str) -> Streams:
        """Return the streams of a split, cut into pieces.

        Raises:
            ValueError: If the text is too short for the streams.
        """
        tokens = self.tokens[split]
        streams = self.rows_per_batch(split) * self.world_size
        pieces = Streams(tokens, max(1, streams), self.sequence_length)
        if streams == 0 or len(pieces) == 0:
            rows = self.batch_size * self.world_size if split == "train" else self.world_size
            raise ValueError(
                f"sequence_length={self.sequence_length} in {rows} stream(s) needs {self.sequence_length * rows + 1} "
                f"characters; the {split} text of path={self.path!r} has {len(tokens)}; "
                f"lower sequence_length or batch_size, or give more text"
            )
        return pieces

    def rows_per_batch(self, split: str) -> int:
        """Return the streams per process: `batch_size`, or fewer where a short text is validated or tested on."""
        if split == "train":
            return self.batch_size
        return min(self.batch_size, (len(self.tokens[split]) - 1) // self.sequence_length // self.world_size)

    def _unigram_bits(self) -> float:
        return unigram_bits(self.tokens["train"], self.tokens["validation"], len(self.vocabulary))


def unigram_bits(train: Tensor, text: Tensor, tokens: int) -> float:
    """Return the bits per token that a text costs under the token frequencies of another.

    Every token's count is one more than was counted, so that a token which training never met costs finitely many bits.

    Example:
        >>> bits = unigram_bits(torch.tensor([0, 1, 1]), torch.tensor([0, 0]), tokens=2)
        >>> round(bits, 6)  # log2(5 / 2)
        1.321928
    """
    counts = torch.bincount(train, minlength=tokens).double() + 1
    bits = -torch.log2(counts / counts.sum())
    return float(bits[text.long()].mean())
