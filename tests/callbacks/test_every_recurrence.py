"""The whole suite of callbacks on every recurrence of the package: nothing is switched off, and all is logged."""

from __future__ import annotations

import warnings
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from rnn_diag.callbacks import GateWeights, RNNDiagnostics
from rnn_diag.cells import Equations
from rnn_diag.nn import Recurrent
from tests.reference.random_layers import EQUATIONS

KINDS = ("mgu", "indrnn", "min_gru", "min_lstm", "layer_norm_lstm", "zoneout_lstm", "variational_lstm")
KINDS += ("slstm_heads", "lru", "selective", "conv_lstm")


class Model(pl.LightningModule):
    def __init__(self, equations: Equations) -> None:
        super().__init__()
        self.rnn = Recurrent(equations, 3, 4, num_layers=2)
        self.readout = nn.Linear(4, 1)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        return self.readout(self.rnn(batch[0].transpose(0, 1))[0][-1]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_suite_measures_writes_and_draws_it(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNN_DIAG_RAISE", "1")
    suite = [RNNDiagnostics(every_n_steps=1, lyapunov=True, max_overhead=None), GateWeights(every_n_steps=1)]
    trainer = pl.Trainer(
        max_steps=3,
        accelerator="cpu",
        callbacks=suite,
        logger=TensorBoardLogger(tmp_path),
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    data = DataLoader(TensorDataset(torch.randn(12, 6, 3)), batch_size=4)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainer.fit(Model(EQUATIONS[kind]), data)
    assert not [str(one.message) for one in told if "switched off" in str(one.message)]
    logged = trainer.callback_metrics
    assert logged["gradient_norms/rnn.l1/fidelity"] < 1e-3
    for concern in ("gradient_norms", "memory_horizon", "lyapunov", "gate_weights"):
        assert any(name.startswith(f"{concern}/rnn.l0/") for name in logged), concern
