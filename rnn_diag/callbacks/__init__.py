"""When to measure, on which layers, and under which names: callbacks for a Lightning trainer."""

from rnn_diag.callbacks.doctor import Doctor
from rnn_diag.callbacks.gradient_norms import GradientNorms
from rnn_diag.callbacks.lyapunov import LyapunovSpectrum
from rnn_diag.callbacks.memory_horizon import MemoryHorizon
from rnn_diag.callbacks.rnn_diagnostics import RNNDiagnostics
from rnn_diag.callbacks.saturation import GateSaturation
from rnn_diag.callbacks.session.warnings import DiagnosticWarning
from rnn_diag.callbacks.spectrum import RecurrentSpectrum

__all__ = [
    "DiagnosticWarning",
    "Doctor",
    "GateSaturation",
    "GradientNorms",
    "LyapunovSpectrum",
    "MemoryHorizon",
    "RNNDiagnostics",
    "RecurrentSpectrum",
]
