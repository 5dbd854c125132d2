"""In which precision a layer is computed: the dtype of its weights, autocast's, and TF32 for float32 on a GPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST_NORMAL = torch.finfo(torch.float16).smallest_normal
"""Below it float16 has ever fewer digits, and below 2^-25 none."""

MANY_LOST = 0.3
"""Share of the gradients that reach a layer: where so many are below it, float16 lost them before, not on the way."""

_lock = threading.RLock()


def in_double(tensor: Tensor) -> Tensor:
    """Return the tensor detached, in float64; on the CPU where its own device has no float64.

    Squares of vanishing gradients underflow in single precision, and half precision loses them long before.

    Example:
        >>> import torch
        >>> in_double(torch.tensor(1.0, dtype=torch.float16)).dtype
        torch.float64
    """
    tensor = tensor.detach()
    return tensor.cpu().double() if tensor.device.type == "mps" else tensor.double()


def is_waited_for(tensor: Tensor) -> bool:
    """Return whether to read a number of a tensor is to wait for a device."""
    return tensor.device.type != "cpu"


def cudnn_takes_tf32() -> bool:
    """Whether `torch.backends.cudnn` allows TF32 to recurrent kernels."""
    try:
        return bool(torch.backends.cudnn.allow_tf32)
    except RuntimeError:  # set for convolutions and recurrences apart, with torch's newer names
        return bool(torch.backends.cudnn.rnn.fp32_precision == "tf32")  # type: ignore[attr-defined]


@contextmanager
def float32_products(tf32: bool) -> Iterator[None]:
    """Take float32 products on GPUs in TF32, or in full; torch's setting is the caller's again afterwards.

    The setting is one for the whole process, so threads take turns.
    """
    matmul = torch.backends.cuda.matmul
    with _lock:
        try:
            name, was = torch.get_float32_matmul_precision(), matmul.allow_tf32
        except RuntimeError:  # set by torch's newer name only
            yield
            return
        if was == tf32:
            yield
            return
        newer = getattr(matmul, "fp32_precision", None)
        matmul.allow_tf32 = tf32
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(name)
            if newer is not None:
                matmul.fp32_precision = newer


@dataclass(frozen=True)
class Precision:
    """How a layer was computed.

    Attributes:
        dtype: Of its weights.
        autocast: What autocast took its products in, or None where it was off.
        tf32: Whether cuDNN may have taken float32 products in TF32.
    """

    dtype: torch.dtype
    autocast: torch.dtype | None = None
    tf32: bool = False

    @classmethod
    def of(cls, weight: Tensor) -> Precision:
        """Return what holds for a layer with this weight now."""
        kind = weight.device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        return cls(weight.dtype, autocast, weight.is_cuda and cudnn_takes_tf32())

    def __str__(self) -> str:
        taken = self.autocast or self.dtype
        return "TF32" if self.tf32 and taken == torch.float32 else str(taken).removeprefix("torch.")

    @contextmanager
    def applied(self, device: str) -> Iterator[None]:
        """Let it hold within a block, on a kind of device."""
        autocast = torch.autocast(device, self.autocast, enabled=self.autocast is not None, cache_enabled=False)
        if device != "cuda":
            with autocast:
                yield
            return
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=self.tf32), autocast:
            yield


DOUBLE = Precision(torch.float64)
