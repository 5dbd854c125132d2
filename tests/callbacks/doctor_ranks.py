"""Trains a network that reads padding, on one or two ranks, under the doctor; run by `test_doctor_ranks.py`."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from rnn_diag.callbacks import Doctor

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.LSTM(3, 5, batch_first=True, bidirectional=True)

    def training_step(self, batch, batch_idx):
        return self.encoder(batch[0])[0][:, -1].square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Ranks(pl.LightningDataModule):
    """Of the two halves of the data only the second has padding, so that one rank alone sees it."""

    def train_dataloader(self):
        steps = torch.randn(16, 12, 3, generator=torch.Generator().manual_seed(1))
        for row in range(1, 16, 2):
            steps[row, 2 + row % 5 :] = 0
        data = TensorDataset(steps)
        ranks, rank = self.trainer.world_size, self.trainer.global_rank
        sampler = DistributedSampler(data, num_replicas=ranks, rank=rank, shuffle=False)
        return DataLoader(data, batch_size=8 // ranks, sampler=sampler)


if __name__ == "__main__":
    ranks, out, word = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    doctor = Doctor(1, sequences=None, max_overhead=None, preflight=word)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        callbacks=[doctor],
        logger=False,
        default_root_dir=out / f"run{ranks}",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    try:
        trainer.fit(Model(), Ranks())
        end = {"severity": float(trainer.callback_metrics["doctor/severity"])}
    except Exception as error:
        end = {"refused": str(error)}
    findings = (
        [] if doctor.report is None else [(one.id, one.layer, str(one.severity)) for one in doctor.report.findings]
    )
    vitals = {} if doctor.report is None else {name: one.to_dict() for name, one in doctor.report.vitals.items()}
    content = {**end, "step": trainer.global_step, "findings": findings, "vitals": vitals}
    (out / f"{ranks}_{trainer.global_rank}.json").write_text(json.dumps(content))
