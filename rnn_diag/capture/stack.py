"""From one call of a stack of layers to a trace of every layer and direction."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from rnn_diag.capture.call import Call
from rnn_diag.capture.fidelity import TOLERANCES
from rnn_diag.capture.modules import RecurrentModule
from rnn_diag.cells.equations import State
from rnn_diag.engine.sweep import Sweeper
from rnn_diag.trace import OutputGrads, Trace

Check = Callable[[str, Trace], tuple[float | None, str]]
"""The self-check of a layer, by its full name."""


class Stack:
    """The traces of one call. When asked for, states are computed from below and gradients from above."""

    def __init__(self, found: RecurrentModule, call: Call, check: Check, sweeper: Sweeper) -> None:
        self.found = found
        self.call = call
        self._check = check
        self._sweeper = sweeper
        self._traces: dict[str, Trace] = {}
        self.directions = 2 if any(suffix.endswith("_reverse") for suffix in found.suffixes) else 1

    def trace(self, suffix: str) -> Trace:
        """Return the trace of one layer in one direction."""
        if suffix not in self._traces:
            self._traces[suffix] = self._make(self.found.suffixes.index(suffix), suffix)
        return self._traces[suffix]

    def input_grad(self) -> Tensor:
        """Return the gradient of the call's input, `[T, B, I]`."""
        return self._input_grad(0)

    def _make(self, index: int, suffix: str) -> Trace:
        layer, direction = divmod(index, self.directions)
        assert self.found.equations is not None
        trace = Trace(
            self.found.name(suffix),
            self.found.equations,
            self.call.weights[suffix],
            self._inputs(layer),
            State(*(state[index] for state in self.call.initial)),
            self.call.mask,
            hidden=self._direction(self.call.output, direction) if self._is_last(layer) else None,
            output_grads=partial(self._output_grads, layer, direction),
            reverse=direction == 1,
            sequences=self.call.selection.indices,
            fidelity=partial(self._check, self.found.name(suffix)),
            tolerance=TOLERANCES.get(self.call.kernel_dtype, 1e-3),
            sweeper=self._sweeper,
        )
        trace.was_frozen = trace.layer not in self.call.trained
        return trace

    def _is_last(self, layer: int) -> bool:
        return (layer + 1) * self.directions == len(self.found.suffixes)

    def _of_layer(self, layer: int) -> list[Trace]:
        suffixes = self.found.suffixes[layer * self.directions : (layer + 1) * self.directions]
        return [self.trace(suffix) for suffix in suffixes]

    def _inputs(self, layer: int) -> Tensor:
        if layer == 0:
            return self.call.inputs
        return self._dropped(layer, torch.cat([trace.hidden for trace in self._of_layer(layer - 1)], dim=-1))

    def _output_grads(self, layer: int, direction: int) -> OutputGrads | None:
        index = layer * self.directions + direction
        final = [None if grad is None else grad[index] for grad in map(self.call.grads.get, ("hidden", "cell"))]
        if not self.call.grads:
            return None
        if self._is_last(layer):
            hidden = self.call.grads.get("output")
        else:
            hidden = self._dropped(layer + 1, self._input_grad(layer + 1))
        return OutputGrads(None if hidden is None else self._direction(hidden, direction), State(*final))  # type: ignore[arg-type]

    def _input_grad(self, layer: int) -> Tensor:
        return torch.stack([trace.input_grad for trace in self._of_layer(layer)]).sum(0)

    def _dropped(self, layer: int, between: Tensor) -> Tensor:
        mask = (self.call.masks or {}).get(layer)
        return between if mask is None else between * mask

    def _direction(self, both: Tensor, direction: int) -> Tensor:
        return both.chunk(self.directions, dim=-1)[direction]
