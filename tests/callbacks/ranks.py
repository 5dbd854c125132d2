"""Several ranks of one run, forked from the test's own process: nothing is imported anew, and one start serves many."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, IterableDataset

from rnn_diag.callbacks import Doctor, GateWeights, RNNDiagnostics
from rnn_diag.doctor import Report

PATIENCE = 120
"""Seconds after which ranks that wait for each other are ended."""
Batch = dict[str, Tensor]


class Network(pl.LightningModule):
    """One layer, called on whatever a rank's batch holds; the loss is of every sequence's last step."""

    find_unused = False

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.build()
        self.seen: list[list[float]] = []

    def build(self) -> None:
        self.encoder: nn.Module = nn.GRU(3, 5, batch_first=True)

    def loss(self, batch: Batch) -> Tensor:
        return self.encoder(batch["inputs"])[0][:, -1].square().sum(1).mean()

    def training_step(self, batches: list[Batch | None], batch_idx: int) -> Tensor:
        """Return the mean of the losses of all ranks whose batches are here: of one, or of all in one process."""
        losses = [self.loss(batch) for batch in batches if batch is not None]
        return sum(losses) / len(batches)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)

    @staticmethod
    def batch(number: int, rank: int) -> Batch | None:
        draw = torch.Generator().manual_seed(100 * number + rank)
        return {"inputs": torch.randn(4, 6 + rank, 3, generator=draw)}


class Packing(Network):
    """Packs sequences of unequal lengths, in two directions."""

    def build(self) -> None:
        self.encoder = nn.LSTM(3, 5, batch_first=True, bidirectional=True)

    def loss(self, batch: Batch) -> Tensor:
        packed = pack_padded_sequence(batch["inputs"], batch["lengths"], batch_first=True, enforce_sorted=False)
        output, lengths = pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
        return output[torch.arange(len(lengths)), lengths - 1].square().sum(1).mean()

    @staticmethod
    def batch(number: int, rank: int) -> Batch | None:
        lengths = torch.tensor([[9, 3, 7, 2], [5, 4, 8, 1], [2, 2, 6, 3], [1, 9, 9, 4]])[rank]
        draw = torch.Generator().manual_seed(100 * number + rank)
        return {"inputs": torch.randn(4, 9, 3, generator=draw), "lengths": lengths}


class ReadingPadding(Network):
    """Reads padding, which the batches of odd ranks alone have."""

    def build(self) -> None:
        self.encoder = nn.LSTM(3, 5, batch_first=True, bidirectional=True)

    @staticmethod
    def batch(number: int, rank: int) -> Batch | None:
        steps = torch.randn(4, 12, 3, generator=torch.Generator().manual_seed(100 * number + rank))
        for row in range(4 * (rank % 2)):
            steps[row, 2 + row :] = 0
        return {"inputs": steps}


class Sparing(Network):
    """Has a second layer that the batches of rank one never reach, and parameters that none reaches."""

    find_unused = True

    def build(self) -> None:
        self.encoder = nn.RNN(3, 5, batch_first=True)
        self.extra = nn.LSTM(3, 5, batch_first=True)
        self.unused = nn.Linear(2, 2)

    def loss(self, batch: Batch) -> Tensor:
        output = self.encoder(batch["inputs"])[0][:, -1]
        if "reaches" in batch:
            output = output + self.extra(batch["inputs"])[0][:, -1]
        return output.square().sum(1).mean()

    @staticmethod
    def batch(number: int, rank: int) -> Batch | None:
        here = Network.batch(number, rank)
        return here if rank == 1 or here is None else {**here, "reaches": torch.ones(1)}


class Sharded(Network):
    """Is sharded where it runs on several ranks."""

    def configure_model(self) -> None:
        if isinstance(self.trainer.strategy, ModelParallelStrategy) and not getattr(self, "is_sharded", False):
            from torch.distributed.fsdp import fully_shard

            self.is_sharded = True
            fully_shard(self.encoder, mesh=self.device_mesh["data_parallel"])


class Batches(IterableDataset[Any]):
    """The batches of one rank, or of all in one process."""

    def __init__(self, kind: type[Network], ranks: Sequence[int], count: int) -> None:
        self.kind, self.ranks = kind, ranks
        self.numbers = [n for n in range(count) if any(kind.batch(n, rank) is not None for rank in ranks)]

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[list[Batch | None]]:
        return iter([[self.kind.batch(number, rank) for rank in self.ranks] for number in self.numbers])


class Notes(pl.Callback):
    """Notes the metrics after every batch."""

    def __init__(self) -> None:
        self.metrics: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.metrics.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def fit(
    kind: type[Network],
    folder: Path,
    ranks: int = 1,
    rank: int | None = None,
    strategy: Any = None,
    batches: int = 2,
    accumulate: int = 1,
    preflight: str | None = None,
    others: Sequence[pl.Callback] = (),
) -> dict[str, Any]:
    """Train on one rank of several, or in one process on the batches of all; return what that ends with."""
    warnings.simplefilter("ignore")
    doctor = Doctor(1, sequences=None, max_overhead=None, preflight=preflight)
    suite = RNNDiagnostics(1, sequences=None, max_overhead=None)
    notes, model = Notes(), kind()
    ddp = DDPStrategy(process_group_backend="gloo", find_unused_parameters=kind.find_unused)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1 if rank is None else ranks,
        strategy=strategy or ("auto" if rank is None else ddp),
        callbacks=[*others, suite, doctor, GateWeights(1, sequences=None, max_overhead=None), notes],
        logger=pl.loggers.TensorBoardLogger(folder, name="", version=""),
        default_root_dir=folder,
        accumulate_grad_batches=accumulate,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    data = DataLoader(Batches(kind, range(ranks) if rank is None else [rank], batches), batch_size=None)
    refused = ""
    try:
        trainer.fit(model, data)
    except RuntimeError as error:
        refused = str(error)
    report = doctor.report or Report((), {})
    return {
        "step": trainer.global_step,
        "metrics": notes.metrics,
        "last": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "findings": [(one.id, one.layer, str(one.severity)) for one in report.findings],
        "vitals": {name: one.to_dict() for name, one in report.vitals.items()},
        "refused": refused,
    }


def on_ranks(count: int, act: Callable[[int], Any]) -> list[Any]:
    """Do something on several ranks at once, forked from this process, and return what each of them returns."""
    context = multiprocessing.get_context("fork")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in range(count)]

    def run(rank: int) -> None:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
        os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", **address)
        torch.set_num_threads(1)
        faulthandler.dump_traceback_later(0.9 * PATIENCE)
        try:
            answer = act(rank)
        except BaseException as error:
            answer = error
        pipes[rank][1].send_bytes(pickle.dumps(answer))
        os._exit(0)

    processes = [context.Process(target=run, args=(rank,)) for rank in range(count)]
    for process in processes:
        process.start()
    answers = []
    for receive, _ in pipes:
        answers.append(pickle.loads(receive.recv_bytes()) if receive.poll(PATIENCE) else TimeoutError("ranks wait"))
    for process in processes:
        process.kill()
        process.join()
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers
