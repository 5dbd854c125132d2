"""In which precision float32 products are taken on a GPU: as cuDNN would, or exactly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.RLock()


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
