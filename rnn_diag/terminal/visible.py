"""Text of others on a terminal: what would command it is shown instead."""

from __future__ import annotations

import re

_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    r"""Return a text with its control characters as Python writes them; lines and tabs stay.

    A module may be called anything, and an error may say anything, also what clears the screen or renames its window.

    Example:
        >>> visible("encoder\x1b[2J.l0")
        'encoder\\x1b[2J.l0'
    """
    return _COMMANDS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
