"""Trains a small network on one or two ranks and writes down what every rank ends with; run by `test_exchange.py`."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from rnn_diag.callbacks import Doctor, RNNDiagnostics

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)


class Model(pl.LightningModule):
    def training_step(self, batch, batch_idx):
        return self.loss(*batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Packing(Model):
    """Packs sequences of unequal lengths."""

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

    def loss(self, inputs, lengths):
        packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
        output, lengths = pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
        return output[torch.arange(len(lengths)), lengths - 1].square().sum(1).mean()

    @staticmethod
    def data():
        lengths = torch.tensor([9, 3, 7, 2, 5, 4, 8, 1] * 3)
        return TensorDataset(torch.randn(24, 9, 3, generator=torch.Generator().manual_seed(1)), lengths)


class ReadingPadding(Model):
    """Reads padding, of which only every second sequence has any, so that one rank alone sees it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.LSTM(3, 5, batch_first=True, bidirectional=True)

    def loss(self, inputs):
        return self.encoder(inputs)[0][:, -1].square().mean()

    @staticmethod
    def data():
        steps = torch.randn(16, 12, 3, generator=torch.Generator().manual_seed(1))
        for row in range(1, 16, 2):
            steps[row, 2 + row % 5 :] = 0
        return TensorDataset(steps)


class Fails(pl.Callback):
    """Breaks one rank alone at its third batch: what it measures, or a hook outside of that."""

    def __init__(self, what):
        self.what = what

    def on_train_batch_end(self, trainer, *_):
        if self.what and trainer.global_rank == 1 and trainer.global_step == 2:

            def fail(*_):
                raise ValueError("rank one only")

            session = trainer.callbacks[1]._session
            if self.what == "measure":
                session._plan.measures["gradient_norms"] = type("Failing", (), {"needs": Named, "of": fail})()
            else:
                session.backward_ends = fail


class Named:
    gradients = equations = weights_only = False


class Halves(pl.LightningDataModule):
    """Gives every rank its share of the data, in order."""

    def __init__(self, data, batch_size):
        super().__init__()
        self.data, self.batch_size = data, batch_size

    def train_dataloader(self):
        ranks, rank = self.trainer.world_size, self.trainer.global_rank
        sampler = DistributedSampler(self.data, num_replicas=ranks, rank=rank, shuffle=False)
        return DataLoader(self.data, batch_size=self.batch_size // ranks, sampler=sampler)


class Writes(pl.Callback):
    """Writes down what a rank ends with: a spawned rank has no other way to tell."""

    def __init__(self, out, doctor):
        self.out, self.doctor = out, doctor

    def write(self, trainer, **more):
        content = {"step": trainer.global_step, **more}
        content |= {name: float(value) for name, value in trainer.callback_metrics.items()}
        if (report := self.doctor.report) is not None:
            content["findings"] = [(one.id, one.layer, str(one.severity)) for one in report.findings]
            content["vitals"] = {name: one.to_dict() for name, one in report.vitals.items()}
        (self.out / f"{trainer.world_size}_{trainer.global_rank}.json").write_text(json.dumps(content))

    def on_fit_end(self, trainer, pl_module):
        self.write(trainer)

    def on_exception(self, trainer, pl_module, exception):
        self.write(trainer, refused=str(exception))


if __name__ == "__main__":
    task = {"strategy": "auto", "batches": 1.0, "preflight": None, "fails": "", **json.loads(sys.argv[1])}
    out, kind = Path(task["out"]), {"packing": Packing, "padding": ReadingPadding}[task["model"]]
    ranks = 1 if task["strategy"] == "auto" else 2
    parallel = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    doctor = Doctor(1, sequences=None, max_overhead=None, preflight=task["preflight"])
    suite = RNNDiagnostics(1, sequences=None, max_overhead=None)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=ranks,
        strategy=parallel if task["strategy"] == "model_parallel" else task["strategy"],
        callbacks=[Fails(task["fails"]), suite, doctor, Writes(out, doctor)],
        logger=pl.loggers.CSVLogger(out / f"run{ranks}", name="", version=""),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_train_batches=task["batches"],
    )
    try:
        trainer.fit(kind(), Halves(kind.data(), task["batch_size"]))
    except RuntimeError as error:
        assert "pre-flight" in str(error), error
