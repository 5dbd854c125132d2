"""A picture read as a sequence: pixel by pixel or row by row, in reading order or in one fixed shuffled order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Final, NamedTuple

import torch
from torch import Tensor

from rnn_diag.arguments import one_of
from rnn_diag.batch import Batch, TaskSpec
from rnn_diag.tasks.task import SequenceTask, TensorSequences

WAYS_TO_READ: Final = ("pixel", "row")


class Images(NamedTuple):
    """Pictures with their classes: `pixels` `[N, height, width]` in 0 to 1, `labels` `[N]`."""

    pixels: Tensor
    labels: Tensor


class ImageTask(SequenceTask):
    """Say which digit a picture shows once all of it has been read.

    The baseline is the accuracy, on validation, of always naming the class that is the most frequent one in training.

    Args:
        by: `"pixel"` feeds one pixel per step, `"row"` one row of pixels per step.
        permuted: Feed the pixels in one shuffled order, the same for every picture. Neighbours in the picture are then
            far apart in time. With `by="row"` the shuffled pixels are dealt out in rows.
        batch_size: Pictures per batch and process.
        num_workers: Processes that fetch batches.
        seed: Determines the split, the shuffled order of the pixels and the order of training.
    """

    classes: int = 10

    def __init__(
        self, by: str = "pixel", permuted: bool = False, batch_size: int = 32, num_workers: int = 0, seed: int = 0
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.by = one_of("by", by, WAYS_TO_READ)
        self.permuted = permuted

    @abstractmethod
    def read_images(self) -> Mapping[str, Images]:
        """Return the pictures of every split."""

    @cached_property
    def images(self) -> Mapping[str, Images]:
        """The pictures of every split."""
        return self.read_images()

    def describe(self) -> TaskSpec:
        """Work out the `spec`."""
        train, validation = self.images["train"], self.images["validation"]
        majority = torch.bincount(train.labels).argmax()
        steps, features = self.as_sequences(train.pixels[:1]).shape[1:]
        return TaskSpec(
            target="class",
            input_size=features,
            output_size=self.classes,
            tokens=False,
            every_step=False,
            steps=steps,
            baseline={"accuracy": float((validation.labels == majority).double().mean())},
            baseline_meaning=f"Always says {int(majority)}, the most frequent class in training.",
        )

    def sequences(self, split: str) -> TensorSequences:
        """Return the pictures of a split as sequences."""
        pixels, labels = self.images[split]
        return TensorSequences(Batch(self.as_sequences(pixels), labels))

    def as_sequences(self, pixels: Tensor) -> Tensor:
        """Return pictures `[N, height, width]` as `[N, steps, features]`."""
        count, height, width = pixels.shape
        flat = pixels.reshape(count, height * width)
        if self.permuted:
            flat = flat[:, torch.randperm(height * width, generator=self.generator("train"))]
        return flat.reshape(count, height, width) if self.by == "row" else flat[:, :, None]


def split_by_class(labels: Tensor, shares: Mapping[str, float], generator: torch.Generator) -> dict[str, Tensor]:
    """Return, for every name in `shares`, the indices of its share of each class; what is left goes to the first name.

    Example:
        >>> parts = split_by_class(torch.arange(40) % 4, {"train": 0.8, "test": 0.2}, torch.Generator())
        >>> torch.bincount(torch.arange(40)[parts["test"]] % 4).tolist()
        [2, 2, 2, 2]
    """
    first, *others = shares
    parts: dict[str, list[Tensor]] = {name: [] for name in shares}
    for label in range(int(labels.max()) + 1):
        members = torch.nonzero(labels == label)[:, 0]
        size = len(members)
        members = members[torch.randperm(size, generator=generator)]
        for name in others:
            share = round(shares[name] * size)
            parts[name].append(members[:share])
            members = members[share:]
        parts[first].append(members)
    return {name: torch.cat(part).sort().values for name, part in parts.items()}
