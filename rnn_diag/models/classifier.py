"""A recurrent classifier: one class per sequence, or one at every step."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from rnn_diag.batch import IGNORED_TARGET, Batch
from rnn_diag.models.readout import valid_steps
from rnn_diag.models.sequence_model import SequenceModel


class SequenceClassifier(SequenceModel):
    """Cross-entropy and accuracy over all targets that are neither padding nor -100; see `SequenceModel`."""

    target = "class"
    loss_name = "cross_entropy"
    monitor = "val/accuracy"
    monitor_mode = "max"

    def new_metrics(self, prefix: str) -> MetricCollection:
        """Return the accuracy."""
        accuracy = MulticlassAccuracy(self.output_size, average="micro", ignore_index=IGNORED_TARGET)
        return MetricCollection({"accuracy": accuracy}, prefix=prefix)

    def scored(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits `[N, classes]` and class indices `[N]`, which are -100 where they do not count."""
        return scored_classes(outputs, batch)

    def count(self, targets: Tensor) -> int:
        """Return how many targets are not -100."""
        return int((targets != IGNORED_TARGET).sum())

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats."""
        return functional.cross_entropy(predictions, targets, ignore_index=IGNORED_TARGET)


def scored_classes(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return one row of logits and one class index per target, where the index is -100 at padding too."""
    targets = batch.targets
    if batch.lengths is not None and targets.dim() > 1:
        targets = targets.masked_fill(~valid_steps(targets, batch.lengths), IGNORED_TARGET)
    return logits.flatten(0, -2), targets.flatten()
