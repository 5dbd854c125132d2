"""What carries ranks' reports to each other: one collective for each measured step, of a size that stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

SIZE = 1 << 16
"""Bytes that every rank sends at a measured step, at first."""
HEADER = 8


class Wire:
    """Gathers what every rank has to say in one collective.

    All ranks send the same number of bytes, so none has to ask for the others' first. Where a message does not fit,
    every rank reads that in its header; all gather once more and double the size for good. Messages are bounded, so
    that ends with the number of layers, not with that of steps, units or sequences.

    Attributes:
        size: Bytes that a rank sends.
    """

    def __init__(self) -> None:
        self.size = SIZE

    def gather(self, trainer: Trainer, message: bytes) -> list[bytes]:
        """Return every rank's message, in the ranks' order. All ranks must call this together."""
        lengths, content = self._gather(trainer, message)
        if max(lengths) > self.size - HEADER:
            while max(lengths) > self.size - HEADER:
                self.size *= 2
            lengths, content = self._gather(trainer, message)
        return [one[:length] for length, one in zip(lengths, content, strict=True)]

    def _gather(self, trainer: Trainer, message: bytes) -> tuple[list[int], list[bytes]]:
        """Return the messages' lengths, and of each what fits."""
        block = len(message).to_bytes(HEADER, "little") + message[: self.size - HEADER]
        device = _device(trainer)
        mine = torch.frombuffer(bytearray(block.ljust(self.size, b"\0")), dtype=torch.uint8).to(device)
        room = torch.empty(torch.distributed.get_world_size(), self.size, dtype=torch.uint8, device=device)
        torch.distributed.all_gather(list(room.unbind()), mine)
        blocks = [one.tobytes() for one in room.cpu().numpy()]
        return [int.from_bytes(one[:HEADER], "little") for one in blocks], [one[HEADER:] for one in blocks]


def _device(trainer: Trainer) -> torch.device:
    """Return where tensors must be to be sent: NCCL takes none that is on the CPU."""
    on_cpu = "cpu" in str(torch.distributed.get_backend_config())
    return torch.device("cpu") if on_cpu else trainer.strategy.root_device
