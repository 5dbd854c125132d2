"""The dropout masks inside cuDNN's stacked kernels: read off the kernel, from a copy of its generator's state.

cuDNN takes the state of its dropout generator as a tensor and advances it in place. A copy made before the call lets
the same kernel draw the same masks again, whatever its weights are. Layers that emit a constant, beneath a last layer
that reads its input through an identity matrix, show them: the output is zero where an input was dropped. A stack that
is cut above a layer draws the same masks below it, so one boundary is read at a time. In a bidirectional stack each
direction draws a mask of its own over the outputs of both directions beneath it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

RNN_RELU, RNN_TANH, LSTM, GRU = 0, 1, 2, 3
"""cuDNN's kinds of cells, `cudnnRNNMode_t`."""

GATES = {RNN_RELU: 1, RNN_TANH: 1, LSTM: 4, GRU: 3}
SHUT, OPEN = -100.0, 100.0
"""Biases that hold a gate at exactly 0 and 1, in half precision as well."""


@dataclass(frozen=True)
class KernelCall:
    """What decides the masks of one call of `aten::_cudnn_rnn`; nothing here is the model's memory.

    Attributes:
        like: Zeros in the form of the input, `[T, B, I]`, `[B, T, I]` or packed `[N, I]`.
        batch: Sequences.
        kind: One of cuDNN's kinds of cells.
        hidden, proj, layers, directions: Sizes; `proj` is 0 without a projection.
        batch_first: Whether `like` is `[B, T, I]`.
        dropout: Probability of dropping.
        batch_sizes: Of packed input; empty otherwise.
        state: The generator's state before the call.
    """

    like: Tensor
    batch: int
    kind: int
    hidden: int
    proj: int
    layers: int
    directions: int
    batch_first: bool
    dropout: float
    batch_sizes: tuple[int, ...]
    state: Tensor

    @classmethod
    def of(cls, arguments: tuple[Any, ...]) -> KernelCall:
        """Return what is remembered of the kernel's arguments, with a copy of the state."""
        input, hx, state = arguments[0], arguments[4], arguments[15]
        return cls(
            like=torch.zeros_like(input, requires_grad=False),
            batch=hx.shape[1],
            kind=arguments[6],
            hidden=int(arguments[7]),
            proj=int(arguments[8]),
            layers=arguments[9],
            directions=2 if arguments[13] else 1,
            batch_first=arguments[10],
            dropout=arguments[11],
            batch_sizes=tuple(map(int, arguments[14])),
            state=state.clone(),
        )

    @property
    def width(self) -> int:
        """Features that one direction of a layer emits."""
        return self.proj or self.hidden


class WatchedKernel(TorchDispatchMode):
    """Sees the kernel call that a fused module makes inside the block, and lets it through as it is.

    Attributes:
        call: What was seen; None where no kernel that draws masks ran.
    """

    kernel: ClassVar[Callable[..., Any]] = torch.ops.aten._cudnn_rnn.default

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.call: KernelCall | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is self.kernel and args[15] is not None:
            with suppress(Exception):  # it would end the model's own call; without it the masks are not known
                self.call = KernelCall.of(args)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def masks_of(call: KernelCall, kernel: Callable[..., Any] | None = None) -> list[tuple[Tensor, ...]]:
    """Return the scaled masks that a kernel call drew, for every layer but the first and each of its directions.

    Args:
        call: What was seen of it.
        kernel: What runs `aten::_cudnn_rnn`; by default cuDNN.

    Returns:
        For layer 1, 2, … one mask per direction of that layer, in the form of the kernel's output, time first:
        `[T, B, ·]`, or packed `[N, ·]`, over the outputs of all directions of the layer beneath; 0 where an input was
        dropped and `1 / (1 - p)` elsewhere, with `p` in single precision, as cuDNN is given it.
    """
    run = WatchedKernel.kernel if kernel is None else kernel
    with torch.autocast(call.like.device.type, enabled=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the weights are not one chunk of memory
        return [_masks_below(call, layer, run) for layer in range(1, call.layers)]


def _masks_below(call: KernelCall, layer: int, run: Callable[..., Any]) -> tuple[Tensor, ...]:
    """Return what each direction of a layer multiplies its input with."""
    dropout = float(torch.tensor(call.dropout, dtype=torch.float32))  # which cuDNN is given, also for float64
    scale = 1 / (1 - dropout) if dropout < 1 else 0.0
    shown = [_shown(call, layer, source, run) for source in range(call.directions)]
    by_direction = zip(*(one.chunk(call.directions, dim=-1) for one in shown), strict=True)
    return tuple(torch.cat(halves, dim=-1) * scale for halves in by_direction)


def _shown(call: KernelCall, layer: int, source: int, run: Callable[..., Any]) -> Tensor:
    """Return where the inputs that a layer gets from one direction beneath it were not dropped, as zeros and ones."""
    weights = list(_constant_layers(call, layer)) + _reading_layer(call, source)
    state = call.like.new_zeros(call.directions * (layer + 1), call.batch, call.width)
    cell = call.like.new_zeros(*state.shape[:2], call.hidden) if call.kind == LSTM else None
    output: Tensor = run(
        call.like,
        weights,
        len(weights) // (call.directions * (layer + 1)),
        None,
        state,
        cell,
        call.kind,
        call.hidden,
        call.proj,
        layer + 1,
        call.batch_first,
        call.dropout,
        True,
        call.directions == 2,
        list(call.batch_sizes),
        call.state.clone(),
    )[0]
    passed = (output.abs() > 1e-3).to(output.dtype)
    return passed.transpose(0, 1) if call.batch_first and not call.batch_sizes else passed


def _constant_layers(call: KernelCall, layers: int) -> Iterator[Tensor]:
    for layer in range(layers):
        inputs = call.like.shape[-1] if layer == 0 else call.directions * call.width
        for _ in range(call.directions):
            yield from _weights(call, inputs, candidate_bias=1.0)


def _reading_layer(call: KernelCall, source: int) -> list[Tensor]:
    """Return a layer whose directions both emit a function of the inputs from one direction that is 0 at 0 alone."""
    one_direction: list[Tensor] = []
    for _ in range(call.directions):
        weights = _weights(call, call.directions * call.width, candidate_bias=0.0)
        candidate = _candidate(call)
        rows = weights[0][candidate : candidate + call.width]
        rows[:, source * call.width : (source + 1) * call.width] = _identity(call, call.width, call.width)
        one_direction += weights
    return one_direction


def _weights(call: KernelCall, inputs: int, candidate_bias: float) -> list[Tensor]:
    """Return a direction's parameters: open to its candidate, deaf to its own past."""
    rows, size = GATES[call.kind] * call.hidden, call.hidden
    bias = call.like.new_zeros(rows)
    if call.kind == LSTM:
        bias[:size], bias[size : 2 * size], bias[3 * size :] = OPEN, SHUT, OPEN
    elif call.kind == GRU:
        bias[size : 2 * size] = SHUT  # an update gate that is shut writes the candidate
    bias[_candidate(call) : _candidate(call) + size] = candidate_bias
    zeros = call.like.new_zeros
    parameters = [zeros(rows, inputs), zeros(rows, call.width), bias, zeros(rows)]
    return [*parameters, _identity(call, call.proj, size)] if call.proj else parameters


def _candidate(call: KernelCall) -> int:
    """Return the first row of the candidate's block."""
    return 2 * call.hidden if call.kind in (LSTM, GRU) else 0


def _identity(call: KernelCall, rows: int, columns: int) -> Tensor:
    return torch.eye(rows, columns, dtype=call.like.dtype, device=call.like.device)
