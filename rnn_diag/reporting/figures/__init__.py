"""Figures by matplotlib for papers and notebooks, from the numbers that TensorBoard gets; extra `plot`."""

from rnn_diag.reporting.figures.gates import gates_over_time, gates_over_training, units
from rnn_diag.reporting.figures.gradients import gradient_heat_map, gradient_profile, influence, memory_horizon
from rnn_diag.reporting.figures.of_trace import Numbers, figures_of, numbers_of
from rnn_diag.reporting.figures.spectrum import complex_plane, lyapunov

__all__ = [
    "Numbers",
    "complex_plane",
    "figures_of",
    "gates_over_time",
    "gates_over_training",
    "gradient_heat_map",
    "gradient_profile",
    "influence",
    "lyapunov",
    "memory_horizon",
    "numbers_of",
    "units",
]
