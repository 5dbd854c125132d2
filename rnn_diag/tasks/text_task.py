"""What tasks on text share: the corpus, its vocabulary, and one long row of tokens per split."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from rnn_diag.arguments import one_of, whole
from rnn_diag.tasks.corpus import Passage, read_corpus
from rnn_diag.tasks.task import SequenceTask
from rnn_diag.tasks.vocabulary import Vocabulary


class TextTask(SequenceTask):
    """A task on the characters of text files; see `read_corpus` for what a path may be and how files are split.

    Args:
        path: A file, a folder or a glob; None reads the C++ headers of the installed torch.
        sequence_length: Characters per sequence.
        batch_size: Sequences per batch and process.
        max_characters: Characters of the corpus to read at most.
        minimum_count: A character that occurs less often than this in the training text is read as `<unk>`.
        unknown: `"token"` reads characters that training does not know as `<unk>`; `"error"` refuses them.
        num_workers: Processes that fetch batches.
        seed: Determines the order of training.
    """

    def __init__(
        self,
        path: str | None = None,
        sequence_length: int = 128,
        batch_size: int = 32,
        max_characters: int = 2_000_000,
        minimum_count: int = 5,
        unknown: str = "token",
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.path = path
        self.sequence_length = whole("sequence_length", sequence_length, 1)
        self.max_characters = whole("max_characters", max_characters, 1)
        self.minimum_count = whole("minimum_count", minimum_count, 1)
        self.unknown = one_of("unknown", unknown, ("token", "error"))

    @cached_property
    def corpus(self) -> Mapping[str, list[Passage]]:
        """The passages of every split."""
        return read_corpus(self.path, self.max_characters)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The characters of the training text."""
        text = "".join(passage.text for passage in self.corpus["train"])
        return Vocabulary.of(text, self.minimum_count, self.unknown)

    @cached_property
    def tokens(self) -> Mapping[str, Tensor]:
        """All tokens of every split: its passages end to end, with `<file>` wherever a file begins."""
        return {split: torch.cat([self.encode(passage) for passage in self.corpus[split]]) for split in self.corpus}

    def encode(self, passage: Passage) -> Tensor:
        """Return the tokens of a passage, led by `<file>` if it opens its file."""
        tokens = self.vocabulary.encode(passage.text)
        if passage.before:
            return tokens
        return torch.cat([torch.tensor([self.vocabulary.file_token], dtype=tokens.dtype), tokens])
