"""The figures of a trace show the numbers of its tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rnn_diag import record
from rnn_diag.callbacks import MemoryHorizon
from rnn_diag.measurements.gradients import GradientUnits
from rnn_diag.reporting import figures
from tests.reporting.figures.artists import drawn


@pytest.fixture(scope="module")
def trace():
    torch.manual_seed(0)
    model = torch.nn.LSTM(3, 5)
    with record(model) as recording:
        model(torch.randn(7, 4, 3))[0][-1].sum().backward()
    return recording["l0"]


def test_the_numbers_of_a_trace_are_those_of_its_tensors(trace):
    numbers = figures.numbers_of(trace)
    norms = trace.hidden_grad.norm(dim=-1).double()
    torch.testing.assert_close(numbers.log10_norms[2], norms.max(dim=1).values.log10())
    assert (numbers.log10_norms[1] <= numbers.log10_norms[0]).all()
    torch.testing.assert_close(numbers.gates["forget"][0], trace.gates["forget"].mean((1, 2)).double())
    torch.testing.assert_close(numbers.units["forget"][0], trace.gates["forget"].mean((0, 1)).double())
    assert (numbers.log10_influence[:, 0] == 0).all()


def test_the_figures_of_a_trace_show_its_numbers(trace):
    shown = figures.figures_of(trace)
    assert list(shown) == ["gradient_profile", "influence", "complex_plane", "gates_over_time", "units"]
    line = drawn(shown["gradient_profile"]).axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), figures.numbers_of(trace).log10_norms[0])


def test_a_recording_without_a_backward_pass_has_figures_of_what_there_is():
    model = torch.nn.GRU(3, 5)
    with record(model) as recording:
        model(torch.randn(7, 4, 3))
    assert list(figures.figures_of(recording["l0"])) == ["complex_plane", "gates_over_time", "units"]


def test_the_horizon_of_a_figure_is_the_one_that_the_callback_logs(trace):
    logged = MemoryHorizon().measure_of.of(trace, GradientUnits(1.0, False)).numbers["steps"]
    assert figures.numbers_of(trace).horizon == logged
