"""What one layer's calls come to before they are judged: sums and counts, so that calls and ranks merge exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rnn_diag.capture.fidelity import TOLERANCES
from rnn_diag.diagnostics import (
    ForgetRate,
    GateSaturation,
    Profile,
    Share,
    UnitState,
    first_non_finite,
    gate_saturation,
    lagged_cell_grad_norms,
    lagged_grad_norms,
    memory_horizon,
    relu_silence,
    spread_targets,
    tanh_saturation,
    unit_states,
)
from rnn_diag.diagnostics.numerics.precision import in_double
from rnn_diag.doctor.backward_tally import BackwardTally
from rnn_diag.doctor.weight_vitals import weight_vitals
from rnn_diag.measurements.starts import InitialStates
from rnn_diag.trace import Trace

STUCK = 1e-3
"""Below it, or above one minus it, a gate's slope is 250 times less than at its middle: nothing moves it."""

TARGETS = 4
"""From how many steps a single loss is followed back: the last of each sequence, and others spread over it."""

HORIZON = 0.01
"""Share of the influence that counts as reaching."""

REMEMBERING = ("forget", "update")
"""Gates that keep what was there: an LSTM's and a GRU's."""


@dataclass(frozen=True)
class Tally:
    """What one or several calls of a layer, on one or several ranks, come to.

    Attributes:
        layer, kind, fidelity, is_unfaithful, reduced_precision, non_finite: See `Vitals`.
        weights: Its numbers of weights.
        cells: Steps times sequences of the batch, padding included.
        valid: Those that are no padding.
        tail, tails_differ: Steps that repeat a sequence's last input, where what is made of them is used; whether
            sequences differ in that.
        longest, sequences: Steps of the longest sequence; sequences.
        on_graph: Whether something could have been learned through the layer: a graph was built.
        saturation, stuck: Of the gates, with usual and with strict thresholds.
        tanh, relu: Saturated tanh units, silent ReLU units.
        rate: How fast the gate that remembers forgets; None without one.
        influence, cell_influence: What is left of a single loss, by lag.
        backward: Of the gradients; None without any.
        starts: The states that calls started from.
    """

    layer: str
    kind: str
    weights: dict[str, Any]
    fidelity: float
    is_unfaithful: bool
    reduced_precision: bool
    non_finite: str
    cells: int
    valid: int
    tail: int
    tails_differ: bool
    longest: int
    sequences: int
    on_graph: bool = False
    saturation: GateSaturation | None = None
    stuck: GateSaturation | None = None
    tanh: Share | None = None
    relu: Share | None = None
    rate: ForgetRate | None = None
    influence: Profile | None = None
    cell_influence: Profile | None = None
    backward: BackwardTally | None = None
    starts: InitialStates | None = None

    @classmethod
    def of(cls, trace: Trace, scale: float = 1.0) -> Tally:
        """Return the sums of one call; gradients are multiplied by `scale` to be those of the loss as trained."""
        known = trace.equations is not None
        wrong = first_non_finite(trace) if known else None
        tail = repeated_inputs(trace)
        if known and trace.has_gradients and not enters_the_loss(trace, tail):
            tail = torch.zeros_like(tail)
        parts: dict[str, Any] = _forward_parts(trace) if known else {}
        if known and trace.has_gradients and wrong is None:
            parts |= _backward_parts(trace, scale)
        return cls(
            layer=trace.layer,
            kind=trace.equations.name if known else "",
            weights=weight_vitals(trace) if known else {},
            fidelity=math.nan if trace.fidelity is None else trace.fidelity,
            is_unfaithful=trace.is_faithful is False,
            reduced_precision=trace.tolerance > TOLERANCES[torch.float32],
            non_finite="" if wrong is None else str(wrong).removeprefix(f"{trace.layer}: "),
            cells=trace.mask.numel(),
            valid=int(trace.mask.sum()),
            tail=int(tail.sum()),
            tails_differ=bool((tail != tail[:1]).any()),
            longest=int(trace.lengths.max()),
            sequences=trace.mask.shape[1],
            on_graph=known and trace.had_grad,  # of other gradients nothing is summed up
            starts=InitialStates.of(trace),
            **parts,
        )

    def __add__(self, other: Tally) -> Tally:
        merged = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in ("cells", "valid", "tail", "sequences"):
            merged[name] += getattr(other, name)
        for name in ("saturation", "stuck", "tanh", "relu", "rate", "influence", "cell_influence", "backward"):
            merged[name] = _together(merged[name], getattr(other, name))
        merged["starts"] = _together(self.starts, other.starts)
        for name in ("tails_differ", "on_graph", "is_unfaithful", "non_finite"):
            merged[name] = merged[name] or getattr(other, name)
        errors = [tally.fidelity for tally in (self, other) if not math.isnan(tally.fidelity)]
        return Tally(
            **merged | {"longest": max(self.longest, other.longest), "fidelity": max(errors, default=math.nan)}
        )

    def numbers(self) -> dict[str, Any]:
        """Return the fields of `Vitals` by name."""
        numbers = self.weights | {name: getattr(self, name) for name in ("layer", "kind", "sequences", "non_finite")}
        numbers |= {"fidelity": self.fidelity, "is_unfaithful": self.is_unfaithful, "steps": self.longest}
        numbers["padding"] = 1 - self.valid / max(self.cells, 1)
        numbers["padding_read"] = self.tail / max(self.valid, 1) if self.tails_differ else 0.0
        numbers |= {"carried_state": self.starts is not None and self.starts.carried}
        numbers["reduced_precision"] = self.reduced_precision
        numbers["on_graph"] = self.on_graph
        if self.saturation is not None and self.stuck is not None:
            numbers |= _gate_numbers(self.saturation, self.stuck)
        if self.tanh is not None:
            numbers["tanh_saturated"] = dict(zip(self.tanh.blocks, self.tanh.mean.tolist(), strict=True))
        if self.relu is not None and self.relu.blocks:
            numbers["relu_dead"] = float((self.relu.by_unit >= 1).double().mean())
        if self.rate is not None:
            numbers["longest_memory"] = float(self.rate.time_constants.max())
            numbers["predicted_horizon"] = -math.log(HORIZON) * numbers["longest_memory"]
        if self.backward is not None:
            numbers |= {"has_gradients": True, **self.backward.numbers(), **self._reach()}
        return numbers

    def _reach(self) -> dict[str, float]:
        profiles = [one for one in (self.influence, self.cell_influence) if one is not None]
        seen = [one.mean[one.count > 0] for one in profiles if bool((one.count > 0).any())]
        if not seen:
            return {"furthest": 0.0}
        return {
            "horizon": max(float(memory_horizon(mean, HORIZON)) for mean in seen),
            "furthest": float(max(len(mean) for mean in seen) - 1),
            "influence_at_furthest": max(float(mean[-1]) for mean in seen),
            "influence_peak": float(seen[0].max()),
        }


