"""The zero-probe engine: one more run of torch's fused kernel, whose input gradient is what a sweep would find."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnn_diag.cells.equations import Equations, State
from rnn_diag.cells.gate import Role
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.sweep import Swept
from rnn_diag.engine.unroll import Unrolled


def can_replay(equations: Equations) -> bool:
    """Whether torch has a fused kernel for a recurrence."""
    return equations.fused is not None


def replay_sweep(
    equations: Equations,
    weights: Weights,
    unrolled: Unrolled,
    hidden_grad_direct: Tensor,
    final_grad: State | None = None,
) -> Swept:
    r"""Return what `rnn_diag.engine.sweep.sweep` returns, at the speed of the fused kernel.

    The kernel is fed `[x, p]` with `p = 0` of width `G·H` and the input weights `[W_ih, I]`, so `p` is added to every
    pre-activation and :math:`∂L/∂p_t = δ_t`, the pre-activation gradient, through time. What is left is elementwise:
    :math:`∂L/∂h_t = \text{direct}_t + W_{hh}^T δ_{t+1}`, for a GRU :math:`+ z_{t+1} ⊙ ∂L/∂h_{t+1}`.

    Everything is detached, in full precision, and no random number is drawn.
    """
    extra = hidden_grad_direct.shape[1:-2]
    direct = hidden_grad_direct.reshape(len(hidden_grad_direct), -1, hidden_grad_direct.shape[-1])
    projected, initial = _probed(equations, weights, unrolled, direct, final_grad, extra)
    projected = projected.reshape(*hidden_grad_direct.shape[:-1], -1)
    gates = {gate.name: values for gate, values in zip(equations.gates, unrolled.steps.gates, strict=True)}
    recurrent = _of_recurrent_product(equations, projected, gates)
    back = _one_earlier(recurrent @ weights.weight_hh)
    through_time = back if final_grad is None else back + _at_last_step(final_grad.hidden, unrolled, back)
    hidden = hidden_grad_direct + through_time
    if equations.memory_gate and not equations.has_cell:
        keeping = gates[equations.memory_gate]
        hidden = _carried(hidden, keeping)
        through_time = through_time + _one_earlier(_beside(keeping, hidden) * hidden)
    return Swept(
        hidden_grad=hidden,
        hidden_grad_recurrent=through_time,
        cell_grad=_cell_grad(equations, weights, unrolled, gates, hidden, final_grad) if equations.has_cell else None,
        projected_grad=projected,
        recurrent_grad=recurrent,
        initial=State(*(grad.reshape(*extra, -1, grad.shape[-1]) for grad in initial)),
        hidden_grad_direct=hidden_grad_direct,
    )


def _probed(
    equations: Equations, weights: Weights, unrolled: Unrolled, direct: Tensor, final: State | None, extra: torch.Size
) -> tuple[Tensor, list[Tensor]]:
    """Run the kernel once more; return the gradients of the probe `[T, copies·B, G·H]` and of the initial state."""
    assert unrolled.inputs is not None
    copies, batch = extra.numel(), unrolled.inputs.shape[1]
    inputs = unrolled.inputs.repeat(1, copies, 1)
    state = [part.repeat(copies, 1).unsqueeze(0) for part in unrolled.initial if part is not None]
    lengths = None if unrolled.mask is None else unrolled.mask.sum(0).repeat(copies).cpu()
    exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    with exact, torch.inference_mode(False), torch.enable_grad(), torch.autocast(inputs.device.type, enabled=False):
        kernel = _probed_kernel(equations, weights)
        probe = torch.zeros(*inputs.shape[:2], weights.weight_ih.shape[0], dtype=inputs.dtype, device=inputs.device)
        leaves = [probe.requires_grad_(), *(part.detach().clone().requires_grad_() for part in state)]
        fed = torch.cat((inputs.detach().clone(), leaves[0]), dim=-1)
        carried = tuple(leaves[1:]) if equations.has_cell else leaves[1]
        packed = fed if lengths is None else pack_padded_sequence(fed, lengths, enforce_sorted=False)
        output, last = kernel(packed, carried)
        output = output if lengths is None else pad_packed_sequence(output)[0]
        pairs = [(output, direct)]
        for end, grad in zip(last if equations.has_cell else (last,), final or (), strict=False):
            if grad is not None:
                pairs.append((end, grad.expand(*extra, batch, -1).reshape(end.shape)))
        outputs, grads = zip(*pairs, strict=True)
        found = torch.autograd.grad(outputs, leaves, grads)
    return found[0], [grad.squeeze(0) for grad in found[1:]]


def _probed_kernel(equations: Equations, weights: Weights) -> nn.RNNBase:
    """Return torch's module for a recurrence with the input weights `[W_ih, I]`, all parameters frozen."""
    hidden = weights.weight_hh.shape[0] // len(equations.blocks)
    rows = weights.weight_ih.shape[0]
    like: dict[str, Any] = {"device": weights.weight_ih.device, "dtype": weights.weight_ih.dtype}
    sizes = (weights.weight_ih.shape[1] + rows, hidden)
    options: dict[str, Any] = {"bias": weights.bias_ih is not None, **like}
    if weights.weight_hr is not None:
        options["proj_size"] = len(weights.weight_hr)
    assert equations.fused is not None
    with torch.random.fork_rng(devices=[like["device"]] if like["device"].type == "cuda" else []):
        kernel = equations.fused(*sizes, **options)
    widened = torch.cat((weights.weight_ih, torch.eye(rows, **like)), dim=1)
    given = {f"{name}_l0": value for name, value in weights.present().items()} | {"weight_ih_l0": widened}
    kernel.load_state_dict(given)
    return kernel.requires_grad_(False).train()


