"""Finds the text files behind a path, reads them, and splits them into train, validation and test."""

from __future__ import annotations

import glob
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from rnn_diag.arguments import whole

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
            `"src/**/*.py"`. None reads the C++ headers that are shipped inside the installed torch.
        max_characters: Characters to read at most.

    Raises:
        ValueError: If the path matches nothing, names a single file that is no UTF-8 text, or if no text is left.
    """
    whole("max_characters", max_characters, 1)
    files = find_files(path)
    passages = _read_until(max_characters, files, strict=len(files) == 1)
    if not passages:
        raise ValueError(
            f"path={path!r} holds no text: {len(files)} file(s) found, all empty or not UTF-8; "
            "expected a text file, a folder or a glob of text files"
        )
    splits = _split_by_file(passages) if len(passages) >= FEWEST_FILES_TO_SPLIT else _split_each_file(passages)
    if not all(splits.values()):
        total = sum(len(passage.text) for passage in passages)
        raise ValueError(
            f"path={path!r} holds {total} character(s); expected enough to split in train, validation, test"
        )
    return splits


def find_files(path: str | None) -> dict[str, Path]:
    """Return the files behind a path by their relative names, in the order of the names' hashes.

    Raises:
        ValueError: If there are none.
    """
    root, found = _candidates(path)
    files = {file.relative_to(root).as_posix(): file for file in found}
    if not files:
        raise ValueError(
            f"path={path!r} matches no file; expected a file, a folder, a glob such as 'src/**/*.py', or null"
        )
    return dict(sorted(files.items(), key=lambda item: (_hash(item[0]), item[0])))


def _candidates(path: str | None) -> tuple[Path, list[Path]]:
    """Return the folder that names are relative to, and the files."""
    place = _torch_headers() if path is None else Path(path).expanduser()
    if place.is_file():
        return place.parent, [place]
    if place.is_dir():
        return place, list(_files_below(place))
    matches = [Path(match) for match in glob.glob(str(place), recursive=True)]
    files = [match for match in matches if match.is_file()]
    return Path(os.path.commonpath([file.parent for file in files])) if files else place, files


def _torch_headers() -> Path:
    import torch

    return Path(torch.__file__).parent / "include"


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()


def _read_until(max_characters: int, files: Mapping[str, Path], strict: bool) -> list[Passage]:
    """Read files in order until the budget is spent; a file that is not text is an error if `strict`, else skipped."""
    most_of_one_file = max_characters // (1 if len(files) < FEWEST_FILES_TO_SPLIT else min(len(files), 100)) or 1
    passages: list[Passage] = []
    left, skipped = max_characters, 0
    for name, file in files.items():
        if left <= 0:
            break
        try:
            text = read_text(file, min(left, most_of_one_file))
        except ValueError:
            if strict:
                raise
            skipped += 1
            continue
        if text:
            passages.append(Passage(name, text))
            left -= len(text)
    if skipped:
        _log.warning("skipped %d file(s) that are not UTF-8 text, read %d", skipped, len(passages))
    return passages


def read_text(file: Path, max_characters: int = -1) -> str:
    r"""Return the start of a UTF-8 text file, with every line end as `\n` and without a byte order mark.

    Raises:
        ValueError: If the file is not text.
    """
    try:
        with file.open(encoding="utf-8-sig") as stream:
            text = stream.read(max_characters)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not text: {error.reason} at byte {error.start}; expected UTF-8") from None
    if "\0" in text:
        raise ValueError(
            f"{file} is not text: it holds a zero byte after {text.index(chr(0))} characters; expected UTF-8"
        )
    return text


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
