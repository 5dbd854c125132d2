"""What every layer shares: torch's arguments, errors and outputs around one recurrence per layer and direction."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from rnn_diag.arguments import one_of
from rnn_diag.cells.equations import Equations, State
from rnn_diag.cells.of_module import suffixes_of
from rnn_diag.cells.weights import Weights, weights_of
from rnn_diag.engine.packing import Packing
from rnn_diag.nn.function import run_layer

BACKENDS = ("auto", "explicit", "fused")


class RecurrentLayer(nn.RNNBase):
    """A stack of recurrent layers with torch's parameters, in one direction or two.

    Arguments are checked, parameters named and errors worded by torch, of whose modules (`torch.nn.LSTM`, …) all
    subclasses but `Recurrent` are; what is ours is the explicit run of the equations.

    Args:
        input_size: Features per step.
        hidden_size: Units.
        num_layers: Layers, each fed by the one below.
        bias: Whether there are `bias_ih_*` and `bias_hh_*`, which add up: a forget bias of 1 is their *sum*.
        batch_first: Input and output are `[B, T, ·]`, not `[T, B, ·]`; states never are.
        dropout: Probability of zeroing an element between layers, in training.
        bidirectional: A second direction reads the sequence from its end.
        proj_size: Size of the projected hidden state, or 0 for none; where torch has it.
        device, dtype: Of the parameters.
        backend: `"fused"` insists on torch's kernel, `"explicit"` runs this package's equations, `"auto"` takes the
            kernel where there is one.
        h_detach: Accepted as 0 alone, for checkpoints of the time when there was h-detach.

    Raises:
        ValueError, RuntimeError, TypeError: What torch's module raises, for the same mistakes.
    """

    equations: Equations
    backend: str
    drawn: dict[str, Tensor]
    """What the last call drew, by layer and direction: `[T, B, drawn_size]`, in the order of steps and sequences."""

    @property
    def has_fused_kernel(self) -> bool:
        """Whether torch has a kernel for these equations."""
        return self.equations.fused is not None

    @property
    def runs_equations(self) -> bool:
        """Whether this package's equations run it, and not torch's kernel."""
        return self.backend == "explicit" or not self.has_fused_kernel

    def _use(self, equations: Equations, backend: str, h_detach: float = 0.0) -> None:
        """Set the recurrence and how it is run, and add the parameters that torch's module lacks."""
        one_of("backend", backend, BACKENDS)
        self.equations = equations
        self.backend = backend
        self.drawn = {}
        if h_detach:
            raise ValueError(
                f"h_detach={h_detach}; expected 0: h-detach was removed, see docs/decisions/h_detach_is_gone.md"
            )
        if backend == "fused" and not self.has_fused_kernel:
            raise ValueError(
                f"backend='fused': torch has no kernel for {type(self).__name__}({self.extra_repr()}); "
                "choices: auto, explicit"
            )
        if equations.extra_parameters:
            self._add_extra_parameters()
            self.reset_parameters()
        else:
            self._initialise()

    def _add_extra_parameters(self) -> None:
        for suffix in suffixes_of(self):
            like = getattr(self, f"weight_ih_{suffix}")
            for name, shape in self.equations.extra_shapes(like.shape[1], self.hidden_size).items():
                self.register_parameter(f"{name}_{suffix}", nn.Parameter(like.new_empty(shape)))

    def reset_parameters(self) -> None:
        """Draw all weights as torch does; then the equations set those that are to start otherwise."""
        super().reset_parameters()
        if "equations" in self.__dict__:  # else torch's constructor is still at work
            self._initialise()

    def _initialise(self) -> None:
        for suffix in suffixes_of(self):
            self.equations.initialise(weights_of(self, suffix))

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run the layers: `torch.nn.LSTM`'s inputs and outputs, whatever the backend."""
        if self.runs_equations:
            return self._explicit(input, hx, {suffix: weights_of(self, suffix) for suffix in suffixes_of(self)})
        return super().forward(input, hx)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _explicit(self, input: Any, hx: Any, weights: dict[str, Weights]) -> Any:
        packing = Packing.of(input, self.batch_first, type(self).__name__)
        state = self._initial(packing, hx)
        self._check(packing, state)
        inputs = packing.padded()
        final: list[State] = []
        directions = 2 if self.bidirectional else 1
        for layer in range(self.num_layers):
            if layer:
                inputs = packing.on_valid_steps(inputs, self._drop)
            outputs = []
            for suffix in list(weights)[layer * directions : (layer + 1) * directions]:
                initial = State(*(part[len(final)] for part in state))
                hidden, last = self._run(suffix, inputs, initial, weights[suffix], packing)
                outputs.append(hidden)
                final.append(last)
            inputs = outputs[0] if directions == 1 else torch.cat(outputs, dim=-1)
        parts = zip(*(state[: len(self._state_sizes)] for state in final), strict=True)
        finals = packing.restored_states([torch.stack(part) for part in parts])
        return packing.restored_output(inputs), tuple(finals) if self.equations.has_cell else finals[0]

    def _run(
        self, suffix: str, inputs: Tensor, initial: State, weights: Weights, packing: Packing
    ) -> tuple[Tensor, State]:
        if self.equations.draws:
            inputs, features = self.equations.given(inputs, self.hidden_size, self.training), inputs.shape[-1]
            self.drawn[suffix] = inputs[..., features:].detach()
        if not suffix.endswith("_reverse"):
            return run_layer(self.equations, inputs, initial, weights, packing.mask)
        hidden, final = run_layer(self.equations, packing.reversed(inputs), initial, weights, packing.mask)
        return packing.reversed(hidden), final

    def _drop(self, between: Tensor) -> Tensor:
        return dropout(between, self.dropout, self.training) if self.dropout else between

    def _initial(self, packing: Packing, hx: Any) -> tuple[Tensor, ...]:
        if hx is not None:
            given = tuple(hx) if self.equations.has_cell else (hx,)
            if len(given) != len(self._state_sizes):
                raise RuntimeError(f"{type(self).__name__} expects two hidden states, got {len(given)}")
            return packing.sorted_states(given, self.equations.has_cell)
        layers = len(suffixes_of(self))
        return tuple(packing.data.new_zeros(layers, packing.batch, size) for size in self._state_sizes)

    @property
    def _state_sizes(self) -> tuple[int, ...]:
        hidden = self.proj_size or self.hidden_size
        return (hidden, self.equations.cell_size(self.hidden_size)) if self.equations.has_cell else (hidden,)

    def _check(self, packing: Packing, state: tuple[Tensor, ...]) -> None:
        """Let torch's own module find what is wrong with the arguments, in its words."""
        data = packing.data if packing.batch_sizes is not None or not self.batch_first else packing.data.transpose(0, 1)
        self.check_forward_args(data, state if self.equations.has_cell else state[0], packing.batch_sizes)  # type: ignore[arg-type]
        if len(packing.data) == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        dtypes = {part.dtype for part in state}
        if dtypes != {packing.data.dtype} and not torch.is_autocast_enabled(packing.data.device.type):
            raise RuntimeError(
                f"input and states must have the same dtype, but got {packing.data.dtype} and "
                f"{', '.join(str(part.dtype) for part in state)}"
            )
