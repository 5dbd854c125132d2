"""A recurrent regressor: one vector of values per sequence, or one at every step."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanSquaredError, MetricCollection

from rnn_diag.batch import Batch
from rnn_diag.models.readout import valid_steps
from rnn_diag.models.sequence_model import SequenceModel


class SequenceRegressor(SequenceModel):
    """Mean squared error over all targets that are not padding; see `SequenceModel`."""

    target = "value"
    loss_name = "mse"
    monitor = "val/mse"
    monitor_mode = "min"

    def new_metrics(self, prefix: str) -> MetricCollection:
        """Return the mean squared error."""
        return MetricCollection({"mse": MeanSquaredError()}, prefix=prefix)

    def scored(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the predicted and the true values `[N, K]` of all valid steps."""
        if batch.lengths is None or not self.every_step:
            return outputs.flatten(0, -2), batch.targets.flatten(0, -2)
        valid = valid_steps(outputs, batch.lengths)
        return outputs[valid], batch.targets[valid]

    def count(self, targets: Tensor) -> int:
        """Return the number of rows."""
        return len(targets)

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error."""
        return functional.mse_loss(predictions, targets)
