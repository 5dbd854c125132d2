"""The arguments that all callbacks share."""

from __future__ import annotations

import pytest

from rnn_diag.callbacks import (
    GateSaturation,
    RNNDiagnostics,
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_steps": 0}, "every_n_steps=0; expected a whole number of at least 1"),
        ({"sequences": 0}, "sequences=0; expected"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RNNDiagnostics(**arguments)
    with pytest.raises(ValueError, match=r"low=0.9, high=0.1; expected 0 <= low < high <= 1"):
        GateSaturation(low=0.9, high=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_steps": "5"}, "every_n_steps='5'; expected a whole number"),
        ({"sequences": 2.5}, "sequences=2.5; expected a whole number"),
        ({"max_overhead": "2%"}, "max_overhead='2%'; expected a finite number above 0 and below 1"),
        ({"layers": None}, "layers=None; expected a glob pattern"),
    ],
)
def test_arguments_of_a_wrong_type_are_refused(arguments, message):
    with pytest.raises(TypeError, match=message):
        RNNDiagnostics(**arguments)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_impossible_shares_are_refused(share):
    with pytest.raises(ValueError, match=f"max_overhead={share}; expected .* above 0 and below 1, or None"):
        RNNDiagnostics(max_overhead=share)
