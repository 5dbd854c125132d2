"""A lexer for C and C++ that knows one thing: which characters are code, and how deep in curly braces each one lies.

Curly braces in comments, strings, character literals and raw strings are text, not structure, and open nothing. The
lexer looks at one source text without preprocessing it: both branches of an `#if` are read, and where they open a brace
twice and close it once, the depth stays too high to the end of the file. A closing brace at depth 0 leaves depth 0.
Digraphs (`<%`) and a comment mark that is itself cut by a line continuation are not recognised.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Region(IntEnum):
    """What a character belongs to. The marks that open and close a region, `//` or `"`, are part of it."""

    CODE = 0
    COMMENT = 1
    STRING = 2
    CHARACTER = 3


class Lexed(NamedTuple):
    """What the lexer knows of every character of a text.

    Attributes:
        depth: Open curly braces after this character: `{` already counts itself, `}` no longer counts its partner.
        region: The `Region` of the character.
    """

    depth: NDArray[np.int32]
    region: NDArray[np.uint8]


# Every alternative starts with a plain character, so that the regex engine skips at full speed to the next candidate.
# A number is matched only so that the digit separator of 1'000 opens no character literal. A quote that is not closed
# on its line, such as the apostrophe in `#error don't`, matches nothing and stays code.
_NOT_PLAIN: Final = re.compile(
    r"""
      (?P<comment>   //[^\\\n]*+ (?: \\(?:\r?\n)? [^\\\n]*+ )*+
                   | /\*(?: [\s\S]*?\*/ | [\s\S]*+ ) )
    | (?P<raw>       R(?: (?<=\bR) | (?<=\b[LuU]R) | (?<=\bu8R) )
                     "(?P<delimiter>[^\s()\\"]{0,16})\( (?: [\s\S]*?\)(?P=delimiter)" | [\s\S]*+ ) )
    | (?P<string>    "[^"\\\n]*+ (?: \\(?:\r\n|[\s\S]) [^"\\\n]*+ )*+ " )
    | (?P<character> '[^'\\\n]*+ (?: \\(?:\r\n|[\s\S]) [^'\\\n]*+ )*+ ' )
    | (?P<number>    [0-9](?<!\w[0-9]) (?: '?\w | (?<=[eEpP])[+-] | \. )*+ )
    """,
    re.VERBOSE,
)
_REGION: Final = {
    "comment": Region.COMMENT,
    "raw": Region.STRING,
    "string": Region.STRING,
    "character": Region.CHARACTER,
}


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the Unicode code point of every character."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def lex(text: str) -> Lexed:
    """Return the brace depth and the region of every character of a C or C++ source text.

    Example:
        >>> lexed = lex('a{"}"}')
        >>> lexed.depth.tolist()
        [0, 1, 1, 1, 1, 0]
        >>> [Region(kind).name for kind in lexed.region[1:4]]
        ['CODE', 'STRING', 'STRING']
    """
    region = np.zeros(len(text), dtype=np.uint8)
    for match in _NOT_PLAIN.finditer(text):
        kind = match.lastgroup
        if kind in _REGION:
            region[match.start() : match.end()] = _REGION[kind]
    return Lexed(_brace_depth(code_points(text), region), region)


def _brace_depth(points: NDArray[np.uint32], region: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the depth, where a closing brace at depth 0 stays at 0.

    The running sum of +1 and -1, lifted by as much as it ever went below 0 so far, is that depth.
    """
    code = region == Region.CODE
    change = (code & (points == ord("{"))).astype(np.int32) - (code & (points == ord("}"))).astype(np.int32)
    balance = np.cumsum(change, dtype=np.int32)
    depth: NDArray[np.int32] = balance - np.minimum(np.minimum.accumulate(balance), 0) if len(balance) else balance
    return depth
