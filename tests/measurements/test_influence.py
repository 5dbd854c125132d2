"""The memory horizon has one definition, and all who show it show the same."""

from __future__ import annotations

import math
import statistics
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from rnn_diag.callbacks import Doctor, MemoryHorizon
from rnn_diag.capture import record
from rnn_diag.diagnostics import lagged_cell_grad_norms, lagged_grad_norms, memory_horizon, spread_targets
from rnn_diag.doctor import examine
from rnn_diag.interventions.initialization import chrono
from rnn_diag.measurements.influence import TARGETS, Influence
from rnn_diag.reporting.figures.of_trace import numbers_of
from rnn_diag.trace import Trace


def remembering(longest: int = 100) -> nn.LSTM:
    torch.manual_seed(0)
    layer = nn.LSTM(2, 32)
    chrono(layer, longest=longest)
    return layer


def at_the_end(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch)[0][-1].square().mean()


def at_all_steps(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch)[0].square().mean()


def recorded(layer: nn.Module, batch: Tensor, loss=at_the_end) -> Trace:
    with record(layer) as recording:
        loss(layer, batch).backward()
    return recording["l0"]


def test_a_memory_that_lasts_through_the_cell_lasts_for_the_layer() -> None:
    trace = recorded(remembering(), torch.randn(100, 4, 2))
    through_hidden = memory_horizon(lagged_grad_norms(trace, [-1])).flatten().median().item()
    assert through_hidden < 10
    assert Influence.of(trace).horizon == 99
    assert Influence.of(trace).share == 1


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("loss", [at_the_end, at_all_steps])
def test_the_horizon_is_the_median_over_targets_and_sequences(kind: type[nn.Module], loss) -> None:
    torch.manual_seed(1)
    trace = recorded(kind(2, 8), torch.randn(30, 5, 2), loss)
    targets = spread_targets(trace, 4)
    curves = [lagged_grad_norms(trace, targets)]
    curves += [lagged_cell_grad_norms(trace, targets)] if trace.cell is not None else []
    single = torch.stack([memory_horizon(one) for one in curves]).nan_to_num(nan=-1).amax(0).flatten()
    values = [value for value in single.tolist() if value >= 0]
    influence = Influence.of(trace)
    assert influence.horizon == statistics.median(values)
    assert len(influence.horizons) == len(values) == (20 if loss is at_all_steps else 5)


def test_calls_and_ranks_merge_to_what_one_call_has() -> None:
    layer, batch = remembering(10), torch.randn(12, 6, 2)
    parts = [Influence.of(recorded(layer, part)) for part in batch.split([1, 3, 2], dim=1)]
    whole = Influence.of(recorded(layer, batch))
    merged = parts[0] + parts[1] + parts[2]
    assert merged.numbers == pytest.approx(whole.numbers)
    assert merged.horizon_spread == whole.horizon_spread


def test_a_threshold_is_part_of_what_is_measured() -> None:
    torch.manual_seed(0)
    trace = recorded(nn.GRU(2, 8), torch.randn(30, 5, 2))
    assert Influence.of(trace, threshold=0.5).horizon < Influence.of(trace, threshold=0.01).horizon


def test_without_a_loss_there_is_no_horizon() -> None:
    numbers = Influence.of(recorded(nn.GRU(2, 3), torch.randn(5, 2, 2), lambda m, b: 0 * m(b)[0].sum())).numbers
    assert all(math.isnan(value) for value in numbers.values())


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent = remembering()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return at_the_end(self.recurrent, batch[0].transpose(0, 1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.parametrize("threshold", [0.01, 0.9])
def test_callback_doctor_and_figure_show_one_horizon(threshold: float, tmp_path) -> None:
    model, batch = Model(), torch.randn(4, 100, 2)
    doctor, callback = Doctor(1, max_overhead=None), MemoryHorizon(1, max_overhead=None, threshold=threshold)
    run = pl.Trainer(
        callbacks=[callback, doctor],
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    run.fit(model, DataLoader(TensorDataset(batch), batch_size=4))
    shown = run.callback_metrics["memory_horizon/recurrent.l0/steps"].item()
    assert doctor.report is not None
    assert doctor.report.vitals["recurrent.l0"].horizon == shown
    trace = recorded(model.recurrent, batch.transpose(0, 1))
    assert Influence.of(trace, threshold=threshold).horizon == shown
    if threshold == 0.01:
        assert shown == numbers_of(trace).horizon == 99
        assert examine(model.recurrent, batch.transpose(0, 1), at_the_end).vitals["l0"].horizon == 99


@pytest.mark.parametrize(
    ("kind", "bias"), [(nn.RNN, 0.0), (nn.GRU, 0.0), (nn.GRU, 2.0), (nn.LSTM, 0.0), (nn.LSTM, 2.0)]
)
@pytest.mark.parametrize("seed", range(3))
def test_the_horizon_from_a_few_steps_is_near_that_from_all_steps(kind: Any, bias: float, seed: int) -> None:
    torch.manual_seed(seed)
    module = kind(4, 16)
    with torch.no_grad():
        module.weight_hh_l0.mul_(1.4 if kind is nn.RNN else 1.0)
        if bias:
            module.bias_hh_l0[16:32] += bias
    with record(module) as recording:
        module(torch.randn(60, 8, 4))[0].square().mean().backward()
    few, all_steps = (Influence.of(recording["l0"], targets).horizon for targets in (TARGETS, 60))
    assert abs(few - all_steps) <= max(1.0, all_steps / 8)
