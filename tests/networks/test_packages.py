"""Recurrences of other packages, where these are installed: found by what they do, with autograd's gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn_diag import record
from rnn_diag.capture import Recording
from rnn_diag.capture.leaves import leaves

STEPS, BATCH, FEATURES, UNITS = 6, 3, 4, 5


def recorded(model: nn.Module, loss: Callable[[], Tensor], kept: dict[str, list[Tensor]]) -> Recording:
    """Return what is seen of a model, and what each of its modules returned, whose gradients autograd leaves there."""

    def keep(name: str, result: Any) -> None:
        for leaf in leaves(result).values():
            if leaf.value.requires_grad:
                leaf.value.retain_grad()
            kept.setdefault(name, []).append(leaf.value)

    for name, module in model.named_modules():
        module.register_forward_hook(lambda _, __, result, name=name: keep(name, result))
    with record(model) as recording:
        loss().backward()
    return recording


def assert_exact(recording: Recording, layer: str, kept: dict[str, list[Tensor]]) -> None:
    returned = kept[layer.removesuffix(".l0")]
    for trace in recording.calls(layer):
        for name, states in trace.states.items():
            for state, grad in zip(states, trace.state_grads[name], strict=True):
                same = [one for one in returned if one.shape == state.shape and torch.equal(one, state)]
                grads = [torch.zeros_like(one) if one.grad is None else one.grad for one in same]
                assert any(torch.allclose(grad, one, rtol=0, atol=1e-14) for one in grads)


def test_torchrecurrent() -> None:
    package = pytest.importorskip("torchrecurrent")
    inputs = torch.randn(STEPS, BATCH, UNITS, dtype=torch.float64)
    names = [name.removesuffix("Cell") for name in dir(package) if name.endswith("Cell")]
    assert len(names) > 35
    for name in names:
        model, kept = getattr(package, name)(UNITS, UNITS, num_layers=2).double(), {}
        recording = recorded(model, lambda model=model: model(inputs)[0].square().mean(), kept)
        assert recording.names == ["cells.0.l0", "cells.1.l0"], name
        for row in recording.coverage:
            assert row.status == "exact" and "found: output" in row.reason, name
            assert_exact(recording, row.layer, kept)


def test_ncps(monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("ncps.torch")
    wirings = pytest.importorskip("ncps.wirings")
    inputs = torch.randn(STEPS, BATCH, FEATURES)
    for model, names in (
        (package.CfC(FEATURES, UNITS, batch_first=False), ["rnn_cell.l0"]),
        (package.CfC(FEATURES, UNITS, batch_first=False, mixed_memory=True), ["lstm.l0"]),
        (package.LTC(FEATURES, wirings.AutoNCP(12, 3), batch_first=False), ["rnn_cell.l0"]),
    ):
        cell = model.get_submodule(names[0].removesuffix(".l0"))  # its forward is called past all hooks
        original, kept = type(cell).forward, []

        def keep(*arguments: Any, original: Any = original, kept: list[Tensor] = kept) -> Any:
            result = original(*arguments)
            for leaf in leaves(result).values():
                leaf.value.retain_grad()
                kept.append(leaf.value)
            return result

        monkeypatch.setattr(type(cell), "forward", keep)
        recording = recorded(model, lambda model=model: model(inputs)[0].square().mean(), {})
        assert recording.names == names
        assert_exact(recording, names[0], {names[0].removesuffix(".l0"): kept})


@pytest.mark.parametrize("name", ["minGRU", "minLSTM"])
def test_min_gru_pytorch(name: str) -> None:
    layer = getattr(pytest.importorskip(f"minGRU_pytorch.{name}"), name)(UNITS).double()
    inputs = torch.randn(BATCH, STEPS, UNITS, dtype=torch.float64)
    recording = recorded(nn.ModuleDict({"layer": layer}), lambda: layer(inputs).square().mean(), {})
    (row,) = recording.coverage
    assert row.status == "not followed" and "called once: steps inside its own forward" in row.reason

    def step_by_step() -> Tensor:
        state, outputs = None, []
        for x in inputs.split(1, dim=1):
            output, state = layer(x, state, return_next_prev_hidden=True)
            outputs.append(output)
        return torch.cat(outputs, 1).square().mean()

    recording = recorded(nn.ModuleDict({"layer": layer}), step_by_step, kept := {})
    assert recording.names == ["layer.l0"]
    assert_exact(recording, "layer.l0", kept)


def test_xlstm() -> None:
    xlstm = pytest.importorskip("xlstm")
    inner = xlstm.mLSTMBlockConfig(mlstm=xlstm.mLSTMLayerConfig(num_heads=2))
    outer = xlstm.sLSTMBlockConfig(slstm=xlstm.sLSTMLayerConfig(backend="vanilla", num_heads=2))
    shape = {"context_length": 8, "num_blocks": 2, "embedding_dim": 8, "slstm_at": [1]}
    model = xlstm.xLSTMBlockStack(xlstm.xLSTMBlockStackConfig(mlstm_block=inner, slstm_block=outer, **shape))
    recording = recorded(model, lambda: model(torch.randn(BATCH, 8, 8)).square().mean(), {})
    rows = {row.layer: row.reason for row in recording.coverage}
    assert "called once" in rows["blocks.0.xlstm.mlstm_cell"]
    assert "a loop over time is written inside sLSTMCell_vanilla.forward" in rows["blocks.1.xlstm.slstm_cell"]
