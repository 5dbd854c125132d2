"""Which layers are meant: glob patterns of their names."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase


def matching(names: list[str], patterns: str | Iterable[str], possible: Collection[str] = ()) -> list[str]:
    """Return the names that match a glob pattern or any of several, and then those that may yet come up.

    Raises:
        ValueError: If a pattern matches none.
    """
    chosen: list[str] = []
    for pattern in patterns_in(patterns):
        hits = [name for name in (*names, *possible) if fnmatchcase(name, pattern)]
        if not hits and not (pattern == "*" and not names):
            raise ValueError(f"no recurrent layer matches {pattern!r}; found: {', '.join(names) or 'none'}")
        chosen += hits
    return [name for name in dict.fromkeys((*names, *possible)) if name in chosen]


def patterns_in(layers: str | Iterable[str]) -> list[str]:
    """Return the patterns in what was given as `layers`.

    Raises:
        TypeError: If it is neither a pattern nor several.
        ValueError: If it is empty.
    """
    patterns = [layers] if isinstance(layers, str) else list(layers) if isinstance(layers, Iterable) else [layers]
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError(f"layers={layers!r}; expected a glob pattern such as 'encoder.*', or a list of them")
    if not patterns:
        raise ValueError(f"layers={layers!r}; expected at least one glob pattern, such as '*' for all layers")
    return patterns
