"""The calls and options that findings name: how a layer's module is written, and what an initialisation is called."""

from __future__ import annotations

from rnn_diag.doctor.vitals import Vitals


def module_of(vitals: Vitals) -> str:
    """Return how the user writes the module that a layer belongs to.

    Example:
        >>> module_of(Vitals("encoder.l0")), module_of(Vitals("l0"))
        ('model.encoder', 'model')
    """
    return f"model.{vitals.module}" if vitals.module else "model"


def initialised(vitals: Vitals, function: str, argument: str = "") -> str:
    """Return the call of one of `rnn_diag.interventions.initialization`."""
    return f"rnn_diag.interventions.initialization.{function}({module_of(vitals)}{argument and ', ' + argument})"


def chrono(vitals: Vitals) -> tuple[str, str]:
    """Return the call and the option of the initialisation whose memories last as long as the sequences."""
    longest = max(vitals.steps, 3)
    option = f"initialization=[chrono] initialization.chrono.longest={longest}"
    return initialised(vitals, "chrono", f"longest={longest}"), option


def identity(vitals: Vitals) -> tuple[str, str]:
    """Return the call and the option of the initialisation that keeps a plain recurrence's state as it is."""
    return initialised(vitals, "identity"), "initialization=[identity]"


def orthogonal(vitals: Vitals) -> tuple[str, str]:
    """Return the call and the option of the initialisation that keeps every length."""
    return initialised(vitals, "orthogonal_per_gate"), "initialization=[orthogonal]"
