"""What all text tasks share: files, a vocabulary, tokens."""

import pytest

from rnn_diag.tasks.source_text import SourceText


def test_every_file_begins_with_its_token(tmp_path):
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text("abc" * 10)
    task = SourceText(str(tmp_path), sequence_length=5, batch_size=2)
    assert task.vocabulary.decode(task.tokens["validation"]) == "␜" + "abc" * 10
    assert (task.tokens["train"] == task.vocabulary.file_token).sum() == 18


def test_a_character_that_training_lacks_is_an_error_in_strict_mode(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("a" * 950 + "é" * 50)
    assert (SourceText(str(file), unknown="token", sequence_length=5).tokens["test"] == 0).all()
    with pytest.raises(ValueError, match="character 'é'"):
        _ = SourceText(str(file), unknown="error", sequence_length=5).tokens
