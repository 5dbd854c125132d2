"""The self-check: the equations' states and gradients against what the calls returned and what autograd gave."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from functools import partial

import torch
from torch import Tensor

from rnn_diag.capture.call_log import CallLog
from rnn_diag.capture.calls import LayerCall
from rnn_diag.capture.modules import FoundLayers, RecurrentModule
from rnn_diag.capture.rerun import Rerun, can_rerun, rerun
from rnn_diag.cells.equations import State
from rnn_diag.engine.precision import DOUBLE, MANY_LOST, SMALLEST_NORMAL, is_waited_for
from rnn_diag.errors import lets_errors_through
from rnn_diag.pending import Pending
from rnn_diag.source import Fidelity
from rnn_diag.trace import Trace

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 5e-2}
"""Largest relative error of a gradient that is put down to rounding, by the dtype that the kernel computed in."""

STATES = {torch.float64: 1e-9, torch.float32: 1e-2, torch.bfloat16: 2e-1, torch.float16: 2e-1}
"""The same of states. Half the digits of a product (TF32), or of a memory that is summed up in half precision, are the
kernel's own; other equations are far off."""

BEYOND_DOUBT = {torch.float64: 1e-9, torch.float32: 1e-5}
"""An error below which nothing else can be hidden. Half precision and TF32 leave room for other equations."""

IN_DOUBLE = 1e-6
"""Largest relative error in double precision, whatever the network amplifies."""

SOME, STATES_AT_ONCE = 8, 2**24
"""Sequences that are run in double precision, at most; and fewer where they would have more states than that."""

PARTLY = "nothing to check against: a part of the batch is followed"

OF_PARAMETERS: dict[str, Callable[[Trace], Tensor]] = {
    "weight_hh": lambda part: part.recurrent_weight_grad,
    "bias_ih": lambda part: part.equations.input_product.bias_grad(part.swept.projected_grad),
    "weight_ih": lambda part: part.input_weight_grad,
}
"""The gradients of parameters that follow from those of the pre-activations."""

Compared = tuple[float | None, str]
"""A relative error and what was compared; or None, and why nothing was."""