def _of_recurrent_product(equations: Equations, projected: Tensor, gates: dict[str, Tensor]) -> Tensor:
    """Return the gradient of the recurrent product: a reset gate stands between it and the candidate."""
    roles = equations.by_role
    if Role.RESETS not in roles:
        return projected
    by_block = equations.by_block(projected, dim=-1)
    candidate = by_block[roles[Role.CANDIDATE]]
    by_block[roles[Role.CANDIDATE]] = candidate * _beside(gates[roles[Role.RESETS]], candidate)
    return torch.cat(list(by_block.values()), dim=-1)


def _cell_grad(
    equations: Equations,
    weights: Weights,
    unrolled: Unrolled,
    gates: dict[str, Tensor],
    hidden: Tensor,
    final: State | None,
) -> Tensor:
    roles = equations.by_role
    emitted_grad = hidden if weights.weight_hr is None else hidden @ weights.weight_hr
    (tanh_c,) = unrolled.steps.kept
    local = emitted_grad * _beside(gates[roles[Role.SHOWS]] * (1 - tanh_c * tanh_c), emitted_grad)
    if final is not None:
        local = local + _at_last_step(final.cell, unrolled, local)
    if unrolled.mask is not None:
        local = local * _beside(unrolled.mask.unsqueeze(-1), local)
    return _carried(local, gates[roles[Role.KEEPS]])


def _carried(entering: Tensor, gate: Tensor) -> Tensor:
    """Return `y_t = entering_t + gate_{t+1} ⊙ y_{t+1}`."""
    gate, carried = _beside(gate, entering), [entering[-1]]
    for t in reversed(range(len(entering) - 1)):
        carried.append(torch.addcmul(entering[t], gate[t + 1], carried[-1]))
    return torch.stack(carried[::-1])


def _one_earlier(steps: Tensor) -> Tensor:
    return torch.cat((steps[1:], torch.zeros_like(steps[:1])))


def _at_last_step(grad: Tensor | None, unrolled: Unrolled, like: Tensor) -> Tensor | int:
    """Return a gradient of the final state, placed at every sequence's last valid step."""
    if grad is None:
        return 0
    placed = torch.zeros_like(like)
    last = (
        len(like) - 1 if unrolled.mask is None else unrolled.mask.sum(0).view(1, *([1] * (like.dim() - 3)), -1, 1) - 1
    )
    if isinstance(last, int):
        placed[last] = grad
        return placed
    return placed.scatter(0, last.expand(1, *like.shape[1:]), grad.expand(like.shape[1:]).unsqueeze(0))


def _beside(values: Tensor, request: Tensor) -> Tensor:
    """Return `[T, B, H]` values with the request's further axes between time and batch."""
    return values.reshape(len(values), *([1] * (request.dim() - 3)), *values.shape[1:])
