"""The frame of a page, and what can be folded in it."""

from __future__ import annotations

from html import escape
from importlib.resources import files


def framed(title: str, body: str) -> str:
    """Return a page whose body is given; its look is within.

    Args:
        title: Of the browser's window, not escaped yet.
        body: HTML.
    """
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"{body}</main>\n</body>\n</html>\n"
    )


def folding(title: str, content: str, unfolded: bool) -> str:
    """Return something under a line that folds it, such as a table that may be wider than the page.

    Example:
        >>> print(folding("Settings", "<table></table>", unfolded=False), end="")
        <details><summary>Settings</summary>
        <div class="wide"><table></table></div></details>
    """
    return (
        f"<details{' open' if unfolded else ''}><summary>{escape(title)}</summary>\n"
        f'<div class="wide">{content}</div></details>\n'
    )
