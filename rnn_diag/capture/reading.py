"""From the notes of calls to traces, and the self-check of each trace against what autograd gave the module."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from rnn_diag.capture.call import Call
from rnn_diag.capture.chain import ChainedTrace, chained, parts_of
from rnn_diag.capture.fidelity import TOLERANCES, relative_error
from rnn_diag.capture.modules import RecurrentModule, type_name
from rnn_diag.capture.noted import NotedCall
from rnn_diag.capture.notes import Notes
from rnn_diag.capture.stack import Stack
from rnn_diag.capture.steps import HiddenOnlyTrace, StepwiseTrace
from rnn_diag.engine.replay import engine_sweeper
from rnn_diag.trace import Trace


class Reading:
    """Reads notes as traces; once made, a trace is kept until it is forgotten."""

    def __init__(self, found: dict[str, RecurrentModule], notes: Notes, engine: str) -> None:
        self._found = found
        self._layers = {r.name(suffix): (path, suffix) for path, r in found.items() for suffix in r.suffixes}
        self._notes = notes
        self._engine = engine
        self._traces: dict[str, list[Trace]] = {}
        self._stacks: dict[int, Stack] = {}

    def forget(self) -> None:
        """Make every trace anew when it is next asked for."""
        self._traces.clear()
        self._stacks.clear()

    def traces(self, name: str) -> list[Trace]:
        """Return one trace for every call of a layer; calls that go on where the last one ended are one trace."""
        if self._notes.running:  # more may come
            self.forget()
        if name not in self._traces:
            path, suffix = self._layers[name]
            self._traces[name] = self._assembled(self._found[path], suffix)
        return self._traces[name]

    def _assembled(self, found: RecurrentModule, suffix: str) -> list[Trace]:
        pairs = list(self._read(found, suffix))
        for first, trace in pairs:
            trace.started = first.number
            trace.initial_requires_grad = first.initial_requires_grad
            trace.had_grad = first.had_grad
        return [trace for _, trace in pairs]

    def _read(self, found: RecurrentModule, suffix: str) -> Iterator[tuple[NotedCall, Trace]]:
        """Give every trace of a layer, with its first call."""
        calls = self._notes.calls[found.path]
        if any(call.had_grad for call in calls):
            calls = [call for call in calls if call.had_grad]  # the others are a checkpoint's first pass, or a metric's
        name = found.name(suffix)
        if found.equations is None:
            for chain in chained(calls):
                yield chain[0], HiddenOnlyTrace(name, type_name(found.module), chain)
        elif found.is_cell:
            check = partial(self._check, name)
            for chain in chained(calls):
                tolerance = TOLERANCES.get(chain[0].kernel_dtype, 1e-3)
                options = {"equations": found.equations, "fidelity": check, "tolerance": tolerance}
                yield chain[0], StepwiseTrace(name, chain, **options)
        else:
            known = [call for call in calls if call.masks is not None]
            for chain in chained(known, joinable=found.is_one_way and all(call.mask is None for call in known)):
                parts = [self._stack(found, call).trace(suffix) for call in chain]
                yield chain[0], ChainedTrace(parts) if len(parts) > 1 else parts[0]

    def _stack(self, found: RecurrentModule, call: Call) -> Stack:
        assert found.equations is not None
        if call.number not in self._stacks:
            sweeper = engine_sweeper(self._engine, found.equations, call.inputs.device)
            self._stacks[call.number] = Stack(found, call, self._check, sweeper)
        return self._stacks[call.number]

    def _check(self, name: str, trace: Trace) -> tuple[float | None, str]:
        """Return the relative error of a layer's weight gradient, or of its module's input gradient."""
        path, _ = self._layers[name]
        calls = [call for call in self._notes.calls[path] if call.grads]
        if not calls:
            return None, "no backward pass reached the layer"
        whole = all(call.selection.complete and getattr(call, "masks", {}) is not None for call in calls)
        if name in self._notes.weight_grads and whole and not trace.was_frozen:
            if not bool(self._notes.weight_grads[name].isfinite().all()):
                return None, "nothing to check against: the gradient of weight_hh is not finite"
            parts = [part for one in self.traces(name) for part in parts_of(one)]
            trained = [part for part in parts if part.has_gradients and not part.was_frozen]
            ours = torch.stack([t.recurrent_weight_grad for t in trained]).sum(0)
            return relative_error(ours, self._notes.weight_grads[name]), "checked against the gradient of weight_hh"
        pairs = [
            (self._stack(self._found[path], call).input_grad(), call.grads.get("input"))
            for call in calls
            if isinstance(call, Call) and call.masks is not None
        ]
        known = [(ours, theirs) for ours, theirs in pairs if theirs is not None and bool(theirs.isfinite().all())]
        if known:
            errors = [relative_error(ours, theirs) for ours, theirs in known]
            return max(errors), "checked against the gradient of the module's input"
        if any(theirs is not None for _, theirs in pairs):
            return None, "nothing to check against: the gradient of the module's input is not finite"
        if whole:
            return None, "nothing to check against: autograd gave weight_hh no gradient of its own"
        return None, "nothing to check against: a part of the batch is followed, and the input needs no gradient"
