"""The masks that a stacked kernel drew are read off it: off a fake that keeps cuDNN's contract, and off cuDNN."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnn_diag import record
from rnn_diag.capture import call_log, dropout
from rnn_diag.capture.cudnn_dropout import KernelCall, WatchedKernel, masks_of
from tests.capture.fake_cudnn import FakeKernel, arguments_of


@pytest.mark.parametrize("form", ["time first", "batch first", "packed"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("kind", ["LSTM", "projected LSTM", "GRU", "RNN", "relu RNN"])
def test_every_boundary_and_direction_shows_the_mask_that_was_drawn(kind: str, bidirectional: bool, form: str) -> None:
    options = {"projected LSTM": {"proj_size": 3}, "relu RNN": {"nonlinearity": "relu"}}.get(kind, {})
    module = getattr(nn, kind.split()[-1])(
        4, 5, 3, dropout=0.4, bidirectional=bidirectional, batch_first=form == "batch first", **options
    )
    inputs = torch.randn(6, 3, 4)
    if form == "packed":
        inputs = pack_padded_sequence(inputs, [2, 6, 4], enforce_sorted=False)
    kernel, state = FakeKernel(), torch.tensor([7])
    arguments = arguments_of(module, inputs, state)
    call = KernelCall.of(arguments)
    kernel(*arguments)
    drawn = kernel.drawn
    found = masks_of(call, kernel)
    assert len(found) == 2
    for ours, theirs in zip(found, drawn, strict=True):
        assert len(ours) == len(theirs) == (2 if bidirectional else 1)
        assert all(torch.equal(mask, other) for mask, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_nothing_and_everything_dropped_are_masks_too(dropout: float) -> None:
    module = nn.GRU(2, 3, 2, dropout=dropout)
    call = KernelCall.of(arguments_of(module, torch.randn(4, 2, 2), torch.tensor([1])))
    ((mask,),) = masks_of(call, FakeKernel())
    assert torch.equal(mask, torch.full((4, 2, 3), 1.0 - dropout))


def test_the_state_that_the_kernel_moves_and_that_of_the_call_are_left_alone_by_the_reading() -> None:
    state = torch.tensor([5])
    call = KernelCall.of(arguments_of(nn.LSTM(2, 3, 3, dropout=0.5), torch.randn(4, 2, 2), state))
    masks_of(call, FakeKernel())
    assert int(state) == 5
    assert int(call.state) == 5


def test_inputs_that_are_not_numbers_do_not_reach_the_masks() -> None:
    inputs = torch.full((4, 2, 2), float("nan"))
    call = KernelCall.of(arguments_of(nn.LSTM(2, 3, 2, dropout=0.5), inputs, torch.tensor([5])))
    ((mask,),) = masks_of(call, FakeKernel())
    assert set(mask.unique().tolist()) == {0.0, 2.0}


def test_a_block_without_the_kernel_remembers_no_call() -> None:
    with WatchedKernel() as watched:
        nn.LSTM(2, 3, 2, dropout=0.5)(torch.randn(4, 2, 2))
    assert watched.call is None


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
def test_a_recording_follows_a_stack_with_a_mask_for_each_direction(
    monkeypatch: pytest.MonkeyPatch, bidirectional: bool
) -> None:
    module = nn.LSTM(4, 5, 3, dropout=0.4, bidirectional=bidirectional)
    watched, fused = WatchedKernel(), torch._VF.lstm

    def lstm(*given: Any) -> tuple[Tensor, ...]:
        if given[4] == 1:  # a layer of the fake kernel
            return fused(*given)
        arguments = arguments_of(module, given[0], torch.tensor([3]))
        watched.call = KernelCall.of(arguments)
        return FakeKernel()(*arguments)

    monkeypatch.setattr(torch._VF, "lstm", lstm)
    monkeypatch.setattr(call_log, "what_decides_masks", lambda module: watched)
    monkeypatch.setattr(dropout, "masks_of", partial(masks_of, kernel=FakeKernel()))
    with record(module) as recording:
        module(torch.randn(6, 3, 4))[0].pow(2).sum().backward()
    assert len(recording) == (6 if bidirectional else 3)
    assert all(trace.fidelity < 1e-5 for trace in recording.values())


@pytest.mark.gpu
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_recording_follows_cudnns_stacks(kind: str, bidirectional: bool, packed: bool) -> None:
    inputs = torch.randn(9, 4, 6, device="cuda", dtype=torch.float64)
    given = pack_padded_sequence(inputs, [9, 3, 5, 7], enforce_sorted=False) if packed else inputs
    module = getattr(nn, kind)(6, 8, 3, dropout=0.4, bidirectional=bidirectional, device="cuda", dtype=torch.float64)
    with record(module) as recording:
        output = module(given)[0]
        (output.data if packed else output).pow(2).sum().backward()
    assert len(recording) == (6 if bidirectional else 3), recording.coverage
    assert all(trace.fidelity < 1e-9 for trace in recording.values())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_cudnns_stack_is_rebuilt_from_its_masks(
    kind: str, bidirectional: bool, packed: bool, dtype: torch.dtype
) -> None:
    directions = 2 if bidirectional else 1
    options = {"bidirectional": bidirectional, "device": "cuda", "dtype": dtype}
    module = getattr(nn, kind)(6, 8, 3, dropout=0.4, **options)
    inputs = torch.randn(9, 4, 6, device="cuda", dtype=dtype)
    given = pack_padded_sequence(inputs, [9, 3, 5, 7], enforce_sorted=False) if packed else inputs
    module(given)
    with WatchedKernel() as watched:
        output = module(given)[0]
    assert watched.call is not None
    masks = masks_of(watched.call)
    between = given.data if packed else given
    for layer in range(3):
        single = getattr(nn, kind)(between.shape[-1], 8, **options)
        for name, value in single.named_parameters():
            value.data.copy_(getattr(module, name.replace("l0", f"l{layer}")))
        fed = [between] if layer == 0 else [between * mask for mask in masks[layer - 1]]
        outputs = [single(PackedSequence(one, *given[1:]) if packed else one)[0] for one in fed * (3 - len(fed))]
        halves = [(one.data if packed else one).chunk(directions, -1) for one in outputs]
        between = torch.cat([halves[direction][direction] for direction in range(directions)], -1)
    tolerance = {torch.float64: 1e-12, torch.float32: 2e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}[dtype]
    assert float((between - (output.data if packed else output)).abs().max()) < tolerance
