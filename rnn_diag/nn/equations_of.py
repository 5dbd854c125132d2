"""Which equations a recurrent module runs, and which of its parameters belong to which layer."""

from __future__ import annotations

from torch import nn

from rnn_diag.cells.cell import RecurrentCell
from rnn_diag.cells.equations import Equations, Weights
from rnn_diag.cells.gru import GRUEquations
from rnn_diag.cells.lstm import LSTMEquations
from rnn_diag.cells.rnn import RNNEquations
from rnn_diag.nn.layer import RecurrentLayer


def equations_of(module: nn.Module) -> Equations | None:
    """Return the recurrence that a module runs, or None if it is none of torch's or this package's recurrent modules."""
    if isinstance(module, (RecurrentLayer, RecurrentCell)):
        return module.equations
    if isinstance(module, (nn.LSTM, nn.LSTMCell)):
        return LSTMEquations()
    if isinstance(module, (nn.GRU, nn.GRUCell)):
        return GRUEquations()
    if isinstance(module, (nn.RNN, nn.RNNCell)):
        return RNNEquations(module.nonlinearity)
    return None


def suffixes_of(module: nn.Module) -> tuple[str, ...]:
    """Return the names of a module's layers: `l0`, `l0_reverse`, `l1`, …; a cell has one, `l0`."""
    if not isinstance(module, nn.RNNBase):
        return ("l0",)
    directions = ("", "_reverse") if module.bidirectional else ("",)
    return tuple(f"l{k}{direction}" for k in range(module.num_layers) for direction in directions)


def weights_of(module: nn.Module, suffix: str) -> Weights:
    """Return the parameters of one layer and direction of a module."""
    ending = f"_{suffix}" if isinstance(module, nn.RNNBase) else ""
    return Weights(**{name: getattr(module, f"{name}{ending}", None) for name in Weights.names()})
