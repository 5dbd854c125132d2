"""What one rank finds in a measured step: every diagnostic, applied to the traces of its layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from rnn_diag.callbacks.session.exchange import Completed, Findings, MeasuredStep, described
from rnn_diag.callbacks.session.warnings import Notices
from rnn_diag.callbacks.session.worker import Worker
from rnn_diag.capture.fidelity import TOLERANCES
from rnn_diag.measurements.gradients import GradientUnits
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from rnn_diag.callbacks.diagnostic import Diagnostic

NO_UNITS = GradientUnits(float("nan"), False)
"""Where no backward pass was seen, there is no gradient to have them."""

LOST_IN_HALF_PRECISION = "; half precision may have lost small gradients: a larger loss scale or bfloat16 keeps them"


class Measurer:
    """Applies diagnostics to traces; what goes wrong is noted in the step, and what is not shown is said once.

    Args:
        diagnostics: All of them.
        names: The layers that each looks at.
        worker: Completes measurements of weights.
        notices: Says what is not shown.
    """

    def __init__(
        self,
        diagnostics: Sequence[Diagnostic],
        names: Sequence[Sequence[str]],
        worker: Worker[Completed],
        notices: Notices,
    ) -> None:
        self._diagnostics = diagnostics
        self._names = names
        self._worker = worker
        self._notices = notices

    def findings(self, current: MeasuredStep, weights_too: bool) -> Findings:
        """Return what is found; of weights, if they are looked at, too, nothing yet: that is left to the worker."""
        found: Findings = {}
        if current.recording is None:
            return found
        try:
            current.recording.stop()
            self._say_what_is_not_followed(current)
        except Exception as error:
            current.fail(error)
            return found
        for place in current.due:
            if self._diagnostics[place].of_weights and (self._worker.is_busy or not weights_too):
                continue
            try:
                for layer in self._names[place]:
                    for part in self._parts(self._diagnostics[place], layer, current):
                        found[place, layer] = found[place, layer] + part if (place, layer) in found else part
            except Exception as error:
                current.problems[place] = described(error)
        begun = {key: found.pop(key) for key in list(found) if self._diagnostics[key[0]].of_weights}
        if begun:
            complete = {place: self._diagnostics[place].complete for place, _ in begun}
            self._worker.start(lambda: Completed.of(current.step, begun, complete))
        return found

    def _parts(self, diagnostic: Diagnostic, layer: str, current: MeasuredStep) -> Iterator[Any]:
        """Give what a diagnostic finds in each call of a layer."""
        assert current.recording is not None
        traces = current.recording.calls(layer)
        if diagnostic.needs_equations:
            traces = [trace for trace in traces if trace.equations is not None]
        filled = [trace for trace in traces if len(trace.sequences)]  # a batch may be empty
        traces = traces[:1] if diagnostic.of_weights else filled
        if diagnostic.needs_gradients:
            traces = [trace for trace in traces if trace.has_gradients and self._is_shown(layer, trace, current)]
        units = current.units[0] if current.units else NO_UNITS
        for trace in traces:
            yield diagnostic.measure(trace, units)

    def _is_shown(self, layer: str, trace: Trace, current: MeasuredStep) -> bool:
        """Return whether the gradients of a trace can be shown; say why not."""
        if trace.is_faithful is False:
            lost = LOST_IN_HALF_PRECISION if trace.tolerance >= TOLERANCES[torch.float16] else ""
            self._notices.warn_once(layer, f"its gradients are not shown: {trace!r}{lost}")
            return False
        if len(set(current.units)) > 1:
            self._notices.warn_once(
                "gradients", f"not shown at step {current.step}: their scale changed from one backward pass to the next"
            )
            return False
        return True

    def _say_what_is_not_followed(self, current: MeasuredStep) -> None:
        assert current.recording is not None
        current.coverage = current.recording.coverage
        for coverage in current.coverage:
            if coverage.status in ("partial", "not followed") and coverage.layer in current.recording.names:
                self._notices.warn_once(coverage.layer, f"{coverage.status}: {coverage.reason}")
