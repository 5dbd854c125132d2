"""How long a device was busy with what it was asked for, beyond the time that asking took."""

from __future__ import annotations

from time import perf_counter

import torch


class DeviceTime:
    """Measures a `with` block on a device that computes while Python continues; nothing is waited for in the block.

    Args:
        device: Which computes; only a CUDA device tells its time.
    """

    def __init__(self, device: torch.device) -> None:
        on_cuda = device.type == "cuda"
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if on_cuda else []
        self._stream = torch.cuda.current_stream(device) if on_cuda else None
        self._host = 0.0

    def __enter__(self) -> None:
        self._host = -perf_counter()
        self._record(0)

    def __exit__(self, *exception: object) -> None:
        self._record(-1)
        self._host += perf_counter()

    def _record(self, which: int) -> None:
        if self._events:
            self._events[which].record(self._stream)

    def wait(self) -> None:
        """Wait until the device is done with the block; it continues with what it was asked for since."""
        for event in self._events:
            event.synchronize()

    @property
    def beyond_host(self) -> float:
        """Seconds that the device took longer than Python, once it is done."""
        seconds = self._events[0].elapsed_time(self._events[-1]) / 1000 if self._events else 0.0
        return max(0.0, float(seconds) - self._host)
