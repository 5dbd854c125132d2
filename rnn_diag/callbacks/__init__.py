"""When to measure, on which layers, and under which names: callbacks for a Lightning trainer."""

from rnn_diag.callbacks.diagnostic import Diagnostic
from rnn_diag.callbacks.doctor import Doctor
from rnn_diag.callbacks.doctor_preflight import Refused
from rnn_diag.callbacks.gate_weights import GateWeights
from rnn_diag.callbacks.gradient_norms import GradientNorms
from rnn_diag.callbacks.lyapunov import LyapunovSpectrum
from rnn_diag.callbacks.memory_horizon import MemoryHorizon
from rnn_diag.callbacks.rnn_diagnostics import RNNDiagnostics
from rnn_diag.callbacks.saturation import GateSaturation
from rnn_diag.callbacks.session.warnings import DiagnosticWarning
from rnn_diag.callbacks.spectrum import RecurrentSpectrum
from rnn_diag.measurements.measure import GradientUnits

__all__ = [
    "Diagnostic",
    "DiagnosticWarning",
    "Doctor",
    "GateSaturation",
    "GateWeights",
    "GradientNorms",
    "GradientUnits",
    "LyapunovSpectrum",
    "MemoryHorizon",
    "RNNDiagnostics",
    "RecurrentSpectrum",
    "Refused",
]
