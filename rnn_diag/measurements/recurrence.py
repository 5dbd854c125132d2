"""What a recurrence says of itself, in plain words that ranks exchange and a file can hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from rnn_diag.cells.equations import Equations

_MEMORY_GATES = ("forget", "update")
_BOUNDED = ("lstm", "peephole_lstm", "gru")
_HARMFUL = {
    "input/shut": "nothing is written into the memory",
    "forget/shut": "the memory is wiped at every step",
    "output/shut": "nothing of the memory is shown",
    "update/open": "nothing is written into the state",
    "update/shut": "the state is overwritten at every step",
}


@dataclass(frozen=True)
class Recurrence:
    """The recurrence of a layer; all empty where its equations are not known.

    Attributes:
        kind: Its name, such as `lstm`.
        is_gated: Whether it has gates.
        has_cell: Whether it has a memory cell besides the hidden state.
        memory_gate: The gate that keeps what was there, or empty.
        keeps_when: The extreme at which that gate keeps: `open` or `shut`.
        harmful: What it means for a unit to be stuck at `<gate>/<extreme>`, where that keeps the unit from its work.
        is_bounded: Whether no hidden state leaves [-1, 1] when the initial one is inside.
    """

    kind: str = ""
    is_gated: bool = False
    has_cell: bool = False
    memory_gate: str = ""
    keeps_when: str = "open"
    harmful: dict[str, str] = field(default_factory=dict)
    is_bounded: bool = False

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
        names = [gate.name for gate in equations.gates]
        return cls(
            kind=equations.name,
            is_gated=bool(equations.gates),
            has_cell=equations.has_cell,
            memory_gate=next((name for name in _MEMORY_GATES if name in names), ""),
            harmful={state: meaning for state, meaning in _HARMFUL.items() if state.partition("/")[0] in names},
            is_bounded=equations.name in _BOUNDED,
        )
