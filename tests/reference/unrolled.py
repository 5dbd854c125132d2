"""A slow, obvious stack of recurrent layers in plain autograd, every state of which keeps its gradient."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rnn_diag.cells import State
from rnn_diag.cells.weights import weights_of
from rnn_diag.nn import Recurrent
from tests.reference.minimal_gated_unit import MinimalGatedUnit


@dataclass
class Layer:
    """One layer and direction: by sequence and step, the states (with their gradients) and gates."""

    hidden: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    cell: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    preactivations: dict[tuple[int, int], tuple[Tensor, ...]] = field(default_factory=dict)
    gates: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    output: dict[tuple[int, int], Tensor] = field(default_factory=dict)


def run(
    module: nn.RNNBase, inputs: Tensor, lengths: list[int], state: tuple[Tensor, ...]
) -> tuple[dict[str, Layer], Tensor, tuple[Tensor, ...]]:
    """Run the equations on `inputs [T, B, I]`; return layers by suffix, output `[T, B, ·]` and final states."""
    steps, batch = inputs.shape[:2]
    below = {(t, b): inputs[t, b] for b in range(batch) for t in range(lengths[b])}
    layers, finals = {}, []
    directions = 2 if module.bidirectional else 1
    for k in range(module.num_layers):
        outputs = []
        for d in range(directions):
            suffix = f"l{k}" + ("_reverse" if d else "")
            layer = layers[suffix] = Layer()
            last = []
            for b in range(batch):
                now = tuple(s[k * directions + d, b] for s in state)
                order = range(lengths[b])
                for t in reversed(order) if d else order:
                    if isinstance(module, Recurrent):
                        now, z, layer.gates[t, b] = _step_of(module, suffix, below[t, b], now)
                    else:
                        now, z = _step(module, suffix, below[t, b], now)
                    for tensor in (*now, *z):
                        if tensor.requires_grad:
                            tensor.retain_grad()
                    layer.hidden[t, b] = now[0]
                    layer.preactivations[t, b] = z
                    if len(now) > 1:
                        layer.cell[t, b] = now[1]
                    # The output is a copy of the state, so that its gradient is the direct one.
                    layer.output[t, b] = now[0].clone()
                    layer.output[t, b].retain_grad()
                last.append(now)
            outputs.append(layer.output)
            finals.append(last)
        below = {key: torch.cat([out[key] for out in outputs]) for key in outputs[0]}
    size = next(iter(below.values())).shape[0]
    padded = torch.stack(
        [
            torch.stack([below.get((t, b), torch.zeros(size, dtype=inputs.dtype)) for b in range(batch)])
            for t in range(steps)
        ]
    )
    final = tuple(
        torch.stack([torch.stack([one[part] for one in last]) for last in finals]) for part in range(len(state))
    )
    return layers, padded, final


def _step_of(
    module: Recurrent, suffix: str, x: Tensor, state: tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
    """Step any equations, in evaluation, where nothing is drawn."""
    equations, weights, before = module.equations, weights_of(module, suffix), State(*state)
    if isinstance(equations, MinimalGatedUnit):  # written once more
        zf, zn = (equations.projected(x, weights) + equations.recurrent(before.hidden, weights)).chunk(2)
        f, n = zf.sigmoid(), zn.tanh()
        return ((1 - f) * before.hidden + f * n,), (zf, zn), torch.cat((f, n)).detach()
    projected = equations.projected(equations.given(x, module.hidden_size), weights)
    step = equations.step(projected, equations.recurrent(before.hidden, weights), before, weights)
    gates = torch.cat([*step.gates, x.new_empty(0)]).detach()
    return tuple(part for part in (step.emitted + 0.0, step.cell) if part is not None), step.preactivations, gates


def _step(
    module: nn.RNNBase, suffix: str, x: Tensor, state: tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    w = {
        n: getattr(module, f"{n}_{suffix}", None) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    }
    p = {n: getattr(module, f"{n}_{suffix}", 0.0) for n in ("weight_ci", "weight_cf", "weight_co")}
    a = w["weight_ih"] @ x + (0 if w["bias_ih"] is None else w["bias_ih"])
    u = w["weight_hh"] @ state[0] + (0 if w["bias_hh"] is None else w["bias_hh"])
    if isinstance(module, nn.LSTM):
        c = state[1]
        zi, zf, zg, zo = (a + u).chunk(4)
        zi, zf = zi + p["weight_ci"] * c, zf + p["weight_cf"] * c
        c = zf.sigmoid() * c + zi.sigmoid() * zg.tanh()
        zo = zo + p["weight_co"] * c
        h = zo.sigmoid() * c.tanh()
        return ((h if w["weight_hr"] is None else w["weight_hr"] @ h), c), (zi, zf, zg, zo)
    if isinstance(module, nn.GRU):
        (ar, az, an), (ur, uz, un) = a.chunk(3), u.chunk(3)
        zr, zz = ar + ur, az + uz
        zn = an + zr.sigmoid() * un
        return ((1 - zz.sigmoid()) * zn.tanh() + zz.sigmoid() * state[0],), (zr, zz, zn)
    z = a + u
    phi = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "identity": lambda v: v * 1.0}
    return (phi[module.nonlinearity](z),), (z,)
