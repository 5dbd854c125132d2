"""The self-check: the equations' states and gradients against what the calls returned and what autograd gave."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rnn_diag.capture.call_log import CallLog
from rnn_diag.capture.calls import LayerCall
from rnn_diag.capture.modules import FoundLayers
from rnn_diag.cells.equations import State
from rnn_diag.source import Fidelity
from rnn_diag.trace import Trace

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 5e-2}
"""Largest relative error of a gradient that is put down to rounding, by the dtype that the kernel computed in."""

STATES = {torch.float64: 1e-9, torch.float32: 1e-2, torch.bfloat16: 2e-1, torch.float16: 2e-1}
"""The same of states. Half the digits of a product (TF32), or of a memory that is summed up in half precision, are the
kernel's own; other equations are far off."""


class SelfCheck:
    """Compares what is shown of a layer with what is known of it otherwise.

    States that the equations give are compared with those that the calls returned: it costs no more than the gates. The
    gradient of `weight_hh` (where it is zero, of `bias_ih` or `weight_ih`) is compared with autograd's for the same
    calls, or that of the module's input where only a part of the batch was copied.

    Args:
        layers: The layers that are followed.
        log: Their calls.
        parts: Gives the traces of all calls of a layer, of every sequence that was copied.
        input_grad: Gives the gradient of a call's input, by the module's path and the call.
    """

    def __init__(
        self,
        layers: FoundLayers,
        log: CallLog,
        parts: Callable[[str], list[Trace]],
        input_grad: Callable[[str, LayerCall], Tensor],
    ) -> None:
        self._layers = layers
        self._log = log
        self._parts = parts
        self._input_grad = input_grad
        self.forget()

    def forget(self) -> None:
        """Compare anew when next asked."""
        self._states: dict[str, float] = {}

    def __call__(self, name: str, frozen: bool, kernel_dtype: torch.dtype) -> Fidelity:
        """Return what the comparison found for a layer.

        Args:
            name: The layer.
            frozen: Whether its weights needed no gradient.
            kernel_dtype: What it was computed in.
        """
        found = self._layers.module_of(name)
        if found.equations is None:
            return Fidelity(None, "registered without equations: there is nothing to check")
        states, largest = self._states_error(found.path), STATES.get(kernel_dtype, 1e-2)
        if not states <= largest:
            return Fidelity(states, "the equations give other states than the calls returned", largest)
        error, reason = self._gradient_error(name, found.path, frozen)
        return Fidelity(error, reason, TOLERANCES.get(kernel_dtype, 1e-3))

    def _states_error(self, path: str) -> float:
        if path not in self._states:
            traces = [part for name in self._layers.modules[path].names for part in self._parts(name)]
            self._states[path] = max((states_error(trace) for trace in traces), default=0.0)
        return self._states[path]

    def _gradient_error(self, name: str, path: str, frozen: bool) -> tuple[float | None, str]:
        calls = [call for call in self._log.calls[path] if call.grads]
        if not calls:
            return None, "no backward pass reached the layer"
        calls = [call for call in calls if not call.differentiated_twice]
        if not calls:
            return None, "nothing to check: every call was differentiated twice"
        whole = all(call.selection.complete and getattr(call, "masks", {}) is not None for call in calls)
        if whole and not frozen and (name, "weight_hh") in self._log.parameter_grads:
            return self._against_parameters(name)
        return self._against_inputs(path, [c for c in calls if isinstance(c, LayerCall) and c.masks is not None], whole)

    def _against_parameters(self, name: str) -> tuple[float | None, str]:
        parts = [part for part in self._parts(name) if part.has_gradients and not part.provenance.frozen]
        ours: dict[str, Callable[[Trace], Tensor]] = {
            "weight_hh": lambda part: part.recurrent_weight_grad,
            "bias_ih": lambda part: part.swept.projected_grad.flatten(0, 1).sum(0),
            "weight_ih": lambda part: _stacked(part.preactivation_grad).T @ part.inputs.flatten(0, 1),
        }
        for parameter, of_part in ours.items():
            theirs = self._log.parameter_grads.get((name, parameter))
            if theirs is None:
                continue
            if not bool(theirs.isfinite().all()):
                return None, f"nothing to check against: the gradient of {parameter} is not finite"
            found = torch.stack([of_part(part) for part in parts]).sum(0)
            if bool(found.any()) or bool(theirs.any()):
                return relative_error(found, theirs), f"checked against the gradient of {parameter}"
        return None, "nothing to check: the gradient of weight_hh is zero on both sides"

    def _against_inputs(self, path: str, calls: list[LayerCall], whole: bool) -> tuple[float | None, str]:
        pairs = [(self._input_grad(path, call), call.grads.get("input")) for call in calls]
        given = [(ours, theirs) for ours, theirs in pairs if theirs is not None]
        known = [(ours, theirs) for ours, theirs in given if bool(theirs.isfinite().all())]
        told = [(ours, theirs) for ours, theirs in known if bool(ours.any()) or bool(theirs.any())]
        if told:
            errors = [relative_error(ours, theirs) for ours, theirs in told]
            return max(errors), "checked against the gradient of the module's input"
        if known:
            return None, "nothing to check: the gradient of the module's input is zero on both sides"
        if given:
            return None, "nothing to check against: the gradient of the module's input is not finite"
        if whole:
            return None, "nothing to check against: autograd gave weight_hh no gradient of its own"
        return None, "nothing to check against: a part of the batch is followed, and the input needs no gradient"


def _stacked(by_block: dict[str, Tensor]) -> Tensor:
    """Return the blocks of all steps and sequences next to each other, `[T * B, G * H]`."""
    return torch.cat(list(by_block.values()), dim=-1).flatten(0, 1)


def states_error(trace: Trace) -> float:
    """Return how far the states that the equations give are from those that the calls returned, step by step.

    0 where what was returned is not known: beneath the last layer of a stack.
    """
    returned = trace.source.returned
    if returned is None:
        return 0.0
    steps, mask = trace.unrolled.steps, trace.source.mask
    ours = State(trace.weights.project(steps.emitted), steps.cell)
    pairs = [(one, other) for one, other in zip(ours, returned, strict=True) if one is not None and other is not None]
    errors = [0.0]
    for one, other in pairs:
        told = other.isfinite() if mask is None else other.isfinite() & mask.unsqueeze(-1)
        errors.append(relative_error(one[told], other[told]))
    return max(errors, key=lambda error: (error != error, error))


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Return `‖ours - theirs‖ / ‖theirs‖`; 0 where both are zero, NaN where either holds one."""
    scale = torch.linalg.vector_norm(theirs.double())
    error = torch.linalg.vector_norm(ours.double() - theirs.double())
    return 0.0 if float(error) == 0 else float(error / scale)
