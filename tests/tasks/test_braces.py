"""Brace depth as a task: labels follow from the window alone."""

import pytest
import torch

from rnn_diag.tasks.braces import Braces
from rnn_diag.tasks.lexer import Region, lex

FUNCTION = 'int f() { if (a) { return "{"; } // {\n  /* { */ return 1; }\n'


@pytest.fixture
def folder(tmp_path):
    for number in range(30):
        (tmp_path / f"{number}.h").write_text(f"namespace n{number} {{\n" + FUNCTION * 5 + "}\n")
    return str(tmp_path)


def windows(task, split="train"):
    sequences = task.sequences(split)
    return sequences.__getitems__(range(len(sequences)))


def as_source(task, tokens):
    """The characters of a window, where a new file starts a new text."""
    return task.vocabulary.decode(tokens).split("␜")


def test_lexing_a_window_by_itself_gives_its_labels(folder):
    task = Braces(folder, sequence_length=40, max_depth=9)
    batch = windows(task)
    assert len(batch.inputs) > 50
    for tokens, targets in zip(batch.inputs, batch.targets, strict=True):
        head, *others = as_source(task, tokens)
        depth = lex(head).depth.tolist() + [d for text in others for d in [0, *lex(text).depth.tolist()]]
        # What the window's end cuts in two, an open comment say, can differ from the file only after the cut.
        assert depth == targets.tolist()


def test_a_window_that_starts_inside_braces_is_led_by_them(folder):
    task = Braces(folder, sequence_length=40)
    sequences = task.sequences("train")
    inside = [row for row, start in enumerate(sequences.starts) if sequences.text.opened[start] == 2]
    assert inside
    batch = sequences.__getitems__(inside)
    assert all(task.vocabulary.decode(tokens).startswith("{{  /*") for tokens in batch.inputs)
    assert (batch.targets[:, :3] == torch.tensor([1, 2, 2])).all()


def test_depths_beyond_the_deepest_class_are_that_class(folder):
    deep = windows(Braces(folder, sequence_length=40, max_depth=9)).targets
    assert deep.max() == 3
    assert torch.equal(windows(Braces(folder, sequence_length=40, max_depth=1)).targets, deep.clamp(max=1))


def test_regions_belong_to_their_characters(folder):
    task = Braces(folder, sequence_length=40)
    tokens, _, _, region, _, _ = task.labelled["train"]
    text = task.vocabulary.decode(tokens)
    strings = "".join(text[i] for i in torch.nonzero(region == Region.STRING)[:, 0])
    assert strings == '"{"' * (text.count(FUNCTION))


def test_baseline_is_the_accuracy_of_the_most_frequent_depth(folder):
    task = Braces(folder, sequence_length=40)
    train = [d for p in task.corpus["train"] for d in [0, *lex(p.text).depth.tolist()]]
    validation = [d for p in task.corpus["validation"] for d in [0, *lex(p.text).depth.tolist()]]
    majority = max(set(train), key=train.count)
    assert task.spec.baseline["accuracy"] == pytest.approx(validation.count(majority) / len(validation), abs=1e-12)
    assert f"depth {majority}," in task.spec.baseline_meaning


def test_a_single_file_keeps_its_depth_across_the_split(tmp_path):
    file = tmp_path / "one.h"
    file.write_text("namespace n {\n" + FUNCTION * 40 + "}\n")
    task = Braces(str(file), sequence_length=30, max_depth=9)
    for split in ("validation", "test"):
        batch = windows(task, split)
        for tokens, targets in zip(batch.inputs, batch.targets, strict=True):
            assert lex(task.vocabulary.decode(tokens)).depth.tolist() == targets.tolist()
        assert batch.targets.max() == 3


def test_no_window_runs_from_one_cut_file_into_another(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.h").write_text("namespace n {\n" + FUNCTION * (number + 50) + "}\n")
    task = Braces(str(tmp_path), sequence_length=20)
    text = task.labelled["validation"]
    cuts = torch.nonzero(text.cut)[:, 0].tolist()
    assert len(cuts) == 3
    for start in task.sequences("validation").starts.tolist():
        assert not any(start < cut < start + 20 for cut in cuts)


def test_a_window_longer_than_the_text_is_refused(folder):
    with pytest.raises(ValueError, match=r"sequence_length=100000 fits nowhere in the train text of path="):
        Braces(folder, sequence_length=100_000).train_dataloader()
