"""What tasks and models agree on."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn.functional import cross_entropy

from rnn_diag.batch import IGNORED_TARGET, Batch, TaskSpec


def test_the_ignored_target_is_the_one_that_torch_leaves_out() -> None:
    scores, targets = torch.randn(3, 4), torch.tensor([1, IGNORED_TARGET, 2])
    torch.testing.assert_close(cross_entropy(scores, targets), cross_entropy(scores[[0, 2]], targets[[0, 2]]))


def test_a_batch_has_full_lengths_and_starts_anew_unless_it_says_otherwise() -> None:
    inputs, targets, lengths, continues = Batch(torch.zeros(2, 3), torch.zeros(2))
    assert (inputs.shape, targets.shape, lengths, continues) == ((2, 3), (2,), None, False)


def test_what_a_model_is_told_of_a_task_does_not_change() -> None:
    spec = TaskSpec("class", 1, 2, False, False, 10, {"accuracy": 0.5}, "Answers in turn.")
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.steps = 11  # type: ignore[misc]
