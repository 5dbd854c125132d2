"""Recurrent modules of the user's own: how their calls are read, and which equations they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from rnn_diag.capture.fidelity import tensors_in
from rnn_diag.cells.equations import Equations
from rnn_diag.cells.weights import Weights


class Seen(NamedTuple):
    """One call of a cell: `input [B, I]`; its state before and after, `(hidden,)` or `(hidden, cell)`."""

    input: Tensor
    before: tuple[Tensor, ...] | None
    after: tuple[Tensor, ...]


@dataclass(frozen=True)
class Registration:
    """How the calls of one class of cells are understood."""

    module_type: type[nn.Module]
    read: Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], Seen]
    equations: Callable[[nn.Module], Equations] | None
    weights: Callable[[nn.Module], Weights] | None

    def seen(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Seen:
        """Return what a call was given and gave.

        Raises:
            ValueError: If it is no single step of a recurrence.
        """
        seen = self.read(module, args, kwargs, result)
        shapes = [tuple(value.shape) for value in (seen.input, *(seen.before or ()), *seen.after)]
        if not seen.after or len(seen.input.shape) > 2 or any(len(shape) != len(shapes[0]) for shape in shapes):
            raise ValueError(
                f"{type(module).__name__} was read as a cell that is given and gives {', '.join(map(str, shapes))}; "
                "expected one step, [batch, features] of input and of every state: register the cell that is called "
                "for every step, or give rnn_diag.register(..., read=...)"
            )
        if seen.after[0].grad_fn is None and any(value.requires_grad for value in tensors_in(result)):
            raise ValueError(
                f"{type(module).__name__} was read as giving a state that is not on the graph; let read give the very "
                "tensor that the call returned, no view or copy of it, so that its gradient can be seen"
            )
        return seen


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

    Without equations its hidden states and their total gradients are captured. With equations (a subclass of
    `rnn_diag.cells.AutogradEquations` needs the forward step only) its gates, the split of its gradients, and every
    measure follow. Registering a class again replaces what was said before.

    Args:
        module_type: The class; subclasses are followed too.
        read: Gives input and state of a call from `(module, args, kwargs, result)`; the state after it must be the very
            tensors that the call returned. By default the call is read as
            torch's cells are called: `cell(input, state) -> state`, with a state `h` or `(h, c)`; further results are
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
    parts = None if before is None else (before,) if isinstance(before, Tensor) else tuple(before)
    after = (result,) if isinstance(result, Tensor) else tuple(result)
    if parts is not None:
        after = after[: len(parts)]
    return Seen(values[0], parts, tuple(part for part in after if isinstance(part, Tensor)))
