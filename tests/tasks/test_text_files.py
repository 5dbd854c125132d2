"""Which files a path finds, each once, and how a file is read."""

import os

import pytest

from rnn_diag.tasks.text_files import AGAIN, NO_FILES, find_files, read_text


def test_a_home_folder_and_a_recursive_glob_are_understood(tmp_path, monkeypatch):
    for name in ("a.txt", "even/b.txt", "even/deep/c.txt", ".hidden/d.txt", "even/.e.txt", "f.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert set(find_files("~/**/*.txt").files) == {"a.txt", "even/b.txt", "even/deep/c.txt"}


def test_default_corpus_is_the_headers_of_torch_always_in_the_same_order():
    files = find_files(None).files
    assert len(files) > 1000
    assert "ATen/ATen.h" in files
    assert list(files) == list(find_files(None).files)


def test_line_ends_and_byte_order_mark_are_normalised(tmp_path):
    file = tmp_path / "windows.txt"
    file.write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert read_text(file, 100) == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", {"a.c", "b.h", "d/c.c", "d/e/f.c"}),
        ("*.c", {"a.c"}),
        ("[ab].?", {"a.c", "b.h"}),
        ("*/*.c", {"c.c"}),
        ("**/*.c", {"a.c", "d/c.c", "d/e/f.c"}),
        ("d/**", {"c.c", "e/f.c"}),
        ("**/e/*", {"f.c"}),
        (".g/*.c", {"h.c"}),
        ("[d]/*.c", {"c.c"}),
    ],
)
def test_a_glob_finds_what_it_says(tmp_path, pattern, expected):
    for name in ("a.c", "b.h", "d/c.c", "d/e/f.c", ".g/h.c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert set(find_files(str(tmp_path / pattern)).files) == expected


def test_a_folder_whose_name_looks_like_a_glob_is_a_folder(tmp_path):
    (tmp_path / "[x]").mkdir()
    (tmp_path / "[x]" / "a.c").touch()
    assert set(find_files(str(tmp_path / "[x]")).files) == {"a.c"}
    assert set(find_files(str(tmp_path / "[x]" / "*.c")).files) == {"a.c"}


def test_links_to_folders_are_not_followed_at_any_depth(tmp_path):
    (tmp_path / "a.c").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "second").symlink_to(tmp_path)
    for path in (tmp_path, tmp_path / "**" / "*.c"):
        assert set(find_files(str(path)).files) == {"a.c"}


def test_a_file_is_found_once_under_its_own_name(tmp_path):
    for number in range(8):
        (tmp_path / f"{number}").touch()
        (tmp_path / f"link{number}").symlink_to(tmp_path / f"{number}")
    os.link(tmp_path / "0", tmp_path / "hard")
    found = find_files(str(tmp_path))
    assert len(found.files) == 8 and {f"{n}" for n in range(1, 8)} < set(found.files)
    assert found.skipped[AGAIN] == 9


def test_what_is_no_file_is_counted_and_never_opened(tmp_path):
    (tmp_path / "a").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    found = find_files(str(tmp_path))
    assert set(found.files) == {"a"} and found.skipped[NO_FILES] == 4
    (tmp_path / "a").unlink()
    with pytest.raises(ValueError, match=r"matches no file; .*; it holds 4 that are no regular files"):
        find_files(str(tmp_path))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is no regular file"):
        read_text(tmp_path / "pipe", 10)


def test_no_more_of_a_large_file_is_read_than_asked_for(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.write(b"text" * 1000)
        file.truncate(50 << 30)
    assert read_text(tmp_path / "large", 3000) == "text" * 750
