"""The search for the unit, beside readers whose units are set by hand; and the whole experiment, small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from rnn_diag.lab.brace_reader import BraceReader, Training
from rnn_diag.lab.brace_unit import Unit, find_unit, natural_braces, reactions
from rnn_diag.lab.experiments.brace_cell import BraceCell
from rnn_diag.lab.marked_text import BraceTokens, some_windows
from rnn_diag.tasks import Braces
from tests.lab.source_code import write_source


@pytest.fixture
def task(tmp_path: Path) -> Braces:
    return Braces(write_source(tmp_path), max_depth=1, sequence_length=80)


@torch.no_grad()
def counting_reader(task: Braces) -> BraceReader:
    """Return a reader whose unit 1 is set by every `{` and cleared by every `}`, in comments and strings as well."""
    reader = BraceReader(task, units=2, seed=0)
    model, braces = reader.model, BraceTokens.of(task.vocabulary)
    for parameter in model.parameters():
        parameter.zero_()
    model.embedding.weight[braces.opening, 0] = 1.0
    model.embedding.weight[braces.closing, 1] = 1.0
    weight, bias = model.recurrent.weight_ih_l0, model.recurrent.bias_ih_l0
    bias[[0, 1]], bias[[2, 3]], bias[[6, 7]] = -20.0, 20.0, 20.0  # hold and show
    weight[1, :2] = 40.0  # any brace opens the input gate of unit 1
    weight[3, :2] = -40.0  # and shuts its forget gate
    weight[5, 0], weight[5, 1] = 5.0, -5.0
    model.head.weight[1, 1] = 10.0
    return reader


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


def test_learning_lowers_the_loss_and_moves_no_generator(task: Braces) -> None:
    before = torch.random.get_rng_state()
    reader = BraceReader(task, units=8, seed=0)
    losses = reader.learn(task, Training(30, 8, 0.02, 0.5, 0.03, 0.0), seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_the_whole_experiment_says_the_same_twice_and_draws_what_it_found(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    settings = {"units": 6, "window": 80, "steps": 8, "batch_size": 8, "path": write_source(tmp_path)}
    first, again = (BraceCell(**settings).run() for _ in range(2))  # type: ignore[arg-type]
    assert first.conclusion == again.conclusion
    assert set(first.figures) == {"unit_and_gates", "passage"}
    (passage,) = first.passages.values()
    letters = re.sub("<[^>]*>", "", passage)
    assert any(words in letters for words in ("more { here", "with { and", "text } and"))
    assert [row[:2] for row in first.tables[0].rows][:2] == [("{", "code"), ("{", "comment")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"planted_share": 1.5}, "planted_share=1.5; expected a finite number of at least 0 and at most 1"),
        ({"sparsity": -1.0}, "sparsity=-1.0; expected a finite number of at least 0"),
        ({"window": 10}, "window=10; expected a whole number of at least 32"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BraceCell(**settings)  # type: ignore[arg-type]
