"""A stack of layers of any recurrence: whatever equations are given, with torch's arguments, inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rnn_diag.cells.equations import Equations
from rnn_diag.nn.layer import RecurrentLayer


class Recurrent(RecurrentLayer):
    """Layers that run any equations: a class of one's own with a forward step is enough.

    Parameters have torch's names (`weight_ih_l0`, …) and one row block for each of `Equations.blocks`; those of
    `Equations.extra_parameters` follow (`<name>_l0`). `rnn_diag.record` and the callbacks follow it unregistered.

    Args:
        equations: An instance or a class of `rnn_diag.cells.Equations`, or the dotted path of one. All other arguments
            are those of `RecurrentLayer`.

    Shape:
        As `torch.nn.LSTM` where the equations have a cell, else as `torch.nn.GRU`; tensors, unbatched tensors or a
        `PackedSequence`.

    Raises:
        TypeError: If the equations are none.
        ValueError: If there is nothing at their path, or they hold parameters that `extra_parameters` does not declare.

    Example:
        >>> from rnn_diag.cells import GRUEquations
        >>> layer = Recurrent(GRUEquations, 3, 5, bidirectional=True)
        >>> output, final = layer(torch.zeros(7, 2, 3))
        >>> output.shape, final.shape
        (torch.Size([7, 2, 10]), torch.Size([2, 2, 5]))
    """

    has_fused_kernel = False

    def __init__(
        self,
        equations: Equations | type[Equations] | str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        found = Equations.of(equations)
        held = [name for name, value in vars(found).items() if isinstance(value, (nn.Module, nn.Parameter))]
        if held:
            raise ValueError(
                f"{type(found).__name__} holds {', '.join(held)}, which would not be trained; "
                "expected parameters to be declared in extra_parameters"
            )
        nn.RNNBase.__init__(  # checks all arguments; a plain recurrence has one block, of which ours has several
            self, "RNN_TANH", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size,
            device="meta",
        )  # fmt: skip
        self.mode = found.name
        self._allocate(found, device, dtype)
        self._use(found, "explicit")

    def _allocate(self, equations: Equations, device: Any, dtype: torch.dtype | None) -> None:
        rows, hidden = len(equations.blocks) * self.hidden_size, self.proj_size or self.hidden_size
        for name in self._flat_weights_names:
            shape = tuple(getattr(self, name).shape)
            kind = "_".join(name.split("_")[:2])
            if kind != "weight_hr":
                shape = equations.shapes(rows, shape[-1], hidden)[kind]
            setattr(self, name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self._init_flat_weights()
        self.reset_parameters()

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run the layers: `torch.nn.LSTM`'s inputs and outputs; images where the equations have a size of theirs."""
        image = self.equations.image_size
        if not image or not isinstance(input, Tensor) or input.dim() <= 1 + len(image):
            return super().forward(input, hx)

        def to(form: Callable[[Tensor], Tensor], state: Any) -> Any:
            return tuple(map(form, state)) if isinstance(state, (tuple, list)) else form(state)

        output, final = super().forward(self._flat(input), None if hx is None else to(self._flat, hx))
        return self._as_image(output), to(self._as_image, final)

    def _flat(self, images: Tensor) -> Tensor:
        return images.flatten(-1 - len(self.equations.image_size))

    def _as_image(self, flat: Tensor) -> Tensor:
        return flat.reshape(*flat.shape[:-1], -1, *self.equations.image_size)

    def flatten_parameters(self) -> None:
        """Do nothing: no kernel of cuDNN's asks for one block of memory."""

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        """Raise what torch's modules raise if input and states do not fit."""
        self.check_input(input, batch_sizes)
        layers, batch, _ = self.get_expected_hidden_size(input, batch_sizes)
        parts = hidden if self.equations.has_cell else (hidden,)
        for k, (part, size) in enumerate(zip(parts, self._state_sizes, strict=True)):
            name = f"hidden[{k}]" if self.equations.has_cell else "hidden"
            self.check_hidden_size(part, (layers, batch, size), f"Expected {name} size {{}}, got {{}}")

    def extra_repr(self) -> str:
        """Return the recurrence's name and what torch shows."""
        return f"{self.equations.name}, {super().extra_repr()}"
