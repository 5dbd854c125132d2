"""One table names every number: docstrings, pages, charts and vital signs follow it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from rnn_diag.callbacks import (
    GateSaturation,
    GateWeights,
    GradientNorms,
    LyapunovSpectrum,
    MemoryHorizon,
    RecurrentSpectrum,
)
from rnn_diag.capture import record
from rnn_diag.doctor import Vitals
from rnn_diag.doctor.signs import SIGNS
from rnn_diag.measurements.exponents import ExponentSums
from rnn_diag.measurements.gates import GateCounts
from rnn_diag.measurements.gradients import GradientSums
from rnn_diag.measurements.influence import Influence
from rnn_diag.measurements.layer import AS_TRAINED, STATISTICS
from rnn_diag.measurements.statistics import as_markdown
from rnn_diag.measurements.weights import WeightNumbers

CALLBACKS = (GradientNorms, MemoryHorizon, RecurrentSpectrum, GateSaturation, LyapunovSpectrum, GateWeights)
PAGE = Path(__file__).parents[2] / "docs" / "numbers.md"


@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_callback_lists_in_its_docstring_what_the_table_says(callback) -> None:
    scalars = callback.__doc__.partition("To TensorBoard:")[0]
    lines = re.findall(r"^ *- `([^`]+)`: ((?:.|\n(?! *- |\n))*)", scalars, flags=re.MULTILINE)
    listed = {tag: " ".join(says.split()) for tag, says in lines}
    assert listed == {f"{callback.name}/<layer>/{one.name}": f"{one.says}." for one in STATISTICS[callback.name]}
    assert callback.statistics is STATISTICS[callback.name]


@pytest.mark.parametrize("layer", [nn.LSTM(3, 5), nn.GRU(3, 5), nn.RNN(3, 5)], ids=lambda layer: type(layer).__name__)
def test_every_number_that_is_logged_is_in_the_table(layer: nn.Module) -> None:
    with record(layer) as recording:
        layer(torch.randn(9, 2, 3))[0].square().sum().backward()
    trace = recording["l0"]
    numbers = {
        "gradient_norms": GradientSums.of(trace, AS_TRAINED).numbers,
        "memory_horizon": Influence.of(trace).numbers,
        "spectrum": WeightNumbers.of(trace, transient=True).completed().numbers,
        "saturation": GateCounts.of(trace).numbers,
        "lyapunov": ExponentSums.of(trace, k=2).numbers,
    }
    for diagnostic, values in numbers.items():
        patterns = [one.pattern for one in STATISTICS[diagnostic]]
        unknown = [name for name in values if not any(re.fullmatch(pattern, name) for pattern in patterns)]
        assert unknown == []


def test_the_page_of_numbers_shows_the_table() -> None:
    assert as_markdown(STATISTICS) in PAGE.read_text()


def test_what_is_said_to_be_a_vital_sign_is_one_with_a_name() -> None:
    vitals = {one.vital for statistics in STATISTICS.values() for one in statistics if one.vital}
    assert all(hasattr(Vitals("l0"), name) for name in vitals)
    assert vitals <= set(SIGNS)
