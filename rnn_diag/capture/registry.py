"""Recurrent modules of the user's own: how their calls are read, and which equations they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from rnn_diag.capture.graph import tensors_in
from rnn_diag.cells.equations import Equations
from rnn_diag.cells.weights import Weights

States = tuple[Tensor, ...] | Mapping[str, Tensor]
"""The parts of a state, the hidden state first: in order, or by name."""

NAMES = ("hidden", "cell")
"""What the first parts of a state are called that are given in order; further ones are `state_2` and so on."""


class Seen(NamedTuple):
    """One call of a cell.

    Attributes:
        input: `[B, *]`.
        before: The state that it was given, each part `[B, *]`; None if it made one itself.
        after: The state that it returned: `(hidden,)`, `(hidden, cell)`, or any parts by name, the hidden state first.
            They are the very tensors that the call returned.
    """

    input: Tensor
    before: States | None
    after: States


class SeenStep(NamedTuple):
    """The same with every part of the state by its name; None before where the cell made it itself.

    Attributes:
        axis: That of the batch in every part of the state.
    """

    input: Tensor
    before: list[Tensor | None]
    after: dict[str, Tensor]
    axis: int = 0


def step_of(seen: Seen) -> SeenStep:
    """Return a call with the parts of its state by name.

    Raises:
        ValueError: If it was given other parts than it returned.
    """
    after = by_name(seen.after)
    if seen.before is None:
        return SeenStep(seen.input, [None] * len(after), after)
    before = by_name(seen.before)
    if list(before) != list(after):
        raise ValueError(f"the state before has the parts {', '.join(before)}; expected {', '.join(after)}, as after")
    return SeenStep(seen.input, list(before.values()), after)


def by_name(states: States) -> dict[str, Tensor]:
    """Return the parts of a state by name."""
    if isinstance(states, Mapping):
        return dict(states)
    states = tuple(state for state in states if state is not None)
    names = [*NAMES, *(f"state_{k}" for k in range(len(NAMES), len(states)))]
    return dict(zip(names, states, strict=False))


@dataclass(frozen=True)
class Registration:
    """How the calls of one class of cells are understood."""

    module_type: type[nn.Module]
    read: Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], Seen]
    equations: Callable[[nn.Module], Equations] | None
    weights: Callable[[nn.Module], Weights] | None

    def seen(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> SeenStep:
        """Return what a call was given and gave.

        Raises:
            ValueError: If it is no single step of a recurrence.
        """
        seen = step_of(self.read(module, args, kwargs, result))
        given = [state for state in seen.before if state is not None]
        if not self._is_one_step(seen, given):
            shapes = [tuple(value.shape) for value in (seen.input, *given, *seen.after.values())]
            raise ValueError(
                f"{type(module).__name__} was read as a cell that is given and gives {', '.join(map(str, shapes))}; "
                "expected one step, [batch, features] of input and of every state (without equations, any axes after "
                "the batch that the states before and after have in common): register the cell that is called for "
                "every step, or give rnn_diag.register(..., read=...)"
            )
        if next(iter(seen.after.values())).grad_fn is None and any(value.requires_grad for value in tensors_in(result)):
            raise ValueError(
                f"{type(module).__name__} was read as giving a state that is not on the graph; let read give the very "
                "tensor that the call returned, no view or copy of it, so that its gradient can be seen"
            )
        return seen

    def _is_one_step(self, seen: SeenStep, given: list[Tensor]) -> bool:
        states = list(seen.after.values())
        axes = {value.dim() for value in (seen.input, *given, *states)}
        if axes in ({1}, {2}):
            return bool(states)
        as_given = [state.shape for state in given] == [state.shape for state in states]
        batches = {value.shape[:1] for value in (seen.input, *states)}
        return self.equations is None and bool(states) and as_given and 0 not in axes and len(batches) == 1


FOLLOWED = ("torch.nn.", "rnn_diag.")
"""Where the classes are from that are followed without being registered."""

_registrations: dict[type[nn.Module], Registration] = {}


def register(
    module_type: type[nn.Module],
    *,
    read: Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], Seen] | None = None,
    equations: Equations | Callable[[nn.Module], Equations] | None = None,
    weights: Callable[[nn.Module], Weights] | None = None,
) -> None:
    """Let `record` follow a cell of your own, which your model calls once for every step.

    Without equations its states and their total gradients are captured, whatever their axes after the batch and whether
    real or complex: those of a convolutional cell, too. With equations (a subclass of
    `rnn_diag.cells.AutogradEquations` needs the forward step only) its gates, the split of its gradients, and every
    measure follow. Registering a class again replaces what was said before.

    Args:
        module_type: The class; subclasses are followed too.
        read: Gives input and state of a call as `rnn_diag.capture.Seen` from `(module, args, kwargs, result)`; the
            state after it must be the very tensors that the call returned. By default the call is read as torch's cells
            are called: `cell(input, state) -> state`, with a state `h` or `(h, c)`; further results are
            ignored when the result is a tuple and the state given is a tensor.
        equations: The recurrence, or a function that makes it from a module.
        weights: Gives the parameters of a module as `Weights`. By default those that have torch's names.

    Raises:
        TypeError: If `module_type` is not a class of modules.
        ValueError: If `weights` is given without `equations`, or the class is torch's or this package's own.

    Example:
        >>> class Leaky(nn.Module):
        ...     def forward(self, x, h):
        ...         return 0.5 * h + x
        >>> register(Leaky)  # hidden states and their gradients, from now on
    """
    if not (isinstance(module_type, type) and issubclass(module_type, nn.Module)):
        raise TypeError(f"module_type={module_type!r}; expected a subclass of torch.nn.Module")
    if issubclass(module_type, (nn.RNNBase, nn.RNNCellBase)) and module_type.__module__.startswith(FOLLOWED):
        raise ValueError(
            f"module_type={module_type.__name__}; expected a class of yours: this one is followed without registering"
        )
    if weights is not None and equations is None:
        raise ValueError("weights without equations say nothing; give equations too, or neither")
    make = (lambda _: equations) if isinstance(equations, Equations) else equations
    _registrations[module_type] = Registration(module_type, read or read_like_torch, make, weights)


def owner_of_forward(kind: type[nn.Module]) -> type[nn.Module]:
    """Return which class a class has its `forward` from."""
    return next((one for one in kind.__mro__ if "forward" in one.__dict__), kind)


def registration_of(module: nn.Module) -> Registration | None:
    """Return what was said of a module's class, the most derived first."""
    return next((_registrations[kind] for kind in type(module).__mro__ if kind in _registrations), None)


def registered_types() -> list[type[nn.Module]]:
    """Return the classes that were registered."""
    return list(_registrations)


def read_like_torch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Seen:
    """Read a call as `cell(input, state) -> state`."""
    values = [*args, *kwargs.values()]
    before = None if len(values) < 2 or values[1] is None else values[1]
    if isinstance(before, Mapping) or isinstance(result, Mapping):
        return Seen(values[0], before, result)
    parts = None if before is None else (before,) if isinstance(before, Tensor) else tuple(before)
    after = (result,) if isinstance(result, Tensor) else tuple(result)
    if parts is not None:
        after = after[: len(parts)]
    return Seen(values[0], parts, tuple(part for part in after if isinstance(part, Tensor)))
