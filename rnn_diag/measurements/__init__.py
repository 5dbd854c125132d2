"""What is measured of a layer, as sums and counts that merge exactly over calls and ranks."""

from rnn_diag.measurements.measure import GradientUnits, Measure, Needs
from rnn_diag.measurements.statistics import Statistic

__all__ = ["GradientUnits", "Measure", "Needs", "Statistic"]
