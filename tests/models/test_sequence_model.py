"""What every model does: lengths, masks, metrics, baselines, and the match of task and model."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rnn_diag.models import LanguageModel, SequenceClassifier, SequenceModel, SequenceRegressor
from rnn_diag.models.readout import last_valid, run_recurrent
from rnn_diag.tasks import Batch, TaskSpec

SMALL_LSTM = partial(nn.LSTM, hidden_size=4)


class Data(pl.LightningDataModule):
    """The given batches, for training and validation alike."""

    def __init__(self, spec: TaskSpec, batches: list[Batch]) -> None:
        super().__init__()
        self.spec = spec
        self.batches = batches

    def train_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.batches, batch_size=None)


def spec(target: str, tokens: bool = False, every_step: bool = False, **baseline: float) -> TaskSpec:
    return TaskSpec(target, 3, 3, tokens, every_step, 5, baseline, "Guesses.")


def fit(model: SequenceModel, data: Data, epochs: int = 1) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, data)
    return trainer


def answer_always(model: SequenceModel, bias: list[float]) -> SequenceModel:
    nn.init.zeros_(model.head.weight)
    model.head.bias.data = torch.tensor(bias)
    return model


@pytest.mark.parametrize("bidirectional", [False, True])
def test_last_valid_output_is_what_the_sequence_alone_gives(bidirectional: bool) -> None:
    torch.manual_seed(0)
    recurrent = nn.GRU(3, 4, batch_first=True, bidirectional=bidirectional).double()
    inputs, lengths = torch.randn(3, 6, 3).double(), torch.tensor([2, 6, 1])
    together = last_valid(run_recurrent(recurrent, inputs, lengths)[0], lengths, bidirectional)
    for row, length in enumerate(lengths.tolist()):
        _, last = recurrent(inputs[row : row + 1, :length])
        torch.testing.assert_close(together[row], last[:, 0].flatten(), rtol=0, atol=1e-12)


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


def test_a_uniform_language_model_needs_log2_of_the_vocabulary() -> None:
    model = answer_always(LanguageModel(SMALL_LSTM, 8), [0.0] * 8)
    tokens = torch.randint(8, (2, 6))
    task = TaskSpec("next_token", 8, 8, True, True, 5, {"bits_per_character": 3.5}, "Guesses.")
    trainer = fit(model_with_frozen_weights(model), Data(task, [Batch(tokens, tokens)]))
    assert trainer.callback_metrics["val/bits_per_character"].item() == pytest.approx(3.0, rel=1e-6)
    assert trainer.callback_metrics["val/perplexity"].item() == pytest.approx(8.0, rel=1e-5)
    assert trainer.callback_metrics["baseline/bits_per_character"].item() == pytest.approx(3.5)


def model_with_frozen_weights(model: SequenceModel) -> SequenceModel:
    model.optimizer = partial(torch.optim.SGD, lr=0.0)
    return model


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


def test_a_layer_without_hidden_size_is_refused() -> None:
    with pytest.raises(TypeError, match="Identity has no integer attribute hidden_size"):
        SequenceClassifier(nn.Identity(), 3, 2)


def test_initialization_reaches_the_recurrent_layer_in_order() -> None:
    def fill(module: nn.Module, value: float) -> None:
        for parameter in module.parameters():
            nn.init.constant_(parameter, value)

    model = SequenceClassifier(SMALL_LSTM, 3, 2, initialization=[partial(fill, value=1.0), partial(fill, value=2.0)])
    assert all((parameter == 2.0).all() for parameter in model.recurrent.parameters())
    assert not (model.head.weight == 2.0).all()


def test_the_head_fits_projected_and_bidirectional_layers() -> None:
    layer = partial(nn.LSTM, hidden_size=6, proj_size=2, bidirectional=True)
    assert SequenceRegressor(layer, 3, 5)(torch.randn(2, 4, 3)).shape == (2, 5)


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
