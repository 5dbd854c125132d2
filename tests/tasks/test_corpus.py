"""The corpus: which files are read, how they are split, and what is said when that fails."""

import logging
import os

import pytest

from rnn_diag.tasks.corpus import read_corpus
from rnn_diag.tasks.text_files import find_files


@pytest.fixture
def folder(tmp_path):
    """Forty small text files in two folders, one binary file, one empty one, and hidden ones."""
    for number in range(40):
        place = tmp_path / ("even" if number % 2 == 0 else "odd") / f"{number}.txt"
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"file {number}\n" * 5)
    (tmp_path / "picture.bin").write_bytes(b"\x00\x01\x02")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "empty.txt").touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("hidden")
    (tmp_path / ".hidden").write_text("hidden")
    return tmp_path


def names(passages):
    return [passage.name for passage in passages]


def test_every_file_is_in_one_split_and_hidden_or_binary_ones_in_none(folder):
    splits = read_corpus(str(folder))
    found = [name for split in ("train", "validation", "test") for name in names(splits[split])]
    assert sorted(found) == sorted(f"{'even' if n % 2 == 0 else 'odd'}/{n}.txt" for n in range(40))
    assert [len(splits[split]) for split in ("train", "validation", "test")] == [36, 2, 2]


def test_files_that_are_not_text_are_counted_in_a_warning(folder, caplog):
    with caplog.at_level(logging.WARNING):
        read_corpus(str(folder))
    assert "skipped 2 file(s) that are not UTF-8 text, read 40" in caplog.text


def test_split_depends_on_relative_names_only(folder, tmp_path_factory):
    moved = tmp_path_factory.mktemp("elsewhere") / "copy"
    folder.rename(moved)
    assert read_corpus(str(moved)) == read_corpus(f"{moved}/*/*.txt")


def test_no_more_characters_are_read_than_allowed(folder):
    splits = read_corpus(f"{folder}/even/1*.txt", max_characters=100)
    assert sum(len(passage.text) for passages in splits.values() for passage in passages) == 100


def test_one_large_file_gives_no_more_than_its_share(folder):
    (folder / "large.txt").write_text("x" * 100_000)
    whole = [passage for passages in read_corpus(str(folder), 43_000).values() for passage in passages]
    assert max(len(passage.text) for passage in whole) == 43_000 // len(find_files(str(folder)).files)


def test_a_single_file_is_cut_by_position_and_remembers_what_came_before(tmp_path):
    text = "".join(chr(ord("a") + n % 26) for n in range(1000))
    (tmp_path / "one.txt").write_text(text)
    splits = read_corpus(str(tmp_path / "one.txt"))
    pieces = [splits[split][0] for split in ("train", "validation", "test")]
    assert [len(piece.text) for piece in pieces] == [900, 50, 50]
    assert "".join(piece.text for piece in pieces) == text
    assert [piece.before for piece in pieces] == ["", text[:900], text[:950]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"caf\xe9 au lait", "one.txt is not text: invalid continuation byte at byte 3; expected UTF-8"),
        (b"ab\0cd", "one.txt is not text: it holds a zero byte after 2 characters; expected UTF-8"),
        (b"", "holds no text: 1 file\\(s\\) found, all empty or not UTF-8"),
        (b"ab", "holds 2 character\\(s\\); expected enough to split"),
    ],
)
def test_a_single_file_that_cannot_serve_is_named(tmp_path, content, message):
    (tmp_path / "one.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_corpus(str(tmp_path / "one.txt"))
    assert "\n" not in str(error.value)


def test_a_path_without_files_says_what_a_path_may_be(tmp_path):
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "*.h"):
        with pytest.raises(ValueError, match="matches no file; expected a file, a folder, a glob"):
            read_corpus(str(path))


def test_a_folder_of_binary_files_is_empty_corpus(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\0")
    (tmp_path / "b.bin").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"holds no text: 2 file\(s\) found"):
        read_corpus(str(tmp_path))


def test_a_budget_of_no_characters_is_refused():
    with pytest.raises(ValueError, match="max_characters=0; expected a whole number of at least 1"):
        read_corpus(None, max_characters=0)


def test_a_link_to_the_own_folder_puts_no_validation_text_into_training(tmp_path):
    for number in range(12):
        (tmp_path / f"{number}.txt").write_text(f"file {number}\n" * 20)
    plain = read_corpus(f"{tmp_path}/**/*.txt")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert read_corpus(f"{tmp_path}/**/*.txt") == plain
    assert len(plain["train"]) == 10


def test_what_is_no_readable_file_is_left_out_and_said_in_one_line(folder, caplog):
    os.mkfifo(folder / "pipe.txt")
    (folder / "dangling.txt").symlink_to("nowhere")
    (folder / "again.txt").hardlink_to(folder / "odd" / "1.txt")
    (folder / "memory.txt").symlink_to("/proc/self/mem")
    with caplog.at_level(logging.WARNING):
        splits = read_corpus(str(folder))
    assert sum(map(len, splits.values())) == 40
    (record,) = caplog.records
    assert record.getMessage() == (
        "skipped 1 file(s) that are another file again, 2 file(s) that are no regular files or cannot be reached, "
        "2 file(s) that are not UTF-8 text, read 40"
    )


def test_a_single_file_that_may_not_be_read_is_named_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "one.txt").write_text("text")

    def refuse(file, max_characters):
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr("rnn_diag.tasks.corpus.read_text", refuse)
    with pytest.raises(ValueError, match=r"one.txt cannot be read: \[Errno 13\] Permission denied"):
        read_corpus(str(tmp_path / "one.txt"))
