"""Reads the text files behind a path, and splits them into train, validation and test."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, NamedTuple

from rnn_diag.arguments import whole
from rnn_diag.tasks.text_files import NOT_TEXT, UNREADABLE, Found, find_files, read_text

HELD_OUT_SHARE: Final = 0.05
"""Share of the corpus for validation, and the same again for test."""

FEWEST_FILES_TO_SPLIT: Final = 10
"""With fewer files than this, every file is itself cut in three, so that no split is one odd file."""

_log = logging.getLogger(__name__)


class Passage(NamedTuple):
    """A piece of one file.

    Attributes:
        name: The file's path relative to the corpus, with forward slashes.
        text: The characters of the piece.
        before: What precedes the piece in its file: empty where the piece opens the file.
    """

    name: str
    text: str
    before: str = ""


def read_corpus(path: str | None = None, max_characters: int = 2_000_000) -> Mapping[str, list[Passage]]:
    """Return the passages of `"train"`, `"validation"` and `"test"`.

    Files are taken in the order of a hash of their relative path, which mixes folders and depends on nothing else,
    until `max_characters` are read. The first 5 % of these files are for validation, the next 5 % for test, the rest
    for training. With fewer than 10 files, the first 90 % of each are for training and the rest are held out.
    Of 10 files or more, none gives more than its equal share of `max_characters`, or a hundredth of it where the share
    is smaller: no single file is most of a split.

    Args:
        path: A file, a folder (with all below it; names that start with a dot are left out) or a glob such as
            `"src/**/*.py"`. Regular files are read, each once, whatever links lead to it; what is skipped is said in
            one warning. None reads the C++ headers that are shipped inside the installed torch.
        max_characters: Characters to read at most.

    Raises:
        ValueError: If the path matches nothing, names a single file that is no UTF-8 text, or if no text is left.
    """
    whole("max_characters", max_characters, 1)
    found = find_files(path)
    passages = _read_until(max_characters, found, strict=len(found.files) == 1)
    if not passages:
        raise ValueError(
            f"path={path!r} holds no text: {len(found.files)} file(s) found, all empty or not UTF-8; "
            "expected a text file, a folder or a glob of text files"
        )
    splits = _split_by_file(passages) if len(passages) >= FEWEST_FILES_TO_SPLIT else _split_each_file(passages)
    if not all(splits.values()):
        total = sum(len(passage.text) for passage in passages)
        raise ValueError(
            f"path={path!r} holds {total} character(s); expected enough to split in train, validation, test"
        )
    return splits


def _read_until(max_characters: int, found: Found, strict: bool) -> list[Passage]:
    """Read files in order until the budget is spent; one that cannot be read is an error if `strict`, else skipped."""
    files, skipped = found
    most_of_one_file = max_characters // (1 if len(files) < FEWEST_FILES_TO_SPLIT else min(len(files), 100)) or 1
    passages: list[Passage] = []
    left = max_characters
    for name, file in files.items():
        if left <= 0:
            break
        try:
            text = read_text(file, min(left, most_of_one_file))
        except (ValueError, OSError) as error:
            if strict:
                raise (
                    error if isinstance(error, ValueError) else ValueError(f"{file} cannot be read: {error}")
                ) from None
            skipped[NOT_TEXT if isinstance(error, ValueError) else UNREADABLE] += 1
            continue
        if text:
            passages.append(Passage(name, text))
            left -= len(text)
    if skipped.total():
        why = ", ".join(f"{count} file(s) {reason}" for reason, count in sorted(skipped.items()) if count)
        _log.warning("skipped %s, read %d", why, len(passages))
    return passages


def _split_by_file(passages: list[Passage]) -> dict[str, list[Passage]]:
    held_out = max(1, round(HELD_OUT_SHARE * len(passages)))
    return {
        "train": passages[2 * held_out :],
        "validation": passages[:held_out],
        "test": passages[held_out : 2 * held_out],
    }


def _split_each_file(passages: list[Passage]) -> dict[str, list[Passage]]:
    splits: dict[str, list[Passage]] = {"train": [], "validation": [], "test": []}
    for name, text, _ in passages:
        first, second = (round(len(text) * share) for share in (1 - 2 * HELD_OUT_SHARE, 1 - HELD_OUT_SHARE))
        for split, start, stop in (("train", 0, first), ("validation", first, second), ("test", second, len(text))):
            if stop > start:
                splits[split].append(Passage(name, text[start:stop], before=text[:start]))
    return splits
