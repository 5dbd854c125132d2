"""The calls and options that findings name: how a layer's module is written, and what an initialisation is called."""

from __future__ import annotations

import math

from rnn_diag.doctor.vitals import Vitals

OF_CHRONO = 1.5
"""How far below ln(T-1) the mean bias is that `chrono` draws, 1, and what training may have taken off."""

OF_MATRICES = ("identity", "orthogonal_per_gate", "rescale_spectral_radius")
"""Initialisations that set recurrent matrices."""


def module_of(vitals: Vitals) -> str:
    """Return how the user writes the module that a layer belongs to.

    Example:
        >>> module_of(Vitals("encoder.l0")), module_of(Vitals("l0")), module_of(Vitals("stack.1.rnn.l0"))
        ('model.encoder', 'model', 'model.stack[1].rnn')
    """
    if vitals.coverage is not None and vitals.coverage.written:
        return vitals.coverage.written
    parts = vitals.module.split(".") if vitals.module else []
    return "model" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts)


def is_clipped(vitals: Vitals) -> bool:
    """Return whether gradients are clipped already, so that nobody is advised to."""
    return not math.isnan(vitals.clip_value)


def initialised(vitals: Vitals, function: str, argument: str = "") -> str:
    """Return the call of one of `rnn_diag.interventions.initialization`; empty where it would refuse the module.

    Parametrised weights cannot be set: the initialisation belongs before the parametrisation. Nor can the matrices of a
    recurrence that has none.
    """
    if not vitals.has_matrix and function in OF_MATRICES:
        return ""
    if vitals.coverage is not None and "Parametrized" in vitals.coverage.module_type:
        return ""
    return f"rnn_diag.interventions.initialization.{function}({module_of(vitals)}{argument and ', ' + argument})"


def chrono(vitals: Vitals) -> tuple[str, str]:
    """Return the call and the option of the initialisation whose memories last as long as the sequences."""
    longest = max(vitals.steps, 3)
    option = f"initialization=[chrono] initialization.chrono.longest={longest}"
    return initialised(vitals, "chrono", f"longest={longest}"), option


def constant_bias(vitals: Vitals, value: float) -> tuple[str, str]:
    """Return the call and the option that set the bias of the gate that remembers."""
    option = f"initialization=[forget_gate_bias] initialization.forget_gate_bias.value={value:.1f}"
    return initialised(vitals, "forget_gate_bias", f"value={value:.1f}"), option


def longer_memory(vitals: Vitals) -> tuple[str, str, str]:
    """Return, in words, as a call and as an option, the initialisation that makes a layer remember longer."""
    if not vitals.is_gated and not vitals.has_matrix:
        return (
            "start with recurrent weights, or eigenvalues, nearer to 1 in size: they decide how long a unit remembers.",
            "",
            "",
        )
    if not vitals.is_gated:
        words = (
            "start from the identity and zero biases, or floss the gradients before training "
            "(rnn_diag.interventions.flossing.gradient_flossing), or take a gated cell (LSTM, GRU)."
        )
        return words, *identity(vitals)
    if vitals.forget_bias >= math.log(max(vitals.steps - 1, 1)) - OF_CHRONO:
        words = (
            "its gates have biases for memories as long as the sequences: look at what shuts them, inputs that are not "
            "scaled to about 1 or a learning rate that is too high, or give shorter sequences."
        )
        return words, "", ""
    words = "start with gates that remember as long as the sequences are."
    return (words, *chrono(vitals)) if vitals.memory_gate else (words, "", "")


def identity(vitals: Vitals) -> tuple[str, str]:
    """Return the call and the option of the initialisation that keeps every state; empty without a matrix to set."""
    return (initialised(vitals, "identity"), "initialization=[identity]") if vitals.has_matrix else ("", "")


def orthogonal(vitals: Vitals) -> tuple[str, str]:
    """Return the call and the option of the initialisation that keeps every length; empty without a matrix to set."""
    if not vitals.has_matrix:
        return "", ""
    return initialised(vitals, "orthogonal_per_gate"), "initialization=[orthogonal]"
