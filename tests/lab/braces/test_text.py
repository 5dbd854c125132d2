"""Planted braces and the depth that follows from them, beside the lexer that the task has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rnn_diag.lab.braces.text import (
    BraceTokens,
    MarkedText,
    best_excerpt,
    marked_text,
    plantable,
    planted,
    some_windows,
    telling_braces,
)
from rnn_diag.tasks import Braces
from rnn_diag.tasks.lexer import Region
from tests.lab.source_code import write_source


@pytest.fixture
def task(tmp_path: Path) -> Braces:
    return Braces(write_source(tmp_path), max_depth=9, sequence_length=80)


def test_depth_counted_anew_is_that_of_the_lexer(task: Braces) -> None:
    windows = task.sequences("train")
    text = marked_text(windows, range(len(windows)))
    expected = windows.__getitems__(range(len(windows))).targets
    assert torch.equal(text.depth(BraceTokens.of(task.vocabulary)), expected)
    assert expected.max() > 1


def test_a_closing_brace_too_many_leaves_depth_zero() -> None:
    tokens = torch.tensor([[8, 8, 7, 8, 7]])
    text = MarkedText(tokens, torch.zeros_like(tokens), torch.ones_like(tokens).bool())
    assert text.depth(BraceTokens(7, 8)).tolist() == [[0, 0, 1, 0, 1]]


def test_braces_are_planted_only_among_letters_digits_and_spaces(task: Braces) -> None:
    text = some_windows(task.sequences("train"), 20)
    sown = planted(text, task.vocabulary, 1.0, torch.Generator().manual_seed(0))
    changed = sown.tokens != text.tokens
    assert torch.equal(changed, plantable(text, task.vocabulary))
    before = task.vocabulary.decode(text.tokens[changed])
    assert all(character.isalnum() or character == " " for character in before)
    assert set(task.vocabulary.decode(sown.tokens[changed])) == {"{", "}"}
    assert not changed[~text.own].any()


def test_a_brace_planted_in_a_comment_changes_no_depth_and_one_in_code_does(task: Braces) -> None:
    braces, text = BraceTokens.of(task.vocabulary), some_windows(task.sequences("train"), 20)
    may = plantable(text, task.vocabulary)
    for region, changes in ((Region.COMMENT, False), (Region.STRING, False), (Region.CODE, True)):
        row, place = ((text.region == region) & may).nonzero()[0].tolist()
        tokens = text.tokens.clone()
        tokens[row, place] = braces.opening
        assert torch.equal(text.depth(braces), text._replace(tokens=tokens).depth(braces)) != changes


def test_some_windows_are_spread_over_the_text(task: Braces) -> None:
    windows = task.sequences("train")
    assert torch.equal(some_windows(windows, 2).tokens, marked_text(windows, [0, len(windows) - 1]).tokens)
    assert len(some_windows(windows, 10_000).tokens) == len(windows)


def test_only_braces_that_a_careless_reader_would_count_are_telling(task: Braces) -> None:
    text, braces = task.labelled["test"], BraceTokens.of(task.vocabulary)
    telling = telling_braces(text, braces)
    assert telling.any()
    assert (text.region[telling] != Region.CODE).all()
    assert (text.depth[telling & (text.tokens == braces.opening)] == 0).all()
    assert (text.depth[telling & (text.tokens == braces.closing)] == 1).all()


def test_the_excerpt_starts_with_no_brace_open_and_holds_a_telling_one(task: Braces) -> None:
    found = best_excerpt(task.labelled, BraceTokens.of(task.vocabulary), 120)
    assert found is not None
    characters = task.vocabulary.decode(found.text.tokens[0])
    assert len(characters) == 120
    assert found.text.depth(BraceTokens.of(task.vocabulary))[0, 0] == 0
    assert {characters[place] for place in found.telling} <= {"{", "}"}
    assert found.telling


def test_text_without_a_telling_brace_has_no_excerpt(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.c").write_text("int f() { return 0; } // nothing here\n" * 20, encoding="utf-8")
    task = Braces(str(tmp_path), sequence_length=60)
    assert best_excerpt(task.labelled, BraceTokens.of(task.vocabulary), 60) is None
