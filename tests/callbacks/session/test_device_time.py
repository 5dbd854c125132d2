"""How long a device is busy beyond the time that Python took."""

from __future__ import annotations

import time

import pytest
import torch

from rnn_diag.callbacks.session.device_time import DeviceTime


class FakeEvent:
    """An event of a device on which everything takes half a second."""

    def __init__(self, enable_timing: bool) -> None:
        self.calls: list[str] = []

    def record(self, stream: object) -> None:
        self.calls.append("record")

    def synchronize(self) -> None:
        self.calls.append("synchronize")

    def elapsed_time(self, other: FakeEvent) -> float:
        assert self is not other and self.calls and "synchronize" in other.calls
        return 500.0


def test_a_processor_has_no_time_beyond_its_own():
    spent = DeviceTime(torch.device("cpu"))
    with spent:
        time.sleep(0.001)
    spent.wait()
    assert spent.beyond_host == 0


def test_what_python_took_meanwhile_is_not_counted_twice_and_the_block_waits_for_nothing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: device)
    spent = DeviceTime(torch.device("cuda"))
    with spent:
        time.sleep(0.1)
    assert all(event.calls == ["record"] for event in spent._events)
    spent.wait()
    assert 0 < spent.beyond_host <= 0.4


@pytest.mark.gpu
def test_a_gpu_takes_longer_than_to_ask_it():
    matrix = torch.randn(4096, 4096, device="cuda")
    spent = DeviceTime(matrix.device)
    with spent:
        for _ in range(50):
            matrix = (matrix @ matrix).clamp(-1, 1)
    spent.wait()
    assert spent.beyond_host > 0
