"""A layer's own kernel once more, on what was recorded: tells its rounding from what other equations would do.

A network that expands amplifies how its kernel rounds (TF32, half precision), so that no fixed tolerance of a gradient
tells rounding from a mistake. The same kernel in double precision rounds too little to matter: what the equations give
in double precision is held against that. And the same kernel in the precision of the call gives what autograd gave, if
all that went into the call is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnn_diag.capture.calls import LayerCall, StepCall, trace_dtype
from rnn_diag.capture.modules import RecurrentModule
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.precision import Precision
from rnn_diag.engine.unroll import back_to_front
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


class _Ran(NamedTuple):
    """What came of a run that is still on the graph.

    Attributes:
        output: `[T, B, directions · P]` of the last layer.
        final: `[layers · directions, B, ·]` for each part of the state.
        parameters: By name and suffix.
    """

    output: Tensor
    final: tuple[Tensor, ...]
    parameters: dict[str, nn.Parameter]


def can_rerun(found: RecurrentModule, calls: Sequence[LayerCall | StepCall]) -> bool:
    """Whether calls of a module can be made once more: of whole layers, with dropout masks that are known."""
    own = isinstance(found.module, RecurrentLayer)
    known = found.equations is not None and (own or found.equations.fused is not None) and not found.equations.draws
    return known and all(isinstance(call, LayerCall) and call.masks is not None for call in calls)


def rerun(found: RecurrentModule, call: LayerCall, precision: Precision) -> Rerun:
    """Make a call once more, with its inputs, weights, dropout masks and the gradients that came back to it.

    Args:
        found: The module, which itself is not called: it may have hooks, and other weights by now.
        call: What was recorded of the call.
        precision: That of the call, or another.
    """
    run = _layer_by_layer if call.masks else _at_once
    with precision.applied(call.inputs.device.type), torch.inference_mode(False), torch.enable_grad():
        given = [part.detach().to(precision.dtype, copy=True).requires_grad_() for part in (call.inputs, *call.initial)]
        output, final, parameters = run(found, call, given[0], given[1:])
        ends = dict(zip(("hidden", "cell"), final, strict=False))
        reached = {part: call.grads.get(name) for name, part in {"output": output, **ends}.items()}
        grads = {part: grad.to(part.dtype) for part, grad in reached.items() if grad is not None}
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


def _at_once(found: RecurrentModule, call: LayerCall, inputs: Tensor, initial: Sequence[Tensor]) -> _Ran:
    """Run all layers in one kernel, as the call did."""
    kernel = _kernel(found, call.weights, inputs, _directions(found))
    return _Ran(*_run(kernel, inputs, initial, call.mask), dict(kernel.named_parameters()))


def _layer_by_layer(found: RecurrentModule, call: LayerCall, inputs: Tensor, initial: Sequence[Tensor]) -> _Ran:
    """Run a kernel for each layer and direction, and drop between layers what the call dropped."""
    directions, finals, parameters = _directions(found), [], dict[str, nn.Parameter]()
    for layer in range(len(found.suffixes) // directions):
        masks, outputs = (call.masks or {}).get(layer), []
        for direction in range(directions):
            index = layer * directions + direction
            suffix = found.suffixes[index]
            fed = inputs if masks is None else inputs * masks[direction % len(masks)].to(inputs.dtype)
            fed = back_to_front(fed, call.mask) if direction else fed
            kernel = _kernel(found, {"l0": call.weights[suffix]}, fed, 1)
            output, final = _run(kernel, fed, [state[index : index + 1] for state in initial], call.mask)
            outputs.append(back_to_front(output, call.mask) if direction else output)
            finals.append(final)
            parameters |= {f"{name.removesuffix('_l0')}_{suffix}": one for name, one in kernel.named_parameters()}
        inputs = torch.cat(outputs, dim=-1)
    return _Ran(inputs, tuple(torch.cat(parts) for parts in zip(*finals, strict=True)), parameters)


def _run(
    kernel: nn.RNNBase, inputs: Tensor, initial: Sequence[Tensor], mask: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the output `[T, B, ·]` and every part of the final state."""
    lengths = None if mask is None else mask.sum(0).cpu()
    fed = inputs if lengths is None else pack_padded_sequence(inputs, lengths, enforce_sorted=False)
    output, final = kernel(fed, tuple(initial) if len(initial) > 1 else initial[0])
    output = output if lengths is None else pad_packed_sequence(output, total_length=len(inputs))[0]
    return output, final if isinstance(final, tuple) else (final,)


def _directions(found: RecurrentModule) -> int:
    return 2 if any(suffix.endswith("_reverse") for suffix in found.suffixes) else 1


def _kernel(found: RecurrentModule, weights: Mapping[str, Weights], inputs: Tensor, directions: int) -> nn.RNNBase:
    """Return a layer of the module's kind that holds some of its weights, by their suffixes in that layer."""
    equations, first = found.equations, next(iter(weights.values()))
    assert equations is not None
    own = isinstance(found.module, RecurrentLayer) and found.module.runs_equations
    make = partial(Recurrent, equations) if own else equations.fused
    assert make is not None
    device = inputs.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        kernel: nn.RNNBase = make(
            inputs.shape[-1],
            found.module.hidden_size,
            num_layers=len(weights) // directions,
            bias=first.bias_ih is not None,
            bidirectional=directions == 2,
            device=device,
            dtype=inputs.dtype,
            **({} if first.weight_hr is None else {"proj_size": len(first.weight_hr)}),
        )
    kernel.load_state_dict(
        {f"{name}_{suffix}": v for suffix, one in weights.items() for name, v in one.present().items()}
    )
    return kernel.train()
