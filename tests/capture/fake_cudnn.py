"""The contract of cuDNN's stacked kernel, on a CPU: a mask per boundary and direction, from a state that it moves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnn_diag.capture.cudnn_dropout import LSTM, RNN_RELU, RNN_TANH

KERNELS = {RNN_RELU: "rnn_relu", RNN_TANH: "rnn_tanh", LSTM: "lstm", 3: "gru"}


class FakeKernel:
    """`aten::_cudnn_rnn`; `drawn` holds the masks of the latest call, by layer and direction, scaled."""

    def __init__(self) -> None:
        self.drawn: list[tuple[Tensor, ...]] = []

    def __call__(self, *arguments: Any) -> tuple[Tensor, ...]:
        input, weights, stride, _, hx, cx, kind, _, _, layers, batch_first, dropout, train, both, sizes, state = (
            arguments
        )
        directions = 2 if both else 1
        generator = torch.Generator().manual_seed(int(state[0]))
        state.add_(1)
        between = input.transpose(0, 1) if batch_first and not sizes else input
        self.drawn = []
        finals: list[list[Tensor]] = []
        for layer in range(layers):
            fed = [between] * directions
            if layer and train:
                masks = tuple(self.mask(between, dropout, generator) for _ in range(directions))
                self.drawn.append(masks)
                fed = [between * mask for mask in masks]
            here = slice(layer * directions, (layer + 1) * directions)
            own = weights[here.start * stride : here.stop * stride]
            state_here = hx[here] if cx is None else (hx[here], cx[here])
            results = [self.layer(KERNELS[kind], one, state_here, own, both, sizes) for one in fed]
            between = torch.cat([out.chunk(directions, -1)[d] for d, (out, *_) in enumerate(results)], -1)
            finals += [[part[d] for part in final] for d, (_, *final) in enumerate(results)]
        output = between.transpose(0, 1) if batch_first and not sizes else between
        return output, *(torch.stack(parts) for parts in zip(*finals, strict=True))

    def mask(self, like: Tensor, dropout: float, generator: torch.Generator) -> Tensor:
        kept = torch.rand(like.shape, generator=generator) >= dropout
        single = float(torch.tensor(dropout, dtype=torch.float32))
        return kept.to(like.dtype) * (1 / (1 - single)) if dropout < 1 else torch.zeros_like(like)

    def layer(
        self, kernel: str, input: Tensor, hx: Any, weights: list[Tensor], both: bool, sizes: list[int]
    ) -> tuple[Tensor, ...]:
        run = getattr(torch._VF, kernel)
        if sizes:
            return run(input, torch.tensor(sizes), hx, weights, True, 1, 0.0, True, both)
        return run(input, hx, weights, True, 1, 0.0, True, both, False)


def arguments_of(module: torch.nn.RNNBase, inputs: Tensor | PackedSequence, state: Tensor) -> tuple[Any, ...]:
    """Return the arguments that torch gives the kernel for a call of a module from a zero state."""
    packed = isinstance(inputs, PackedSequence)
    data = inputs.data if packed else inputs
    batch = int(inputs.batch_sizes[0]) if packed else inputs.shape[0 if module.batch_first else 1]
    directions = 2 if module.bidirectional else 1
    hx = torch.zeros(module.num_layers * directions, batch, module.proj_size or module.hidden_size)
    cx = torch.zeros(*hx.shape[:2], module.hidden_size) if module.mode == "LSTM" else None
    weights = list(module._flat_weights)
    kind = {"RNN_RELU": 0, "RNN_TANH": 1, "LSTM": 2, "GRU": 3}[module.mode]
    sizes = (kind, module.hidden_size, module.proj_size, module.num_layers)
    options = (module.batch_first, module.dropout, True, module.bidirectional)
    batch_sizes = inputs.batch_sizes.tolist() if packed else []
    return (data, weights, len(weights) // len(hx), None, hx, cx, *sizes, *options, batch_sizes, state)
