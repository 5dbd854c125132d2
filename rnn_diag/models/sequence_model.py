"""What all models share: embedding, recurrent layer, linear head, and how loss and metrics are logged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from rnn_diag.batch import Batch, TaskSpec
from rnn_diag.models.readout import last_valid, output_features, run_recurrent

MODEL_OF_TARGET = {"class": "SequenceClassifier", "value": "SequenceRegressor", "next_token": "LanguageModel"}


class SequenceModel(pl.LightningModule, ABC):
    """A recurrent layer between an optional embedding and a linear head.

    Logged are `train/loss` and the training metrics of single batches, `val/…` and `test/…` of whole epochs, and once,
    as `baseline/…`, what the data module's `spec` says that a know-nothing model reaches.

    Args:
        recurrent: A module called as `torch.nn.LSTM` is, with `batch_first=True`; or a function that builds it when
            called with `input_size` and `batch_first`, such as `functools.partial(torch.nn.LSTM, hidden_size=128)`.
        input_size: Features per step, or the vocabulary's size when `tokens`.
        output_size: Outputs of the head.
        tokens: Inputs are integer tokens, which an embedding turns into features.
        every_step: There is a target at every step; otherwise the last valid step answers for the sequence.
        embedding_size: Features of a token.
        optimizer: Called with the parameters; Adam when None.
        scheduler: Called with the optimizer, once per epoch; sees the monitored metric if it wants one.
        initialization: Functions that change the recurrent layer in place before training, in this order.
    """

    target: ClassVar[str]
    """The kind of target that this model fits: what a task's `spec.target` must say."""

    loss_name: ClassVar[str]
    """What the loss is, in the word of a task's `spec.baseline`."""

    monitor: ClassVar[str]
    """The validation metric that tells a better model from a worse one."""

    monitor_mode: ClassVar[str]
    """`"min"` or `"max"`."""

    def __init__(
        self,
        recurrent: nn.Module | Callable[..., nn.Module],
        input_size: int,
        output_size: int,
        tokens: bool = False,
        every_step: bool = False,
        embedding_size: int = 64,
        optimizer: Callable[..., torch.optim.Optimizer] | None = None,
        scheduler: Callable[..., Any] | None = None,
        initialization: Iterable[Callable[[nn.Module], object]] = (),
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.output_size = output_size
        self.tokens = tokens
        self.every_step = every_step
        self.optimizer = optimizer or torch.optim.Adam
        self.scheduler = scheduler
        features = embedding_size if tokens else input_size
        self.embedding = nn.Embedding(input_size, embedding_size) if tokens else nn.Identity()
        self.recurrent = _built(recurrent, features)
        self.head = nn.Linear(output_features(self.recurrent), output_size)
        for initialize in initialization:
            initialize(self.recurrent)
        self.train_metrics = self.new_metrics("train/")
        self.val_metrics = self.new_metrics("val/")
        self.test_metrics = self.new_metrics("test/")

    @abstractmethod
    def new_metrics(self, prefix: str) -> MetricCollection:
        """Return fresh metrics whose names start with `prefix`."""

    @abstractmethod
    def scored(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return predictions and targets, one row per target, in the form that loss and metrics take."""

    @abstractmethod
    def count(self, targets: Tensor) -> int:
        """Return how many of the targets that `scored` gave count."""

    @abstractmethod
    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of what `scored` gave."""

    @classmethod
    def options_for(cls, spec: TaskSpec) -> dict[str, Any]:
        """Return the constructor's arguments that follow from a task's `spec`.

        Raises:
            ValueError: If the task's target is not this model's.
        """
        if spec.target != cls.target:
            choices = ", ".join(f"{model} for {target!r}" for target, model in MODEL_OF_TARGET.items())
            raise ValueError(
                f"{cls.__name__} does not fit a task whose target is {spec.target!r}; expected {cls.target!r}; "
                f"choices: {choices}"
            )
        return {
            "input_size": spec.input_size,
            "output_size": spec.output_size,
            "tokens": spec.tokens,
            "every_step": spec.every_step,
        }

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return `[B, output_size]`, or `[B, T, output_size]` with a target at every step."""
        return self.advance(inputs, lengths)[0]

    def advance(self, inputs: Tensor, lengths: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        """Return the head's outputs and the recurrent layer's last state, from a given state on (zero if None)."""
        hidden, state = run_recurrent(self.recurrent, self.embedding(inputs), lengths, state)
        if not self.every_step:
            hidden = last_valid(hidden, lengths, bool(getattr(self.recurrent, "bidirectional", False)))
        return self.head(hidden), state

    def outputs(self, batch: Batch, stage: str) -> Tensor:
        """Return the head's outputs on a batch."""
        return self.advance(batch.inputs, batch.lengths)[0]

    def setup(self, stage: str) -> None:
        """Check that the data module's `spec`, if it has one, asks for this model."""
        spec = self._spec()
        if spec is None:
            return
        for name, expected in self.options_for(spec).items():
            if getattr(self, name) != expected:
                raise ValueError(
                    f"{type(self).__name__} was built with {name}={getattr(self, name)!r}; "
                    f"{type(self._datamodule()).__name__} needs {name}={expected!r}"
                )

    def on_train_start(self) -> None:
        """Log the baseline, once."""
        spec = self._spec()
        if spec is not None:
            self.log_dict({f"baseline/{name}": float(value) for name, value in spec.baseline.items()}, sync_dist=True)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch; log it and the batch's metrics."""
        predictions, targets = self.scored(self.outputs(batch, "train"), batch)
        loss = self.loss(predictions, targets)
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=False)
        with torch.no_grad():
            values = self.train_metrics(predictions.detach(), targets)
        self.log_dict(values, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the validation loss and metrics."""
        self._evaluate(batch, "val", self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the test loss and metrics."""
        self._evaluate(batch, "test", self.test_metrics)

    def configure_optimizers(self) -> Any:
        """Return the optimizer, with the scheduler if there is one."""
        optimizer = self.optimizer(self.parameters())
        if self.scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.scheduler(optimizer), "monitor": self.monitor},
        }

    def _evaluate(self, batch: Batch, stage: str, metrics: MetricCollection) -> None:
        predictions, targets = self.scored(self.outputs(batch, stage), batch)
        metrics.update(predictions, targets)
        count = self.count(targets)
        self.log(f"{stage}/loss", self.loss(predictions, targets), batch_size=count, sync_dist=True)
        self.log_dict(metrics, prog_bar=stage == "val", batch_size=count)

    def _datamodule(self) -> object | None:
        return getattr(self.trainer, "datamodule", None)

    def _spec(self) -> TaskSpec | None:
        return getattr(self._datamodule(), "spec", None)


def _built(recurrent: nn.Module | Callable[..., nn.Module], input_size: int) -> nn.Module:
    if not isinstance(recurrent, nn.Module):
        return recurrent(input_size=input_size, batch_first=True)
    if getattr(recurrent, "batch_first", True) is not True:
        raise ValueError(f"{type(recurrent).__name__} has batch_first=False; expected batch_first=True")
    if getattr(recurrent, "input_size", input_size) != input_size:
        raise ValueError(
            f"{type(recurrent).__name__} has input_size={recurrent.input_size}; expected input_size={input_size}, "
            "the features of a step (of a token: embedding_size)"
        )
    return recurrent
