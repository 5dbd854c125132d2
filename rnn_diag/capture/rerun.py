"""A layer's own kernel once more, on what was recorded: tells its rounding from what other equations would do.

A network that expands amplifies how its kernel rounds (TF32, half precision), so that no fixed tolerance of a gradient
tells rounding from a mistake. The same kernel in double precision rounds too little to matter: what the equations give
in double precision is held against that. And the same kernel in the precision of the call gives what autograd gave, if
all that went into the call is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnn_diag.capture.calls import LayerCall, StepCall, trace_dtype
from rnn_diag.capture.modules import RecurrentModule
from rnn_diag.engine.precision import Precision
from rnn_diag.nn.layer import RecurrentLayer
from rnn_diag.nn.recurrent import Recurrent


class Rerun(NamedTuple):
    """What a kernel gave once more.

    Attributes:
        output: `[T, B, directions · P]` of the last layer.
        weight_grads: Gradients of the weights, by the layer's suffix and the parameter's name.
        input_grad: `[T, B, I]`.
    """

    output: Tensor
    weight_grads: dict[str, dict[str, Tensor]]
    input_grad: Tensor


def can_rerun(found: RecurrentModule, calls: Sequence[LayerCall | StepCall]) -> bool:
    """Whether calls of a module can be made once more: of a whole layer, without dropout between its layers."""
    own = isinstance(found.module, RecurrentLayer)
    known = found.equations is not None and (own or found.equations.fused is not None) and not found.equations.draws
    return known and all(isinstance(call, LayerCall) and call.masks == {} for call in calls)


def rerun(found: RecurrentModule, call: LayerCall, precision: Precision) -> Rerun:
    """Make a call once more, with its inputs, weights and the gradients that came back to it.

    Args:
        found: The module, which itself is not called: it may have hooks, and other weights by now.
        call: What was recorded of the call.
        precision: That of the call, or another.
    """
    kernel, device = _kernel_of(found, call, precision.dtype), call.inputs.device.type
    with precision.applied(device), torch.inference_mode(False), torch.enable_grad():
        given = [part.detach().to(precision.dtype, copy=True).requires_grad_() for part in (call.inputs, *call.initial)]
        lengths = None if call.mask is None else call.mask.sum(0).cpu()
        fed = given[0] if lengths is None else pack_padded_sequence(given[0], lengths, enforce_sorted=False)
        output, final = kernel(fed, tuple(given[1:]) if len(given) > 2 else given[1])
        output = output if lengths is None else pad_packed_sequence(output, total_length=len(call.inputs))[0]
        ends = dict(zip(("hidden", "cell"), final if isinstance(final, tuple) else (final,), strict=False))
        reached = {part: call.grads.get(name) for name, part in {"output": output, **ends}.items()}
        grads = {part: grad.to(part.dtype) for part, grad in reached.items() if grad is not None}
        parameters = dict(kernel.named_parameters())
        wanted = [given[0], *parameters.values()]
        of_inputs, *of_weights = torch.autograd.grad(
            [*grads], wanted, [*grads.values()], allow_unused=True, materialize_grads=True
        )
    result = trace_dtype(precision.dtype)
    by_name = dict(zip(parameters, of_weights, strict=True))
    by_suffix = {
        suffix: {name: by_name[f"{name}_{suffix}"].to(result) for name in call.weights[suffix].present()}
        for suffix in found.suffixes
    }
    return Rerun(output.detach().to(result), by_suffix, of_inputs.to(result))


def _kernel_of(found: RecurrentModule, call: LayerCall, dtype: torch.dtype) -> torch.nn.RNNBase:
    weights = call.weights[found.suffixes[0]]
    equations = found.equations
    assert equations is not None
    own = isinstance(found.module, RecurrentLayer) and found.module.runs_equations
    make = partial(Recurrent, equations) if own else equations.fused
    assert make is not None
    directions = 2 if any(suffix.endswith("_reverse") for suffix in found.suffixes) else 1
    device = call.inputs.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        kernel = make(
            found.module.input_size,
            found.module.hidden_size,
            num_layers=len(found.suffixes) // directions,
            bias=weights.bias_ih is not None,
            bidirectional=directions == 2,
            device=device,
            dtype=dtype,
            **({} if weights.weight_hr is None else {"proj_size": len(weights.weight_hr)}),
        )
    given = {f"{name}_{suffix}": v for suffix, one in call.weights.items() for name, v in one.present().items()}
    kernel.load_state_dict(given)
    return kernel.train()
