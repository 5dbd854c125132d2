"""What the tab shows, one kind of series per file: how it is written, how it is checked, its rows in an export."""

from rnn_diag.tb.kinds.cost import COST, write_cost
from rnn_diag.tb.kinds.gates import GATE_UNITS, GATES, write_gate_units, write_gates
from rnn_diag.tb.kinds.horizon import HORIZON, write_horizon
from rnn_diag.tb.kinds.kind import Kind
from rnn_diag.tb.kinds.lyapunov import LYAPUNOV, write_lyapunov
from rnn_diag.tb.kinds.profile import CONTRIBUTIONS, GRADIENTS, INFLUENCE, write_gradients, write_influence
from rnn_diag.tb.kinds.spectrum import EIGENVALUES, SINGULAR_VALUES, write_eigenvalues, write_singular_values
from rnn_diag.tb.kinds.verdict import VERDICT, write_verdict
from rnn_diag.tb.kinds.weights import (
    EARLY_LATE,
    GATE_WEIGHTS,
    WEIGHT_MAPS,
    write_contributions,
    write_gate_weights,
    write_weight_maps,
)

KINDS = {
    kind.name: kind
    for kind in (
        *(GRADIENTS, INFLUENCE, GATES, GATE_UNITS, EIGENVALUES, SINGULAR_VALUES),
        *(GATE_WEIGHTS, WEIGHT_MAPS, CONTRIBUTIONS, EARLY_LATE),
        *(LYAPUNOV, HORIZON, COST, VERDICT),
    )
}
"""By the word in tags and descriptions."""

__all__ = [
    "KINDS",
    "Kind",
    "write_contributions",
    "write_cost",
    "write_eigenvalues",
    "write_gate_units",
    "write_gate_weights",
    "write_gates",
    "write_gradients",
    "write_horizon",
    "write_influence",
    "write_lyapunov",
    "write_singular_values",
    "write_verdict",
    "write_weight_maps",
]