def _forward_parts(trace: Trace) -> dict[str, Any]:
    gate = next((name for name in REMEMBERING if name in trace.preactivations and trace.equations.gates), None)
    rate = None
    if gate is not None:
        logs = logsigmoid(in_double(trace.preactivations[gate]))
        logs = logs.masked_fill(~trace.mask.to(logs.device).unsqueeze(-1), 0.0).sum((0, 1))
        rate = ForgetRate(logs.cpu(), int(trace.mask.sum()), trace.mask.shape[1])
    return {
        "saturation": _on_cpu(gate_saturation(trace)),
        "stuck": _on_cpu(gate_saturation(trace, STUCK, 1 - STUCK)),
        "tanh": _on_cpu(tanh_saturation(trace)),
        "relu": _on_cpu(relu_silence(trace)),
        "rate": rate,
    }


def _backward_parts(trace: Trace, scale: float) -> dict[str, Any]:
    targets = spread_targets(trace, TARGETS)
    return {
        "backward": BackwardTally.of(trace, scale),
        "influence": _relative(lagged_grad_norms(trace, targets)),
        "cell_influence": _relative(lagged_cell_grad_norms(trace, targets)) if trace.equations.has_cell else None,
    }


def _relative(norms: Tensor) -> Profile:
    """Return the mean share that is left of single losses, by lag, over the targets that have one."""
    influence = (norms / norms[:1]).flatten(1)
    profile = Profile.of(influence, ~influence.isnan() & (norms[:1] > 0).flatten(1))
    return Profile(profile.total.cpu(), profile.count.cpu())


def repeated_inputs(trace: Trace) -> Tensor:
    """Return how many steps at the end of each sequence repeat its last input; 0 where it is the only one.

    Inputs that a packed sequence leaves out do not count, nor do sequences that never change.
    """
    last = (trace.lengths - 1).clamp(min=0).to(trace.inputs.device)
    batch = torch.arange(trace.inputs.shape[1], device=trace.inputs.device)
    same = (trace.inputs == trace.inputs[last, batch]).all(-1) | ~trace.mask.to(trace.inputs.device)
    run = same.flip(0).long().cumprod(0).sum(0) - (len(same) - 1 - last) - 1
    return torch.where(run + 1 < trace.lengths.to(run.device), run, 0).cpu()


def enters_the_loss(trace: Trace, tail: Tensor) -> bool:
    """Return whether the loss depends on what a layer made of its tails, or on what came after them.

    A layer that reads from the end begins with them, so all that it makes of a sequence does.
    """
    if trace.reverse:
        return True
    direct = trace.hidden_grad_direct.abs().sum(-1).cpu()
    first = (trace.lengths.cpu() - 1 - tail).where(tail > 0, len(direct))
    return bool((direct * (torch.arange(len(direct)).unsqueeze(1) >= first)).any())


def _gate_numbers(saturation: GateSaturation, stuck: GateSaturation) -> dict[str, dict[str, float]]:
    usual, strict = unit_states(saturation), unit_states(stuck)

    def share(states: Tensor, wanted: UnitState) -> dict[str, float]:
        return dict(zip(saturation.gates, (states == wanted).double().mean(1).tolist(), strict=True))

    return {
        "shut": dict(zip(saturation.gates, saturation.shut.mean.tolist(), strict=True)),
        "open": dict(zip(saturation.gates, saturation.open.mean.tolist(), strict=True)),
        "stuck_shut": share(strict, UnitState.STUCK_SHUT),
        "stuck_open": share(strict, UnitState.STUCK_OPEN),
        "switching": share(usual, UnitState.SWITCHING),
        "flat": dict(zip(stuck.gates, (stuck.shut.mean + stuck.open.mean).tolist(), strict=True)),
    }


def _on_cpu(value: Any) -> Any:
    if isinstance(value, GateSaturation):
        return GateSaturation(_on_cpu(value.shut), _on_cpu(value.open))
    return Share(value.blocks, value.unit_counts.cpu(), value.step_counts.cpu(), value.sequences.cpu())


def _together(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else one + other
