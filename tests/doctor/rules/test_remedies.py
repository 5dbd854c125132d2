"""Advice is code that runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rnn_diag.interventions.initialization
from rnn_diag.doctor import Vitals
from rnn_diag.doctor.rules import remedies


@pytest.mark.parametrize(
    "call",
    [
        lambda vitals: remedies.chrono(vitals)[0],
        lambda vitals: remedies.constant_bias(vitals, 1.0)[0],
        lambda vitals: remedies.orthogonal(vitals)[0],
        lambda vitals: remedies.longer_memory(vitals)[1],
    ],
)
@pytest.mark.parametrize("path", ["", "encoder", "stack.0", "stack.1.rnn"])
def test_calls_run_on_the_model_that_they_name(path: str, call) -> None:
    model: nn.Module = nn.LSTM(2, 3)
    if path:
        inner = nn.ModuleDict({"rnn": nn.LSTM(2, 3)}) if path.endswith("rnn") else nn.LSTM(2, 3)
        model = nn.ModuleDict({"encoder": nn.LSTM(2, 3), "stack": nn.ModuleList([nn.LSTM(2, 3), inner])})
    vitals = Vitals(f"{path}.l0".lstrip("."), is_gated=True, memory_gate="forget", steps=50)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    exec(call(vitals), {"model": model, "rnn_diag": rnn_diag})
    assert any(not torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


def test_a_plain_recurrence_is_told_of_the_identity_and_a_gated_one_without_a_known_gate_of_no_call() -> None:
    words, call, option = remedies.longer_memory(Vitals("l0"))
    assert "identity" in words and call.endswith("identity(model)") and option == "initialization=[identity]"
    assert remedies.longer_memory(Vitals("l0", is_gated=True))[1:] == ("", "")


def test_no_matrix_is_set_where_there_is_none() -> None:
    vitals = Vitals("l0", kind="indrnn", has_matrix=False)
    words, call, option = remedies.longer_memory(vitals)
    assert "nearer to 1" in words and not call and not option
    assert remedies.orthogonal(vitals) == remedies.identity(vitals) == ("", "")
