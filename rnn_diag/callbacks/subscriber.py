"""Who hears of a step that is measured: what was measured of every layer, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rnn_diag.callbacks.concern import Schedule
from rnn_diag.coverage import Coverage
from rnn_diag.doctor.report import Report
from rnn_diag.measurements.layer import LayerMeasurements
from rnn_diag.measurements.measure import GradientUnits

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from rnn_diag.capture import Recording


@dataclass(frozen=True)
class FirstLook:
    """A step between its backward pass and the optimiser's step, on one rank.

    Attributes:
        recording: What the layers went through; None where that could not be recorded.
        layers: The names of those that the subscriber asked for.
        began: When the step began, in seconds of `time.perf_counter`.
    """

    recording: Recording | None
    layers: Sequence[str]
    began: float


@dataclass(frozen=True)
class StepReport:
    """A measured step, merged over calls and ranks.

    Attributes:
        step: The training step.
        measured: What was measured, by layer.
        coverage: How every layer was captured, those of which nothing is measured included.
        units: Of its gradients.
        verdict: What the doctor's judge says.
        is_again: Whether the step was told before, and the background has finished something since.
    """

    step: int
    measured: Mapping[str, LayerMeasurements]
    coverage: Sequence[Coverage]
    units: GradientUnits
    verdict: Report
    is_again: bool = False


class Subscriber:
    """Asks for all that the doctor's judge needs, and hears of every measured step.

    Attributes:
        schedule: When, and on which layers.
    """

    role: ClassVar[str] = ""
    """What the table of layers calls it; empty to be left out."""

    schedule: Schedule

    def before_update(self, trainer: Trainer, look: FirstLook) -> None:
        """Hear of a step to be measured before the optimiser changes anything; all ranks do."""

    def step_measured(self, trainer: Trainer, report: StepReport) -> Mapping[str, float]:
        """Hear of a measured step; return numbers to log with it, by tag. All ranks do."""
        return {}
