"""Many networks of one unit each, trained side by side as one layer whose recurrent matrices are diagonal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rnn_diag.interventions.initialization import forget_gate_bias
from rnn_diag.nn import LSTM, PeepholeLSTM
from rnn_diag.tasks import Timing

if TYPE_CHECKING:
    from jaxtyping import Float


class SingleUnits:
    """One-unit networks with a readout of their own: no weight leads from one to another.

    Args:
        kind: `PeepholeLSTM` or `LSTM`.
        count: How many.
        seed: Of the initial weights; the process's generator is left alone.
    """

    def __init__(self, kind: type[LSTM] | type[PeepholeLSTM], count: int, seed: int) -> None:
        self._diagonal = torch.eye(count).repeat(4, 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layer = kind(1, count)
            for parameter in self.layer.parameters():
                nn.init.uniform_(parameter, -1.0, 1.0)  # torch's own range for one unit
        self.layer.get_parameter("weight_hh_l0").data.mul_(self._diagonal)
        forget_gate_bias(self.layer, 1.0)
        self.scale = nn.Parameter(torch.ones(count))
        self.shift = nn.Parameter(torch.zeros(count))

    def errors(self, inputs: Tensor, targets: Tensor) -> Float[Tensor, " unit"]:
        """Return the mean squared error of every network; batch first."""
        hidden, _ = self.layer(inputs.transpose(0, 1))
        errors: Tensor = (self.scale * hidden + self.shift - targets.transpose(0, 1)).square().mean((0, 1))
        return errors

    def learn(self, task: Timing, steps: int, learning_rate: float, seed: int) -> None:
        """Train all of them on the same batches; each by its own error, gradients clipped for each alone."""
        whole = task.sequences("train").whole
        generator = torch.Generator().manual_seed(seed)
        parameters = [*self.layer.parameters(), self.scale, self.shift]
        optimizer = torch.optim.Adam(parameters, lr=learning_rate)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            rows = torch.randint(len(whole.inputs), (task.batch_size,), generator=generator)
            optimizer.zero_grad()
            self.errors(whole.inputs[rows], whole.targets[rows]).sum().backward()
            self._keep_apart()
            self._clip(parameters)
            optimizer.step()
            scheduler.step()

    def _keep_apart(self) -> None:
        grad = self.layer.get_parameter("weight_hh_l0").grad
        assert grad is not None
        grad.mul_(self._diagonal)

    def _clip(self, parameters: list[nn.Parameter]) -> None:
        """Scale the gradient of every network to a norm of at most 1."""
        count = len(self.scale)
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        by_unit = [grad.view(-1, count, *grad.shape[1:]) for grad in grads]
        squares = sum(part.square().sum(dim=[axis for axis in range(part.dim()) if axis != 1]) for part in by_unit)
        assert isinstance(squares, Tensor)
        factor = (1.0 / squares.sqrt().clamp(min=1e-12)).clamp(max=1.0)
        for part in by_unit:
            part.mul_(factor.view(1, count, *[1] * (part.dim() - 2)))
