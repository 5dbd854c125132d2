"""From measured numbers to findings in words: what is wrong with a recurrent layer, and what to try first."""

from rnn_diag.doctor.compare import Comparison, compare
from rnn_diag.doctor.examine import examine
from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.judge import MEASURES, judge
from rnn_diag.doctor.report import Report
from rnn_diag.doctor.run_facts import Clipping, RunFacts
from rnn_diag.doctor.vitals import Vitals

__all__ = [
    "MEASURES",
    "Clipping",
    "Comparison",
    "Evidence",
    "Finding",
    "Report",
    "RunFacts",
    "Severity",
    "Vitals",
    "compare",
    "examine",
    "judge",
]
