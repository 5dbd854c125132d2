"""The classifier: what its loss and accuracy leave out."""

from __future__ import annotations

import math

import pytest
import torch

from rnn_diag.models import SequenceClassifier
from rnn_diag.tasks import Batch
from tests.models.fitting import SMALL_LSTM, Data, answer_always, fit, model_with_frozen_weights, spec


def test_padding_changes_no_prediction() -> None:
    model = SequenceClassifier(SMALL_LSTM, input_size=3, output_size=2)
    inputs, lengths = torch.randn(2, 5, 3), torch.tensor([3, 5])
    padded = inputs.clone()
    padded[0, 3:] = 1e6
    torch.testing.assert_close(model(inputs, lengths), model(padded, lengths), rtol=0, atol=0)


def test_loss_and_accuracy_leave_out_padding_and_ignored_targets() -> None:
    model = answer_always(SequenceClassifier(SMALL_LSTM, 3, 3, every_step=True), [0.0, 0.0, math.log(2.0)])
    targets = torch.tensor([[2, 2, 0, 0], [-100, 2, 0, -100]])  # row 0 has two valid steps: scored are 2, 2, 2, 0
    batch = Batch(torch.randn(2, 4, 3), targets, torch.tensor([2, 4]))
    trainer = fit(model_with_frozen_weights(model), Data(spec("class", every_step=True), [batch]))
    assert trainer.callback_metrics["val/accuracy"].item() == pytest.approx(3 / 4)
    expected = (3 * math.log(2) + math.log(4)) / 4
    assert trainer.callback_metrics["val/loss"].item() == pytest.approx(expected, rel=1e-6)
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(expected, rel=1e-6)
