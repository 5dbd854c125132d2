"""The text files behind a path: each regular file once, read up to a bound; everything else is skipped and counted."""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

ANY_DEPTH: Final = "**"

NO_FILES: Final = "that are no regular files or cannot be reached"
AGAIN: Final = "that are another file again"
UNREADABLE: Final = "that cannot be read"
NOT_TEXT: Final = "that are not UTF-8 text"


class Found(NamedTuple):
    """What lies behind a path.

    Attributes:
        files: The regular files by their relative names, in the order of the names' hashes.
        skipped: How many other entries there are, by what is wrong with them.
    """

    files: dict[str, Path]
    skipped: Counter[str]


def find_files(path: str | None) -> Found:
    """Return the files behind a path, each once, however many names lead to it.

    Below a folder, and at a `**`, links to folders are not followed; a link to a file counts as that file.

    Args:
        path: A file, a folder or a glob, as `read_corpus` takes it.

    Raises:
        ValueError: If there are no files.
    """
    whole = _torch_headers() if path is None else Path(path).expanduser()
    entries = [whole] if os.path.isfile(whole) else list(_below(*_root_and_pattern(whole)))
    skipped: Counter[str] = Counter()
    regular = [entry for entry in entries if _is_regular(entry, skipped)]
    if not regular:
        other = f"; it holds {sum(skipped.values())} {NO_FILES}" if skipped else ""
        raise ValueError(
            f"path={path!r} matches no file; expected a file, a folder, a glob such as 'src/**/*.py', or null{other}"
        )
    root = whole if os.path.isdir(whole) else Path(os.path.commonpath([entry.parent for entry in regular]))
    by_name = {entry.relative_to(root).as_posix(): entry for entry in regular}
    return Found(_each_once(dict(sorted(by_name.items(), key=_by_hash)), skipped), skipped)


def read_text(file: Path, max_characters: int) -> str:
    r"""Return the start of a UTF-8 text file, with every line end as `\n` and without a byte order mark.

    Raises:
        ValueError: If the file is not text.
        OSError: If it is no regular file or cannot be read.
    """
    with open(file, encoding="utf-8-sig", opener=_without_waiting) as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{file} is no regular file")
        if status.st_size == 0:
            return ""  # The files of /proc say so, too, and reading some of them never ends.
        try:
            text = stream.read(max_characters)
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not text: {error.reason} at byte {error.start}; expected UTF-8") from None
    if "\0" in text:
        raise ValueError(
            f"{file} is not text: it holds a zero byte after {text.index(chr(0))} characters; expected UTF-8"
        )
    return text


def _without_waiting(file: str, flags: int) -> int:
    """Open a file; a pipe, too, to which nobody writes."""
    return os.open(file, flags | getattr(os, "O_NONBLOCK", 0))


def _torch_headers() -> Path:
    import torch

    return Path(torch.__file__).parent / "include"


def _root_and_pattern(path: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the longest part of a path that is a folder, and what its files must match below."""
    if os.path.isdir(path):
        return path, (ANY_DEPTH,)
    root = next((parent for parent in path.parents if os.path.isdir(parent)), path)
    pattern = path.relative_to(root).parts
    return root, pattern if any(map(glob.has_magic, pattern)) else ()


def _below(root: Path, pattern: tuple[str, ...]) -> Iterator[Path]:
    """Yield what matches a glob's parts; names that start with a dot only where the pattern does."""
    waiting, seen = [(root, pattern)], set()
    while waiting:
        folder, parts = waiting.pop()
        if not parts or (folder, parts) in seen:
            continue
        seen.add((folder, parts))
        first, rest = parts[0], parts[1:]
        if first == ANY_DEPTH:
            waiting.append((folder, rest or ("*",)))
        for entry in _entries(folder):
            if first == ANY_DEPTH:
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                    waiting.append((folder / entry.name, parts))
            elif fnmatchcase(entry.name, first) and (first.startswith(".") or not entry.name.startswith(".")):
                if rest:
                    waiting.append((folder / entry.name, rest))
                elif not _is_folder(entry):
                    yield folder / entry.name


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # no folder, or one that may not be read
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _is_regular(entry: Path, skipped: Counter[str]) -> bool:
    """Return whether an entry leads to a regular file; count it as skipped if not."""
    try:
        regular = stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        regular = False
    skipped[NO_FILES] += not regular
    return regular


def _each_once(files: dict[str, Path], skipped: Counter[str]) -> dict[str, Path]:
    """Return the files without further names of the same file: its own name rather than a link, else the first."""
    chosen: dict[tuple[int, int], str] = {}
    for name, file in sorted(files.items(), key=lambda item: item[1].is_symlink()):
        status = file.stat()
        chosen.setdefault((status.st_dev, status.st_ino), name)
    once = set(chosen.values())
    skipped[AGAIN] += len(files) - len(once)
    return {name: file for name, file in files.items() if name in once}


def _by_hash(item: tuple[str, Path]) -> tuple[bytes, str]:
    return hashlib.sha256(item[0].encode("utf-8", "surrogateescape")).digest(), item[0]
