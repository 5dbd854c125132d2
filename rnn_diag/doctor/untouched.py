"""A model that is run and left as it was: modes, buffers, plain attributes, gradients and random generators."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def left_untouched(model: nn.Module) -> Iterator[None]:
    """Put back, at the end of the block, what running a model in training mode changes.

    That is: the mode of every module, every buffer's values, attributes that a module sets on itself (a carried state),
    and the generators of torch, of the model's devices, of `random` and of NumPy. Weights and their `grad` are the
    block's own business.

    Example:
        >>> norm = nn.BatchNorm1d(2).eval()
        >>> with left_untouched(norm):
        ...     _ = norm.train()(torch.randn(8, 2))
        >>> norm.training, norm.running_mean.tolist()
        (False, [0.0, 0.0])
    """
    modules = list(model.modules())
    attributes = [(module, _public(module)) for module in modules]
    registered = [(module, dict(module._buffers)) for module in modules]
    values = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    generators = _generator_states()
    devices = sorted({one.device.index or 0 for one in [*model.parameters(), *model.buffers()] if one.is_cuda})
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            for module, buffers in registered:
                module._buffers.clear()
                module._buffers.update(buffers)
            with torch.no_grad():
                for buffer, value in values:
                    _restore(buffer, value)
            for module, kept in attributes:
                for name in [name for name in _public(module) if name not in kept]:
                    del module.__dict__[name]
                module.__dict__.update(kept)
            _restore_generators(generators)


def gradients_of(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """Return the gradient of every parameter, whose `grad` stays as it is.

    A reentrant checkpoint, whose layers autograd cannot differentiate by name, is run as training would.

    Example:
        >>> weight = torch.ones(2, requires_grad=True)
        >>> gradients_of((3 * weight).sum(), [weight]), weight.grad
        ([tensor([3., 3.])], None)
    """
    leaves, reentrant = _behind(loss)
    if not reentrant:
        return list(torch.autograd.grad(loss, list(parameters), allow_unused=True))
    kept = [(one, one.grad) for one in dict.fromkeys((*parameters, *leaves))]
    try:
        for one, _ in kept:
            one.grad = None
        loss.backward()
        return [one.grad for one in parameters]
    finally:
        for one, grad in kept:
            one.grad = grad


def _behind(loss: Tensor) -> tuple[list[Tensor], bool]:
    """Return the leaves that a backward pass would fill, and whether a reentrant checkpoint is on the way."""
    leaves, seen, reentrant = [], set(), False
    waiting = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        reentrant |= node.name() == "CheckpointFunctionBackward"
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        waiting += [one for one, _ in node.next_functions]
    return leaves, reentrant


def _public(module: nn.Module) -> dict[str, Any]:
    """Return a module's own attributes, shallow copies of plain containers included; hooks and registries stay out."""
    return {name: _copied(value) for name, value in module.__dict__.items() if _is_own(name)}


def _is_own(name: str) -> bool:
    registries = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
    return name not in registries and not name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called"))


def _copied(value: Any) -> Any:
    return type(value)(value) if type(value) in (dict, list, set) else value


def _restore(buffer: Tensor, value: Tensor) -> None:
    if buffer.shape == value.shape:
        buffer.copy_(value)
    else:
        buffer.data = value


def _generator_states() -> tuple[Any, Any]:
    numpy = sys.modules.get("numpy")
    return random.getstate(), None if numpy is None else numpy.random.get_state()


def _restore_generators(states: tuple[Any, Any]) -> None:
    random.setstate(states[0])
    if states[1] is not None:
        sys.modules["numpy"].random.set_state(states[1])
