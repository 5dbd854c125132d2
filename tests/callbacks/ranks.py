"""Trains a small network on one or two ranks and writes down what every rank ends with; run by `test_ranks.py`."""

from __future__ import annotations

import json
import logging
import sys
import warnings

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from rnn_diag.callbacks import RNNDiagnostics

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.encoder = None

    def configure_model(self):
        if self.encoder is not None:
            return
        torch.manual_seed(0)
        self.encoder = nn.LSTM(3, 5, num_layers=2, batch_first=True)
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            from torch.distributed.fsdp import fully_shard

            fully_shard(self.encoder, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch, batch_idx):
        packed = pack_padded_sequence(batch[0], batch[1].cpu(), batch_first=True, enforce_sorted=False)
        output, lengths = pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
        return output[torch.arange(len(lengths)), lengths - 1].square().sum(1).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Reports(pl.Callback):
    """Writes down what every rank ends with."""

    def __init__(self, folder):
        self.folder = folder

    def on_fit_end(self, trainer, pl_module):
        values = {name: value.item() for name, value in trainer.callback_metrics.items()}
        with open(f"{self.folder}/{trainer.world_size}_{trainer.global_rank}.json", "w") as file:
            json.dump({"step": trainer.global_step, **values}, file)


class FailsOnRankOne(pl.Callback):
    def on_train_batch_end(self, trainer, *_):
        if len(sys.argv) > 5 and trainer.global_rank == 1 and trainer.global_step == 2:

            def fail(*_):
                raise ValueError("rank one only")

            trainer.callbacks[1].diagnostics[0].measure = fail


class Ranks(pl.LightningDataModule):
    def __init__(self, batch_size):
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self):
        lengths = torch.tensor([9, 3, 7, 2, 5, 4, 8, 1] * 3)
        data = TensorDataset(torch.randn(24, 9, 3, generator=torch.Generator().manual_seed(1)), lengths)
        ranks, rank = self.trainer.world_size, self.trainer.global_rank
        sampler = DistributedSampler(data, num_replicas=ranks, rank=rank, shuffle=False)
        return DataLoader(data, batch_size=self.batch_size, sampler=sampler)


if __name__ == "__main__":
    strategy, batch_size, out, batches = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    ranks = 1 if strategy == "auto" else 2
    parallel = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=ranks,
        strategy=parallel if strategy == "model_parallel" else strategy,
        callbacks=[FailsOnRankOne(), RNNDiagnostics(1, sequences=None, max_overhead=None), Reports(out)],
        logger=pl.loggers.CSVLogger(out, name="log", version=0),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_train_batches=batches,
    )
    trainer.fit(Model(), Ranks(batch_size))
