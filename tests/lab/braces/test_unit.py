"""The search for the unit, beside readers whose units are set by hand."""

from __future__ import annotations

import torch

from rnn_diag.lab.braces.text import some_windows
from rnn_diag.lab.braces.unit import Unit, find_unit, natural_braces, reactions
from rnn_diag.tasks import Braces
from tests.lab.braces.counting_reader import counting_reader


def test_the_unit_that_counts_is_found_whatever_its_sign(task: Braces) -> None:
    reader = counting_reader(task)
    text = some_windows(task.sequences("train"), 30)
    truth = reader.open_after(text) == 1
    assert find_unit(reader.trace(text), truth) == Unit(1, 1.0)
    assert find_unit(reader.trace(text), ~truth) == Unit(1, -1.0)


def test_a_reader_that_counts_every_brace_reacts_in_comments_as_in_code(task: Braces) -> None:
    reader = counting_reader(task)
    text = some_windows(task.sequences("train"), 40)
    found = {(one.brace, one.place): one for one in reactions(reader, Unit(1, 1.0), text, torch.Generator())}
    in_code, in_comment = found["{", "code"], found["{", "comment"]
    assert in_code.events > 10 < in_comment.events
    assert in_code.at_once > 0.7 < in_comment.at_once
    assert in_code.right > 0.9
    assert in_comment.right < 0.1


def test_braces_of_comments_and_strings_are_counted_by_hand(task: Braces) -> None:
    reader = counting_reader(task)
    text = some_windows(task.sequences("test"), 1000)
    count, right = natural_braces(reader, [text])
    shown = ["".join(task.vocabulary.decode(row)) for row in text.tokens]
    expected = sum(row.count("more { h") + row.count("with { a") + row.count("text } a") for row in shown)
    assert abs(count - expected) <= len(shown)  # one may be cut at the edge of a window
    assert 0 <= right < count
