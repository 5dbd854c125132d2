"""Truncated backpropagation through time: which state a batch starts from; bits and perplexity."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from rnn_diag.models import LanguageModel
from rnn_diag.tasks import Batch, TaskSpec
from tests.models.fitting import SMALL_LSTM, Data, answer_always, fit, model_with_frozen_weights

FIRST = torch.arange(12).reshape(2, 6) % 4
SECOND = 4 + torch.arange(12).reshape(2, 6) % 3  # no token of it is in the first piece
TOKENS = torch.cat([FIRST, SECOND], dim=1)


@pytest.fixture(params=[nn.LSTM, nn.GRU])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(partial(request.param, hidden_size=5), 7, embedding_size=3).double()


def test_pieces_that_continue_give_the_outputs_of_the_whole(model: LanguageModel) -> None:
    model.outputs(Batch(FIRST, FIRST), "train")
    continued = model.outputs(Batch(SECOND, SECOND, continues=True), "train")
    torch.testing.assert_close(continued, model(TOKENS)[:, 6:], rtol=0, atol=1e-12)


def test_a_batch_that_does_not_continue_starts_from_zero(model: LanguageModel) -> None:
    model.outputs(Batch(FIRST, FIRST), "train")
    fresh = model.outputs(Batch(SECOND, SECOND, continues=False), "train")
    torch.testing.assert_close(fresh, model(SECOND), rtol=0, atol=0)


def test_another_number_of_rows_starts_from_zero(model: LanguageModel) -> None:
    model.outputs(Batch(FIRST, FIRST), "train")
    fresh = model.outputs(Batch(SECOND[:1], SECOND[:1], continues=True), "train")
    torch.testing.assert_close(fresh, model(SECOND[:1]), rtol=0, atol=0)


def test_validation_does_not_disturb_the_state_of_training(model: LanguageModel) -> None:
    model.outputs(Batch(FIRST, FIRST), "train")
    model.outputs(Batch(SECOND, SECOND), "val")
    continued = model.outputs(Batch(SECOND, SECOND, continues=True), "train")
    torch.testing.assert_close(continued, model(TOKENS)[:, 6:], rtol=0, atol=1e-12)


def test_gradients_stop_at_the_beginning_of_a_piece(model: LanguageModel) -> None:
    model.outputs(Batch(FIRST, FIRST), "train")
    model.outputs(Batch(SECOND, SECOND, continues=True), "train").sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients.values())
    assert (gradients["embedding.weight"][FIRST.unique()] == 0).all()


def test_a_new_epoch_forgets(model: LanguageModel) -> None:
    model.outputs(Batch(FIRST, FIRST), "train")
    model.on_train_epoch_start()
    fresh = model.outputs(Batch(SECOND, SECOND, continues=True), "train")
    torch.testing.assert_close(fresh, model(SECOND), rtol=0, atol=0)


def test_a_uniform_language_model_needs_log2_of_the_vocabulary() -> None:
    model = answer_always(LanguageModel(SMALL_LSTM, 8), [0.0] * 8)
    tokens = torch.randint(8, (2, 6))
    task = TaskSpec("next_token", 8, 8, True, True, 5, {"bits_per_character": 3.5}, "Guesses.")
    trainer = fit(model_with_frozen_weights(model), Data(task, [Batch(tokens, tokens)]))
    assert trainer.callback_metrics["val/bits_per_character"].item() == pytest.approx(3.0, rel=1e-6)
    assert trainer.callback_metrics["val/perplexity"].item() == pytest.approx(8.0, rel=1e-5)
    assert trainer.callback_metrics["baseline/bits_per_character"].item() == pytest.approx(3.5)
