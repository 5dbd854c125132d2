"""The regressor: what its error leaves out."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.models import SequenceRegressor
from rnn_diag.tasks import Batch
from tests.models.fitting import SMALL_LSTM, Data, answer_always, fit, model_with_frozen_weights, spec


def test_squared_error_leaves_out_padding() -> None:
    model = answer_always(SequenceRegressor(SMALL_LSTM, 3, 3, every_step=True), [1.0, 1.0, 1.0])
    targets = torch.zeros(2, 4, 3)
    targets[0, 2:] = 100.0
    batch = Batch(torch.randn(2, 4, 3), targets, torch.tensor([2, 4]))
    trainer = fit(model_with_frozen_weights(model), Data(spec("value", every_step=True), [batch]))
    assert trainer.callback_metrics["val/mse"].item() == pytest.approx(1.0)


def test_validation_loss_weighs_batches_by_their_targets() -> None:
    model = answer_always(SequenceRegressor(SMALL_LSTM, 3, 3), [0.0, 0.0, 0.0])
    batches = [Batch(torch.randn(1, 2, 3), torch.ones(1, 3)), Batch(torch.randn(3, 2, 3), torch.zeros(3, 3))]
    trainer = fit(model_with_frozen_weights(model), Data(spec("value"), batches))
    assert trainer.callback_metrics["val/loss"].item() == pytest.approx(1 / 4)
    assert trainer.callback_metrics["val/mse"].item() == pytest.approx(1 / 4)
