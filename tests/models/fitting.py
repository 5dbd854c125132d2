"""Fit a model to given batches."""

from __future__ import annotations

from functools import partial

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from rnn_diag.models import SequenceModel
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


def model_with_frozen_weights(model: SequenceModel) -> SequenceModel:
    model.optimizer = partial(torch.optim.SGD, lr=0.0)
    return model
