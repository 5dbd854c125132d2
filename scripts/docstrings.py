"""What the site makes of docstrings: equations as MathML, which browsers draw by themselves, and examples as code."""

from __future__ import annotations

import re
from typing import Any

import griffe
from latex2mathml.converter import convert

EQUATION = re.compile(r"^( *)\.\. math::((?:.*\n?)(?:\1 +\S.*\n?)*)", re.MULTILINE)
INLINE = re.compile(r":math:`([^`]+)`")
EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Rewrites the docstring of every object that is loaded."""

    def on_object(self, *, obj: griffe.Object, **arguments: Any) -> None:
        """Rewrite one, if there is one."""
        if obj.docstring is not None:
            text = EXAMPLE.sub(r"\1Examples:", EQUATION.sub(_drawn, obj.docstring.value))
            obj.docstring.value = INLINE.sub(lambda found: convert(found[1]), text)


def _drawn(found: re.Match[str]) -> str:
    indent, text = found.groups()
    return f"{indent}<div>{convert(' '.join(text.split()), display='block')}</div>\n"
