"""What carries ranks' reports, message by message; `test_exchange.py` counts its collectives on two ranks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnn_diag.callbacks.session.wire import SIZE, Wire


def test_a_message_that_does_not_fit_is_gathered_again_at_twice_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    def gather(room: list[torch.Tensor], mine: torch.Tensor) -> None:
        sent.append(mine.nbytes)
        room[0].copy_(mine)

    monkeypatch.setattr(torch.distributed, "all_gather", gather)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_backend_config", lambda: "cpu:gloo")
    wire, trainer = Wire(), None
    messages: Any = [b"a", bytes(SIZE), b"b"]
    assert [wire.gather(trainer, one) for one in messages] == [[one] for one in messages]  # type: ignore[arg-type]
    assert sent == [SIZE, SIZE, 2 * SIZE, 2 * SIZE]
