"""What a recurrence says of itself, in plain words that ranks exchange and a file can hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from rnn_diag.cells.equations import Equations
from rnn_diag.cells.product import Dense


@dataclass(frozen=True)
class Recurrence:
    """The recurrence of a layer; all empty where its equations are not known.

    Attributes:
        kind: Its name, such as `lstm`.
        is_gated: Whether it has gates.
        has_cell: Whether it has a memory cell besides the hidden state.
        has_matrix: Whether the hidden state enters by a matrix, which an initialisation can set.
        memory_gate: The gate that keeps what was there, or empty.
        harmful: What it means for a unit to be stuck at `<gate>/<extreme>`, where that keeps the unit from its work.
    """

    kind: str = ""
    is_gated: bool = False
    has_cell: bool = False
    has_matrix: bool = True
    memory_gate: str = ""
    harmful: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, equations: Equations | None) -> Recurrence:
        """Return what the equations say.

        Example:
            >>> from rnn_diag.cells import GRUEquations
            >>> Recurrence.of(GRUEquations()).harmful["update/open"]
            'nothing is written into the state'
        """
        if equations is None:
            return cls()
        gate = equations.memory_gate
        return cls(
            kind=equations.name,
            is_gated=bool(equations.gates),
            has_cell=equations.has_cell,
            has_matrix=equations.recurrent_product == Dense(),
            memory_gate=gate or "",
            harmful={f"{name}/{extreme}": meaning for (name, extreme), meaning in equations.harmful.items()},
        )
