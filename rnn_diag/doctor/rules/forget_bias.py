"""The bias of the gate that remembers: too low for the sequences, set at some layers only, or in one of two places."""

from __future__ import annotations

import math

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.rules.reach import FEWEST_STEPS, SHORT
from rnn_diag.doctor.rules.remedies import chrono, constant_bias
from rnn_diag.doctor.vitals import Vitals

LEFT_ALONE = 0.25
"""A mean bias below this was not set: torch draws it around 0."""

SET = 0.75
"""A mean bias above this was set: people write 1 or more."""

BY_HAND = 1e-6
"""A spread below this is that of a constant."""

NOISE = 0.02
"""A spread above this makes units differ in memory by more than 2 %."""


def forget_bias_low(vitals: Vitals) -> Finding | None:
    """Find that even the unit that forgets most slowly keeps less than 1 % of its memory over a sequence.

    What is measured counts more than what gates predict: a loss that reaches the first step needs nothing.
    """
    if math.isnan(vitals.forget_bias) or vitals.steps <= FEWEST_STEPS:
        return None
    if not vitals.predicted_horizon < vitals.steps - 1 or vitals.horizon_share >= 1:
        return None
    call, option = chrono(vitals)
    needed = math.log(vitals.steps - 1)
    gate = vitals.memory_gate
    is_enough = vitals.is_dense or vitals.horizon_share >= SHORT  # near losses may be all that is needed
    is_enough = is_enough or math.isnan(vitals.horizon)  # a prediction that nothing measured supports
    return Finding(
        id="forget_bias_low",
        severity=Severity.INFO if is_enough else Severity.WARNING,
        layer=vitals.layer,
        meaning=f"Sequences have {vitals.steps} steps, and this layer forgets after {vitals.predicted_horizon:.0f}: "
        f"its {gate} gate's bias is {vitals.forget_bias + 0.0:.2g}; to remember them all it takes about {needed:.1f}.",
        remedy=("if the task needs a longer memory, " if is_enough else "")
        + "start with biases that spread memories over the sequences' length.",
        call=call,
        option=option,
        evidence=(
            Evidence("b_ih + b_hh", vitals.forget_bias, f"b_ih + b_hh of {vitals.layer}, rows of {gate}"),
            Evidence("bias that remembers all steps", needed),
        ),
        confidence=0.6 if is_enough else 0.85,
    )


def forget_bias_uneven(vitals: Vitals) -> Finding | None:
    """Find that this layer's bias was left at 0 although another layer or direction of the module has one."""
    others = {layer: bias for layer, bias in vitals.forget_bias_elsewhere.items() if bias > SET}
    if not others or not abs(vitals.forget_bias) < LEFT_ALONE:
        return None
    layer, bias = max(others.items(), key=lambda item: item[1])
    call, option = constant_bias(vitals, bias)
    return Finding(
        id="forget_bias_uneven",
        severity=Severity.ADVICE,
        layer=vitals.layer,
        meaning=f"The forget bias was set at {layer} and left at 0 here: this layer forgets what that one keeps.",
        remedy="set it at all layers and directions.",
        call=call,
        option=option,
        evidence=(Evidence("b_ih + b_hh here", vitals.forget_bias), Evidence(f"at {layer}", bias)),
        confidence=0.8,
    )


def forget_bias_one_of_two(vitals: Vitals) -> Finding | None:
    """Find a bias set to a constant in one of torch's two places while the other was left random."""
    parts = vitals.forget_bias_parts
    pairs = (("ih", "hh"), ("hh", "ih")) if parts else ()
    for done, left in pairs:
        by_hand = parts[f"{done}_spread"] < BY_HAND and abs(parts[done]) > SET
        if by_hand and parts[f"{left}_spread"] > NOISE:
            value = parts[done]
            call, option = constant_bias(vitals, value)
            return Finding(
                id="forget_bias_one_of_two",
                severity=Severity.ADVICE,
                layer=vitals.layer,
                meaning=f"bias_{done} of the {vitals.memory_gate} gate was set to {value:.1f} and bias_{left} left "
                "random; the gate adds both.",
                remedy="set one and zero the other.",
                call=call,
                option=option,
                evidence=(
                    Evidence(f"bias_{done}", value),
                    Evidence(f"mean of bias_{left}", parts[left]),
                    Evidence(f"spread of bias_{left}", parts[f"{left}_spread"]),
                ),
                confidence=0.9,
            )
    return None
