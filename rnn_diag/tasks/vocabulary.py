"""The characters that a text task knows, and the numbers that stand for them."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from rnn_diag.arguments import one_of, whole
from rnn_diag.tasks.lexer import code_points

UNKNOWN: Final = "<unk>"
"""Stands for every character that was rare or absent in training."""

FILE: Final = "<file>"
"""Stands before the first character of every file."""

_SPECIAL: Final = {UNKNOWN: "\N{REPLACEMENT CHARACTER}", FILE: "\N{SYMBOL FOR FILE SEPARATOR}"}
_UNICODE_SIZE: Final = 0x110000
_ABSENT: Final = -1


class Vocabulary:
    """Characters as tokens: token 0 is `<unk>`, token 1 is `<file>`, then the known characters in Unicode order.

    Args:
        characters: The characters to know; the order and repetitions do not matter.
        unknown: What becomes of any other character: `"token"` reads it as `<unk>`, `"error"` refuses it.
    """

    def __init__(self, characters: str, unknown: str = "token") -> None:
        self.unknown = one_of("unknown", unknown, ("token", "error"))
        self.characters = "".join(sorted(set(characters)))
        self.names = [*_SPECIAL, *self.characters]
        known = code_points(self.characters)
        self._token_of = np.full(_UNICODE_SIZE, 0 if unknown == "token" else _ABSENT, dtype=np.int32)
        self._token_of[known] = np.arange(len(_SPECIAL), len(self))

    @classmethod
    def of(cls, text: str, minimum_count: int = 1, unknown: str = "token") -> Vocabulary:
        """Return the vocabulary of the characters that occur at least `minimum_count` times in a text.

        With `unknown="error"` there is no token for the rare ones, so every character of the text is known.
        """
        whole("minimum_count", minimum_count, 1)
        counts = np.bincount(code_points(text), minlength=1)
        frequent = np.flatnonzero(counts >= (1 if unknown == "error" else minimum_count))
        return cls("".join(map(chr, frequent)), unknown)

    def __len__(self) -> int:
        """Return the number of tokens, `<unk>` and `<file>` included."""
        return len(self.names)

    @property
    def file_token(self) -> int:
        """The token that stands before every file."""
        return self.names.index(FILE)

    def encode(self, text: str) -> Tensor:
        """Return one token per character, as 32-bit integers.

        Raises:
            ValueError: If a character is not known and `unknown="error"`.
        """
        tokens = self._token_of[code_points(text)]
        if self.unknown == "error" and len(tokens) and tokens.min() == _ABSENT:
            first = int(np.argmin(tokens))
            raise ValueError(
                f"character {text[first]!r} (U+{ord(text[first]):04X}) at position {first} does not occur in the "
                f"training text; expected one of {self.characters!r}, or unknown='token' to read it as {UNKNOWN}"
            )
        return torch.from_numpy(tokens)

    def decode(self, tokens: Tensor) -> str:
        """Return one character per token, where `<unk>` shows as U+FFFD and `<file>` as U+241C."""
        shown = [*_SPECIAL.values(), *self.characters]
        return "".join(shown[token] for token in tokens.tolist())
