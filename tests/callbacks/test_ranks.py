"""Two processes log what one process logs on the union of their batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, logging, sys, warnings
import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, TensorDataset
from rnn_diag.callbacks import GradientNorms, RNNDiagnostics

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.LSTM(3, 5, num_layers=2, batch_first=True)

    def training_step(self, batch, batch_idx):
        packed = pack_padded_sequence(batch[0], batch[1].cpu(), batch_first=True, enforce_sorted=False)
        output, lengths = pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
        return output[torch.arange(len(lengths)), lengths - 1].square().sum(1).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class FailsOnRankOne(pl.Callback):
    def on_train_batch_end(self, trainer, *_):
        if len(sys.argv) > 5 and trainer.global_rank == 1 and trainer.global_step == 2:
            def fail(*_):
                raise ValueError("rank one only")
            trainer.callbacks[1].diagnostics[0].measure = fail


if __name__ == "__main__":
    ranks, batch_size, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    lengths = torch.tensor([9, 3, 7, 2, 5, 4, 8, 1] * 3)
    inputs = torch.randn(24, 9, 3, generator=torch.Generator().manual_seed(1))
    data = DataLoader(TensorDataset(inputs, lengths), batch_size=batch_size)
    callbacks = [FailsOnRankOne(), RNNDiagnostics(1, sequences=None, max_overhead=None)]
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", devices=ranks, strategy="ddp" if ranks > 1 else "auto", callbacks=callbacks,
        logger=pl.loggers.CSVLogger(out, name="log", version=0), enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=ranks > 1,
        limit_train_batches=int(sys.argv[4]),
    )
    if ranks > 1:
        from torch.utils.data.distributed import DistributedSampler
        sampler = DistributedSampler(data.dataset, num_replicas=2, rank=trainer.global_rank, shuffle=False)
        data = DataLoader(data.dataset, batch_size=batch_size, sampler=sampler)
    trainer.fit(Model(), data)
    values = {name: value.item() for name, value in trainer.callback_metrics.items()}
    json.dump({"step": trainer.global_step, **values}, open(f"{out}/{ranks}_{trainer.global_rank}.json", "w"))
"""


def run(folder: Path, ranks: int, batch_size: int, batches: int, *fail: str) -> list[dict[str, float]]:
    script = folder / "train.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(ranks), str(batch_size), str(folder), str(batches), *fail]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"{ranks}_{rank}.json").read_text()) for rank in range(ranks)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_with_unequal_lengths_log_what_one_process_logs_on_the_union(tmp_path):
    (union,) = run(tmp_path, 1, 8, 2)
    first, second = run(tmp_path, 2, 4, 2)
    compared = [name for name in union if not name.endswith(("overhead", "fidelity"))]
    assert any(name.startswith("gradient_norms") for name in compared)
    for name in compared:
        assert first[name] == second[name]
        # Which steps a horizon is measured from depends on the longest sequence of a rank.
        tolerance = 2e-2 if name.startswith("memory_horizon") else 1e-4
        assert first[name] == pytest.approx(union[name], rel=tolerance, abs=1e-6), name
    assert first.keys() == second.keys()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_failure_on_one_rank_switches_the_measure_off_on_both_and_training_ends(tmp_path):
    first, second = run(tmp_path, 2, 4, 3, "fail")
    assert first["step"] == second["step"] == 3
    assert first == second
