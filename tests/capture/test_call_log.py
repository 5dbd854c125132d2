"""What goes wrong in a call ends no run, and is said in the coverage."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from rnn_diag import record


def test_a_call_that_cannot_be_followed_is_said_once_and_the_model_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.GRU(2, 2)

    def fail(*args: object) -> None:
        raise MemoryError("no room")

    with record(module) as recording:
        monkeypatch.setattr(recording._log, "_record", fail)
        with pytest.warns(
            UserWarning, match=r"could not be followed: MemoryError in test_call_log.py:\d+ fail\(\): no"
        ):
            output, _ = module(torch.randn(3, 2, 2))
        output.sum().backward()
    assert module.weight_hh_l0.grad is not None
    line = fail.__code__.co_firstlineno + 1
    said = f"a call could not be followed: MemoryError in test_call_log.py:{line} fail(): no room"
    assert recording.coverage[0][2:5] == ("partial", said, "")


@pytest.mark.filterwarnings("error")
def test_a_call_that_cannot_be_followed_ends_no_model_where_warnings_are_errors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = nn.GRU(2, 2)
    with record(module) as recording:
        monkeypatch.setattr(recording._log, "_record", lambda *_: 1 / 0)
        module(torch.randn(3, 2, 2))[0].sum().backward()
    assert module.weight_hh_l0.grad is not None
    assert "a call could not be followed: ZeroDivisionError" in caplog.text


def test_an_error_is_let_through_when_the_environment_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = nn.GRU(2, 2)
    monkeypatch.setenv("RNN_DIAG_RAISE", "1")
    with record(module) as recording:
        monkeypatch.setattr(recording._log, "_record", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            module(torch.randn(3, 2, 2))


def test_a_gradient_that_cannot_be_read_ends_no_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.GRU(2, 2)
    with record(module) as recording:
        output, _ = module(torch.randn(3, 2, 2))
        call = recording._log.calls[""][0]
        monkeypatch.setattr(call, "_steps", lambda packing: 1 / 0)
        output.sum().backward()
    assert module.weight_hh_l0.grad is not None
    assert recording.coverage[0].status == "partial"
    assert re.fullmatch(
        r"a gradient could not be read: ZeroDivisionError in test_call_log.py:\d+: division by zero",
        recording.coverage[0].reason,
    )


def test_a_model_on_the_meta_device_runs_and_is_said_to_have_no_numbers() -> None:
    module = nn.GRU(3, 4, device="meta")
    with record(module) as recording, pytest.warns(UserWarning, match="meta device, where there are shapes and no num"):
        output, _ = module(torch.empty(5, 2, 3, device="meta"))
    assert output.shape == (5, 2, 4)
    assert recording.coverage[0].status == "partial"
