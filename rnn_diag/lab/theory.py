"""What the rows of docs/theory.md are called, for reports that are read without it."""

from __future__ import annotations

from typing import Final

ROWS: Final = {
    1: "BIBO",
    2: "Impulse response",
    3: "Scalar recursion",
    4: "Vector recursion",
    5: "Nonlinearities",
    6: "Memory length",
    7: "The chain",
    8: "Activation Jacobian",
    9: "Weights",
    10: "What to watch",
    11: "Memory that depends on the input",
    12: "Constant-error carousel",
    13: "Gates",
    14: "LSTM",
    15: "Peephole LSTM",
    16: "Its backward pass, written out",
    17: "GRU",
    18: "What gating does and does not do",
}
"""Name by number."""
