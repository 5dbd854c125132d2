"""Which equations a recurrent module runs, and which of its parameters belong to which layer."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from rnn_diag.cells.equations import Equations
from rnn_diag.cells.gru import GRUEquations
from rnn_diag.cells.lstm import LSTMEquations
from rnn_diag.cells.rnn import RNNEquations


def equations_of(module: nn.Module) -> Equations | None:
    """Return the recurrence that a module runs, or None if it is none of torch's or this package's recurrent modules.

    Example:
        >>> [gate.name for gate in equations_of(nn.GRUCell(2, 3)).gates]
        ['reset', 'update', 'candidate']
    """
    if not isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return None
    own = getattr(module, "equations", None)
    if isinstance(own, Equations):
        return own
    if isinstance(module, nn.LSTMCell) or getattr(module, "mode", None) == "LSTM":
        return LSTMEquations()
    if isinstance(module, nn.GRUCell) or getattr(module, "mode", None) == "GRU":
        return GRUEquations()
    if isinstance(module, nn.RNNBase):
        return RNNEquations(module.mode.removeprefix("RNN_").lower())
    return RNNEquations(module.nonlinearity) if isinstance(module, nn.RNNCell) else None


def suffixes_of(module: nn.Module) -> tuple[str, ...]:
    """Return the names of a module's layers: `l0`, `l0_reverse`, `l1`, …; a cell has one, `l0`."""
    if not isinstance(module, nn.RNNBase):
        return ("l0",)
    directions = ("", "_reverse") if module.bidirectional else ("",)
    return tuple(f"l{k}{direction}" for k in range(module.num_layers) for direction in directions)


def recurrent_modules(model: nn.Module) -> Iterator[tuple[nn.Module, Equations]]:
    """Yield the recurrent modules inside a model, itself included, each once, with their equations."""
    for module in model.modules():
        equations = equations_of(module)
        if equations is not None:
            yield module, equations
