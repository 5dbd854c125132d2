"""How the calls of a cell are read that nobody registered: what was seen to return, and what was new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from rnn_diag.capture.leaves import arguments, at
from rnn_diag.capture.registry import NAMES, SeenStep
from rnn_diag.capture.returning import NewInput, Return, Sighting


@dataclass(frozen=True)
class Finding:
    """What was found out of one module's calls; it is read as a registration without equations is.

    Attributes:
        returns: Which outputs are its state, and as which inputs they return.
        names: What the parts of the state are called.
        input: Which input is new at each call.
    """

    returns: tuple[Return, ...]
    names: tuple[str, ...]
    input: NewInput

    equations: ClassVar[None] = None
    weights: ClassVar[None] = None

    @classmethod
    def of(cls, returns: Sequence[Return], input: NewInput, last: Sighting) -> Finding:
        """Return what was found out.

        Args:
            returns: What returned to it.
            input: What was new.
            last: A call of the cell.
        """
        shapes = [last.gave[one.output].value.shape for one in returns]
        kept = tuple(Return(one.output, one.argument, one.is_unchanged) for one in returns)
        return cls(kept, _names(returns, shapes), input)

    @property
    def how(self) -> str:
        """What the coverage table says of it."""
        returns = ", ".join(str(one) if one.is_unchanged else f"{one} (changed)" for one in self.returns)
        return f"followed by its state (found: {returns}); rnn_diag.register with equations adds gates and horizons"

    def seen(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> SeenStep:
        """Return what a call was given and gave.

        Raises:
            ValueError: If it was called in another way than when it was found.
        """
        given = arguments(module, args, kwargs)
        input = at(given, self.input.argument)
        results = (result,) if isinstance(result, Tensor) else result
        after = [at(results, one.output) for one in self.returns]
        before = [at(given, one.argument) for one in self.returns]
        if input is None or any(state is None for state in after):
            raise ValueError(
                f"{type(module).__name__} was called in another way than before ({self.how.partition(';')[0]})"
            )
        states = {name: state for name, state in zip(self.names, after, strict=True) if state is not None}
        if self.input.axis:
            input = input.movedim(self.input.axis, 0)
        if input.dim() == 1 and self.input.axis is not None:
            input = input.unsqueeze(1)
        earlier = [_in_form(old, new) for old, new in zip(before, states.values(), strict=True)]
        return SeenStep(input, earlier, states, self.input.state_axis)


_findings: WeakKeyDictionary[nn.Module, Finding] = WeakKeyDictionary()


def remember(module: nn.Module, finding: Finding) -> None:
    """Follow a module from now on as was found out of its calls, unless its class is registered."""
    _findings[module] = finding


def finding_of(module: nn.Module) -> Finding | None:
    """Return what was found out of a module's calls."""
    return _findings.get(module)


def _in_form(before: Tensor | None, after: Tensor) -> Tensor | None:
    """Return the state before in the form of the one after; None where it is none yet, such as an empty tensor.

    It may have an axis of one fewer, or more, or be one state for all sequences.
    """
    if before is None or before.shape == after.shape:
        return before
    with torch.enable_grad():  # its position on the graph is looked for
        if before.numel() == after.numel():
            return before.view(after.shape) if before.is_contiguous() else before.reshape(after.shape)
        return before.expand(after.shape) if _can_expand(before, after) else None


def _can_expand(before: Tensor, after: Tensor) -> bool:
    """Return whether a state stands for all sequences of a batch."""
    pairs = zip(reversed(before.shape), reversed(after.shape), strict=False)
    return before.dim() <= after.dim() and all(size in (1, full) for size, full in pairs)


def _names(returns: Sequence[Return], shapes: Sequence[torch.Size]) -> tuple[str, ...]:
    """Return what the parts of a state are called: by their keys where all have some, else as others' are."""
    keys = [one.output[-1] for one in returns]
    if len(returns) > 1 and all(isinstance(key, str) for key in keys) and len(set(keys)) == len(keys):
        return tuple(map(str, keys))
    is_memory = len(returns) == 2 and shapes[0] == shapes[1]
    return tuple(NAMES[k] if k == 0 or (k == 1 and is_memory) else f"state_{k}" for k in range(len(returns)))
