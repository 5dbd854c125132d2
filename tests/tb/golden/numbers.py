"""The numbers in the golden event files: one measurement of every kind, each exact in its type on disk.

`python -m tests.tb.golden.numbers <folder>` wrote `v1/`. A file once written is never written again: it stands for the
logs that users have.
"""

from __future__ import annotations

import sys

from rnn_diag.tb import kinds as tab

LAYER = "encoder.l0"
STEP = 50
LOG10_NORMS = [[float("-inf"), -8.0, float("nan"), -2.0], [-9.0, -8.5, -3.0, -2.5], [-7.0, -7.5, float("inf"), -1.5]]
GATES = {"forget": [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]]}
EIGENVALUES = [0.5 + 0.25j, 0.5 - 0.25j, -1.5 + 0.0j]
SINGULAR_VALUES = [0.5, 1.5, 1.0]
EXPONENTS = [-0.5, 0.125]
HORIZON = [3.0, 2.0, 4.0]
COST = (12.5, 0.015625)
FINDINGS = [{"severity": "critical", "title": "The gradient vanishes.", "layer": LAYER}]


def write(log: object) -> None:
    tab.write_gradients(log, LAYER, STEP, LOG10_NORMS, cell="lstm")
    tab.write_influence(log, LAYER, STEP, LOG10_NORMS)
    tab.write_gates(log, LAYER, STEP, GATES)
    tab.write_gate_units(log, LAYER, STEP, GATES)
    tab.write_eigenvalues(log, LAYER, STEP, EIGENVALUES, matrix="forget")
    tab.write_singular_values(log, LAYER, STEP, SINGULAR_VALUES, matrix="forget")
    tab.write_lyapunov(log, LAYER, STEP, EXPONENTS)
    tab.write_horizon(log, LAYER, STEP, HORIZON)
    tab.write_cost(log, STEP, *COST)
    tab.write_verdict(log, STEP, FINDINGS)


if __name__ == "__main__":
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(sys.argv[1]) as log:
        write(log)
