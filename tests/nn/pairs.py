"""A layer of torch's and ours with the same weights, and all that one forward and backward pass of them gives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnn_diag import nn as ours
from rnn_diag.cells.of_module import equations_of

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn_tanh": ("RNN", {}),
    "rnn_relu": ("RNN", {"nonlinearity": "relu"}),
    "gru": ("GRU", {}),
    "lstm": ("LSTM", {}),
    "lstm_projected": ("LSTM", {"proj_size": 3}),
}
LAYOUTS = ("tensor", "unbatched", "packed", "packed_unsorted")
LENGTHS = {"packed": [4, 2, 1], "packed_unsorted": [2, 1, 4]}
STEPS, BATCH, FEATURES, UNITS = 4, 3, 2, 4


def torchs_and_ours(kind: str, **options: Any) -> tuple[nn.Module, nn.Module]:
    """Return torch's layer and ours with the explicit backend, drawn from the same seed, in float64."""
    name, fixed = KINDS[kind]
    made = []
    for library, chosen in ((nn, {}), (ours, {"backend": "explicit"})):
        torch.manual_seed(1)
        made.append(getattr(library, name)(FEATURES, UNITS, dtype=torch.float64, **fixed, **options, **chosen))
    return made[0], made[1]


def arguments(module: nn.Module, layout: str, with_state: bool) -> tuple[Any, Any, list[Tensor]]:
    """Return an input, an initial state (or None) and the leaves in them, the same ones at every call."""
    torch.manual_seed(2)
    shape = (BATCH, STEPS, FEATURES) if module.batch_first else (STEPS, BATCH, FEATURES)
    inputs = torch.randn(shape, dtype=torch.float64).requires_grad_()
    layers = module.num_layers * (2 if module.bidirectional else 1)
    sizes = [module.proj_size or UNITS, UNITS] if equations_of(module).has_cell else [UNITS]
    states = [torch.randn(layers, BATCH, size, dtype=torch.float64).requires_grad_() for size in sizes]
    given = states
    fed: Any = inputs
    if layout == "unbatched":
        fed = inputs[0] if module.batch_first else inputs[:, 0]
        given = [state[:, 0] for state in states]
    elif layout != "tensor":
        fed = pack_padded_sequence(inputs, LENGTHS[layout], module.batch_first, enforce_sorted=layout == "packed")
    if not with_state:
        return fed, None, [inputs]
    return fed, tuple(given) if len(given) == 2 else given[0], [inputs, *states]


def results(output: Any, state: Any) -> dict[str, Tensor]:
    """Return what a layer returned, by name."""
    named = {"output": output.data if isinstance(output, PackedSequence) else output}
    return named | dict(zip(("h_n", "c_n"), state if isinstance(state, tuple) else (state,), strict=False))


def through(module: nn.Module, layout: str, with_state: bool, losses: tuple[str, ...] = ()) -> list[Tensor | None]:
    """Return outputs, states and the gradients of all leaves and parameters of a weighted sum of some results."""
    fed, state, leaves = arguments(module, layout, with_state)
    found = results(*module(fed, state))
    torch.manual_seed(3)
    weights = {name: torch.randn_like(result) for name, result in found.items()}
    chosen = losses or tuple(found)
    loss = sum(((weights[name] * found[name]).sum() for name in chosen if name in found), torch.zeros(()))
    wanted = [*leaves, *module.parameters()]
    return [*found.values(), *torch.autograd.grad(loss, wanted, allow_unused=True)]


def assert_equal(left: list[Tensor | None], right: list[Tensor | None]) -> None:
    """Fail unless all tensors are equal but for rounding; a gradient that is not there counts as zero."""
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        if a is None or b is None:
            present = b if a is None else a
            assert present is None or not present.any()
            continue
        assert a.shape == b.shape and a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