class SelfCheck:
    """Compares what is shown of a layer with what is known of it otherwise.

    States that the equations give are compared with those that the calls returned: it costs no more than the gates. The
    gradient of `weight_hh` (where it is zero, of `bias_ih` or `weight_ih`) is compared with autograd's for the same
    calls, or that of the module's input where only a part of the batch was copied. Where that leaves room
    for anything but rounding, the layer's own kernel is run once more, in its own precision and in double, and decides.

    Args:
        layers: The layers that are followed.
        log: Their calls.
        parts: Gives the traces of all calls of a layer, of every sequence that was copied.
        input_grad: Gives the gradient of a call's input, by the module's path and the call.
        trace: Gives the trace of another call than those recorded, by the module and a layer's suffix.
        checked: Names of layers that earlier recordings found right: the usual error is enough for them.
    """

    def __init__(
        self,
        layers: FoundLayers,
        log: CallLog,
        parts: Callable[[str], list[Trace]],
        input_grad: Callable[[str, LayerCall], Tensor],
        trace: Callable[[RecurrentModule, LayerCall, str], Trace],
        checked: Collection[str] = (),
    ) -> None:
        self._layers = layers
        self._log = log
        self._parts = parts
        self._input_grad = input_grad
        self._trace = trace
        self._checked = checked
        self.forget()

    def forget(self) -> None:
        """Compare anew when next asked."""
        self._states: dict[str, Pending[float]] = {}
        self._in_double: dict[str, list[tuple[LayerCall, Rerun]]] = {}
        self._again: dict[str, list[Rerun]] = {}

    def __call__(self, name: str, frozen: bool, kernel_dtype: torch.dtype) -> Pending[Fidelity]:
        """Compare a layer; what was found is pending, and runs the kernel once more only where that is needed.

        Args:
            name: The layer.
            frozen: Whether its weights needed no gradient.
            kernel_dtype: What it was computed in.
        """
        found = self._layers.module_of(name)
        if found.equations is None:
            return Pending.known(Fidelity(None, "followed without equations: there is nothing to check"))
        if not all(part.has_equations for part in self._parts(name)):
            return Pending.known(Fidelity(None, "nothing to check: the layer's weights change from call to call"))
        compared = self._states_error(found.path), self._gradient_error(name, found.path, frozen)
        return Pending.together(compared, partial(self._decided, name, found, frozen, kernel_dtype))

    def _decided(
        self,
        name: str,
        found: RecurrentModule,
        frozen: bool,
        kernel_dtype: torch.dtype,
        states: float,
        gradients: Compared,
    ) -> Fidelity:
        """Return what the errors say, of states and of gradients; where they do not suffice, what the kernel says."""
        largest = STATES.get(kernel_dtype, 1e-2)
        if states <= largest:
            plain = Fidelity(*gradients, TOLERANCES.get(kernel_dtype, 1e-3))
        else:
            plain = Fidelity(states, "the equations give other states than the calls returned", largest)
        if plain.error is None:
            unknown = name not in self._checked and plain.reason.startswith(PARTLY)
            return self._by_kernel(name, found, frozen, plain) if unknown else plain
        within = plain.error <= plain.tolerance
        if within and (name in self._checked or not plain.error > BEYOND_DOUBT.get(kernel_dtype, 0.0)):
            return plain
        return self._by_kernel(name, found, frozen, plain)

    def _states_error(self, path: str) -> Pending[float]:
        if path not in self._states:
            traces = [part for name in self._layers.modules[path].names for part in self._parts(name)]
            errors = [states_error(trace) for trace in traces]
            self._states[path] = Pending.together(errors, lambda *found: max(found, default=0.0))
        return self._states[path]

    def _gradient_error(self, name: str, path: str, frozen: bool) -> Pending[Compared]:
        calls = [call for call in self._log.calls[path] if call.grads]
        if not calls:
            return Pending.known((None, "no backward pass reached the layer"))
        calls = [call for call in calls if not call.differentiated_twice]
        if not calls:
            return Pending.known((None, "nothing to check: every call was differentiated twice"))
        whole = all(call.selection.complete and getattr(call, "masks", {}) is not None for call in calls)
        if whole and not frozen and (name, "weight_hh") in self._log.parameter_grads:
            return self._against_parameters(name, list(OF_PARAMETERS))
        return self._against_inputs(path, [c for c in calls if isinstance(c, LayerCall) and c.masks is not None], whole)

    def _against_parameters(self, name: str, parameters: Sequence[str]) -> Pending[Compared]:
        """Compare with the gradient of the first of some parameters that has one other than zero."""
        known = [one for one in parameters if self._log.parameter_grads.get((name, one)) is not None]
        if not known:
            return Pending.known((None, "nothing to check: the gradient of weight_hh is zero on both sides"))
        parameter, *others = known
        parts = [part for part in self._parts(name) if part.has_gradients and not part.provenance.frozen]
        ours = torch.stack([OF_PARAMETERS[parameter](part) for part in parts]).sum(0)

        def told(found: Tensor) -> Compared:
            difference, size = found.tolist()
            if not math.isfinite(size):
                return None, f"nothing to check against: the gradient of {parameter} is not finite"
            if difference != 0 or size != 0:
                return _relative(difference, size), f"checked against the gradient of {parameter}"
            return self._against_parameters(name, others).here()

        return Pending([difference_and_size(ours, self._log.parameter_grads[name, parameter])], told)

    def _against_inputs(self, path: str, calls: list[LayerCall], whole: bool) -> Pending[Compared]:
        pairs = [(self._input_grad(path, call), call.grads.get("input")) for call in calls]

        def told(*compared: Tensor) -> Compared:
            given = [(difference, size) for difference, size in (found.tolist() for found in compared)]
            known = [(difference, size) for difference, size in given if math.isfinite(size)]
            errors = [_relative(*one) for one in known if one != (0, 0)]
            if errors:
                return max(errors), "checked against the gradient of the module's input"
            if known:
                return None, "nothing to check: the gradient of the module's input is zero on both sides"
            if given:
                return None, "nothing to check against: the gradient of the module's input is not finite"
            if whole:
                return None, "nothing to check against: autograd gave weight_hh no gradient of its own"
            return None, f"{PARTLY}, and the input needs no gradient"

        return Pending([difference_and_size(ours, theirs) for ours, theirs in pairs if theirs is not None], told)

    def _by_kernel(self, name: str, found: RecurrentModule, frozen: bool, plain: Fidelity) -> Fidelity:
        """Return what the layer's own kernel says of an error that may be rounding; `plain` where it says nothing."""
        calls = [call for call in self._log.calls[found.path] if call.grads and not call.differentiated_twice]
        if not calls or not can_rerun(found, calls):
            return plain
        try:
            exact = self._error_in_double(found, found.suffixes[found.names.index(name)], calls)
            is_small = plain.error is not None and plain.error <= plain.tolerance
            if not math.isfinite(exact):
                return plain
            if not is_small and (
                _lost_digits(calls) or not self._is_known(name, found, calls, frozen, plain.tolerance)
            ):
                return plain
        except RuntimeError:  # no memory for another run, or no such kernel in double precision
            if lets_errors_through():
                raise
            return plain
        if not exact <= IN_DOUBLE:
            return Fidelity(exact, "the layer's own kernel gives another gradient in double precision", IN_DOUBLE)
        rounding, _ = self._gradient_error(name, found.path, frozen).here()
        precision = str(calls[0].precision)
        reason = "checked against the layer's own kernel in double precision"
        if rounding is not None:
            reason += f"; rounding to {precision} alone changes the gradient by {rounding:.2g} of itself"
        return Fidelity(exact, reason, IN_DOUBLE, rounding, precision)

    def _error_in_double(self, found: RecurrentModule, suffix: str, calls: list[LayerCall]) -> float:
        """Return how far the equations are from the layer's own kernel, of a few sequences in double precision."""
        if found.path not in self._in_double:
            states = max(len(call.inputs) * call.output.shape[-1] for call in calls)
            some = [call.restricted(min(SOME, max(1, STATES_AT_ONCE // states))) for call in calls]
            exact = [rerun(found, call, DOUBLE) for call in some]
            calls_in_double = [call.in_double(one.output) for call, one in zip(some, exact, strict=True)]
            self._in_double[found.path] = list(zip(calls_in_double, exact, strict=True))
        pairs = self._in_double[found.path]
        return max(error_of_equations(self._trace(found, call, suffix), exact, suffix) for call, exact in pairs)

    def _is_known(
        self, name: str, found: RecurrentModule, calls: list[LayerCall], frozen: bool, tolerance: float
    ) -> bool:
        """Return whether the kernel, in the precision of the calls, gives once more what came of them."""
        if found.path not in self._again:
            self._again[found.path] = [rerun(found, call, call.precision) for call in calls]
        reruns, suffix = self._again[found.path], found.suffixes[found.names.index(name)]
        pairs = [(again.output, call.output) for again, call in zip(reruns, calls, strict=True)]
        pairs += [
            (again.input_grad, given)
            for again, call in zip(reruns, calls, strict=True)
            if (given := call.grads.get("input")) is not None
        ]
        theirs = self._log.parameter_grads.get((name, "weight_hh"))
        if theirs is not None and all(call.selection.complete for call in calls) and not frozen:
            pairs.append((torch.stack([again.weight_grads[suffix]["weight_hh"] for again in reruns]).sum(0), theirs))
        return all(relative_error(ours, given) <= tolerance for ours, given in pairs)


def _lost_digits(calls: list[LayerCall]) -> bool:
    """Return whether many of the gradients that reached a float16 layer are so small that float16 lost digits of them.

    What the training got is then wrong from the start, and not rounded on its way through time.
    """
    if calls[0].kernel_dtype != torch.float16:
        return False
    reached = [
        grad for call in calls for name in ("output", "hidden", "cell") if (grad := call.grads.get(name)) is not None
    ]
    sizes = torch.cat([grad.flatten() for grad in reached]).abs()
    used = sizes[sizes > 0]
    tiny = used < SMALLEST_NORMAL
    return not len(used) or bool(tiny.double().mean() >= MANY_LOST)


def error_of_equations(trace: Trace, exact: Rerun, suffix: str) -> float:
    """Return how far the equations are from the layer's own kernel, both in double precision: states and gradients."""
    errors = [states_error(trace).here()]
    for name, of_trace in OF_PARAMETERS.items():
        if (theirs := exact.weight_grads[suffix].get(name)) is not None:
            errors.append(relative_error(of_trace(trace), theirs))
    return _largest(errors)


def states_error(trace: Trace) -> Pending[float]:
    """Return how far the states that the equations give are from those that the calls returned, step by step.

    0 where what was returned is not known: beneath the last layer of a stack. What is not finite, or padding, is left
    out.
    """
    returned = trace.source.returned
    if returned is None:
        return Pending.known(0.0)
    steps, mask = trace.unrolled.steps, trace.source.mask
    ours = State(trace.weights.project(steps.emitted), steps.cell)
    compared = []
    for one, other in zip(ours, returned, strict=True):
        if one is None or other is None:
            continue
        if mask is not None or is_waited_for(other) or not bool(other.sum().isfinite()):
            told = other.isfinite() if mask is None else other.isfinite() & mask.unsqueeze(-1)
            one, other = one.where(told, 0.0), other.where(told, 0.0)
        compared.append(difference_and_size(one, other))
    return Pending(compared, lambda *found: _largest([0.0, *(_relative(*pair.tolist()) for pair in found)]))


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Return `‖ours - theirs‖ / ‖theirs‖`; 0 where both are zero, NaN where either holds one."""
    return _relative(*difference_and_size(ours, theirs).tolist())


def difference_and_size(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return `‖ours - theirs‖` and `‖theirs‖` as one tensor, where they are."""
    size = torch.linalg.vector_norm(theirs.double())
    return torch.stack((torch.linalg.vector_norm(ours.double() - theirs.double()), size))


def _relative(difference: float, size: float) -> float:
    return 0.0 if difference == 0 else difference / size if size else math.inf


def _largest(errors: Sequence[float]) -> float:
    return max(errors, key=lambda error: (error != error, error))
