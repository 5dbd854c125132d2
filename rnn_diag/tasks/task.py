"""What a task is: a Lightning data module that says what it feeds, what it asks for, and what guessing would score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from rnn_diag.arguments import whole
from rnn_diag.batch import Batch, TaskSpec

SPLITS: Final = ("train", "validation", "test")


class SequenceDataset(Dataset[Batch], ABC):
    """Sequences that are fetched a batch at a time, so that no Python code runs per sequence."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of sequences."""

    @abstractmethod
    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return the batch made of these sequences."""

    def __getitem__(self, index: int) -> Batch:
        """Return the batch made of this one sequence."""
        return self.__getitems__([index])


class TensorSequences(SequenceDataset):
    """Sequences held in memory: row `i` of every tensor of `whole` is sequence `i`."""

    def __init__(self, whole: Batch) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole.inputs)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        rows = torch.as_tensor(indices)
        lengths = None if self.whole.lengths is None else self.whole.lengths[rows]
        return Batch(self.whole.inputs[rows], self.whole.targets[rows], lengths)


class SequenceTask(pl.LightningDataModule, ABC):
    """A data module with a `spec`; a task says what its sequences are, this class feeds them.

    The order of the training sequences depends on `seed` and on the epoch alone: a resumed run goes on with the order
    that the uninterrupted one would have seen, and the global random state is never read nor advanced. With `W`
    processes, batch `k` of rank `r` holds every `W`-th sequence, from the `r`-th, of the batch of `W * batch_size`
    that a single process would see. The sampler is set here, so Lightning inserts none of its own.

    Args:
        batch_size: Sequences per batch and process.
        num_workers: Processes that fetch batches; 0 fetches in the training process, which is fast for these tasks.
        seed: Determines the data that is drawn, the splits that are drawn, and the order of training.
    """

    shuffles: bool = True
    """Whether training goes through the sequences in a new order in every epoch."""

    def __init__(self, batch_size: int, num_workers: int = 0, seed: int = 0) -> None:
        super().__init__()
        self.batch_size = whole("batch_size", batch_size, 1)
        self.num_workers = whole("num_workers", num_workers, 0)
        self.seed = whole("seed", seed, 0)

    @cached_property
    def spec(self) -> TaskSpec:
        """What a model must know; reads the data the first time when that is needed to know it."""
        return self.describe()

    @abstractmethod
    def describe(self) -> TaskSpec:
        """Work out the `spec`."""

    @abstractmethod
    def sequences(self, split: str) -> SequenceDataset:
        """Return the sequences of `"train"`, `"validation"` or `"test"`."""

    def generator(self, split: str) -> torch.Generator:
        """Return a new random generator that belongs to this task's seed and to this split."""
        return torch.Generator().manual_seed(len(SPLITS) * self.seed + SPLITS.index(split))

    @property
    def world_size(self) -> int:
        """Processes that share the data: the trainer's, or 1 without a trainer."""
        return self.trainer.world_size if self.trainer is not None else 1

    def setup(self, stage: str) -> None:
        """Read or draw the data, so that bad input is reported before training."""
        _ = self.spec
        for split in {"fit": SPLITS[:2], "validate": SPLITS[1:2], "test": SPLITS[2:]}.get(stage, ()):
            self.sequences(split)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the training batches, all of the same size."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation batches, always in the same order."""
        return self._loader("validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the test batches, always in the same order."""
        return self._loader("test")

    def rows_per_batch(self, split: str) -> int:
        """Return the sequences per batch and process in this split."""
        return self.batch_size

    def _loader(self, split: str) -> DataLoader[Batch]:
        training = split == "train"
        sequences = self.sequences(split)
        if training and len(sequences) < self.batch_size * self.world_size:
            raise ValueError(
                f"batch_size={self.batch_size} on {self.world_size} process(es) needs that many training sequences "
                f"each; {type(self).__name__} has {len(sequences)} in all"
            )
        return DataLoader(
            sequences,
            batch_size=self.rows_per_batch(split),
            sampler=DistributedSampler(
                sequences,
                num_replicas=self.world_size,
                rank=self.trainer.global_rank if self.trainer is not None else 0,
                shuffle=training and self.shuffles,
                seed=self.seed,
                drop_last=training,
            ),
            drop_last=training,
            collate_fn=_as_fetched,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            generator=self.generator(split),
        )


def _as_fetched(batch: Any) -> Any:
    return batch
