"""A trace of a recurrent module alone, outside any model: driven by given inputs, or at rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rnn_diag.cells.of_module import equations_of, suffixes_of
from rnn_diag.cells.weights import weights_of
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float

STEPS_AT_REST = 200


def module_trace(
    module: nn.Module, inputs: Float[Tensor, "time batch features"] | None = None, layer: str = "l0"
) -> Trace:
    """Return what one layer of a recurrent module goes through, from a state of zeros.

    Args:
        module: `torch.nn.RNN`, `LSTM`, `GRU`, one of their cells, or one of this package's.
        inputs: What that layer is fed, time first; by default 200 steps of zeros for one sequence.
        layer: Its suffix among torch's parameter names: `l0`, `l0_reverse`, `l1`, …

    Raises:
        TypeError: If the module is none of these.
        ValueError: If it has no such layer, or the inputs do not fit it.

    Example:
        >>> module_trace(nn.GRU(2, 3)).hidden.shape
        torch.Size([200, 1, 3])
    """
    equations = equations_of(module)
    if equations is None:
        raise TypeError(
            f"{type(module).__name__} is no recurrent module; expected torch's or rnn_diag's RNN, LSTM or GRU"
        )
    if layer not in suffixes_of(module):
        raise ValueError(
            f"no layer {layer!r} in this {type(module).__name__}; choices: {', '.join(suffixes_of(module))}"
        )
    weights = weights_of(module, layer)
    weights = weights.to(torch.promote_types(weights.weight_hh.dtype, torch.float32))
    features = _features(module, layer)
    if inputs is None:
        inputs = weights.weight_ih.new_zeros(STEPS_AT_REST, 1, features)
    if inputs.dim() != 3 or inputs.shape[-1] != features:
        raise ValueError(f"inputs have shape {tuple(inputs.shape)}; expected (time, batch, {features})")
    assert isinstance(module, (nn.RNNBase, nn.RNNCellBase))
    inputs = equations.given(inputs, module.hidden_size)
    initial = equations.zeros(weights, inputs.shape[1])
    reverse = layer.endswith("_reverse")
    return Trace.of(layer, equations, weights, inputs.detach().to(weights.weight_ih), initial, reverse=reverse)


def _features(module: nn.Module, layer: str) -> int:
    """Return what one step of a layer is fed: the module's input, or the output of the layer below."""
    assert isinstance(module, (nn.RNNBase, nn.RNNCellBase))
    if layer in ("l0", "l0_reverse") or isinstance(module, nn.RNNCellBase):
        return module.input_size
    return (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1)
