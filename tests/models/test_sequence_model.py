"""What every model does: the match of task and model, baselines, schedules."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from rnn_diag.models import SequenceClassifier, SequenceRegressor
from rnn_diag.tasks import Batch
from tests.models.fitting import SMALL_LSTM, Data, fit, spec


def test_mismatch_of_task_and_model_names_the_model_that_fits() -> None:
    with pytest.raises(
        ValueError, match=r"SequenceRegressor.*'class'.*'value'.*SequenceClassifier for 'class'"
    ) as error:
        SequenceRegressor.options_for(spec("class"))
    assert "\n" not in str(error.value)


def test_fit_refuses_a_task_of_another_size_before_training() -> None:
    model = SequenceClassifier(SMALL_LSTM, input_size=3, output_size=7)
    with pytest.raises(ValueError, match="output_size=7; Data needs output_size=3"):
        fit(model, Data(spec("class"), []))


def test_a_layer_that_is_not_batch_first_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_first=False"):
        SequenceClassifier(nn.LSTM(3, 4), 3, 2)


def test_a_built_layer_of_another_input_size_is_refused() -> None:
    with pytest.raises(ValueError, match="input_size=5; expected input_size=3"):
        SequenceClassifier(nn.LSTM(5, 4, batch_first=True), 3, 2)


def test_initialization_reaches_the_recurrent_layer_in_order() -> None:
    def fill(module: nn.Module, value: float) -> None:
        for parameter in module.parameters():
            nn.init.constant_(parameter, value)

    model = SequenceClassifier(SMALL_LSTM, 3, 2, initialization=[partial(fill, value=1.0), partial(fill, value=2.0)])
    assert all((parameter == 2.0).all() for parameter in model.recurrent.parameters())
    assert not (model.head.weight == 2.0).all()


def test_the_scheduler_lowers_the_rate_once_per_epoch() -> None:
    model = SequenceRegressor(
        SMALL_LSTM,
        3,
        3,
        optimizer=partial(torch.optim.SGD, lr=1.0),
        scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5),
    )
    batch = Batch(torch.randn(1, 2, 3), torch.ones(1, 3))
    trainer = fit(model, Data(spec("value"), [batch, batch]), epochs=3)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1 / 8)


class Stranger(NamedTuple):
    """A batch of somebody else's, with the same attributes."""

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    continues: bool = False


def test_any_batch_with_the_same_attributes_trains() -> None:
    batch = Stranger(torch.randn(2, 3, 3), torch.tensor([0, 1]))
    trainer = fit(SequenceClassifier(SMALL_LSTM, 3, 3), Data(spec("class"), [batch]))  # type: ignore[list-item]
    assert torch.isfinite(trainer.callback_metrics["val/loss"])
