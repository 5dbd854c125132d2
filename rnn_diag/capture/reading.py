"""From the calls of a recording to traces, one for every layer and every sequence of calls."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from rnn_diag.capture.between import UNKNOWN, Change
from rnn_diag.capture.call_log import CallLog
from rnn_diag.capture.calls import AnyCall, Call, LayerCall, Spread, StepCall
from rnn_diag.capture.fidelity import SelfCheck
from rnn_diag.capture.joined import JoinedSource, StepSource, only_others_have_gradient, why_no_gradients
from rnn_diag.capture.modules import FoundLayers, RecurrentModule, type_name
from rnn_diag.capture.sequences import Chain, sequences_of
from rnn_diag.cells.equations import State
from rnn_diag.engine.choice import engine_sweeper
from rnn_diag.engine.sweep import Sweeper, sweep
from rnn_diag.pending import Pending
from rnn_diag.source import Fidelity, FoundGrads, LayerSource, OutputGrads
from rnn_diag.trace import Provenance, Trace

Check = Callable[[str, bool, torch.dtype], Pending[Fidelity]]
"""The self-check of a layer: its name, whether its weights were frozen, and what it was computed in."""


CHANGING = Fidelity(None, "nothing to check: its weights change from call to call, so no equations hold for all")


class TraceReader:
    """Reads calls as traces; a trace is cached until it is forgotten.

    Args:
        layers: The layers that are followed.
        log: Their calls.
        engine: How gradients are swept back.
        sequences: How many of a batch's sequences the traces show; the calls may hold more, to be checked.
        checked: Names of layers that earlier recordings found right.
    """

    def __init__(
        self, layers: FoundLayers, log: CallLog, engine: str, sequences: int | None, checked: Collection[str] = ()
    ) -> None:
        self._layers = layers
        self._log = log
        self._engine = engine
        self._sequences = sequences
        self._check = SelfCheck(layers, log, self.parts, self.input_grad, self._explicit_trace, checked)
        self.forget()

    def forget(self) -> None:
        """Make every trace anew when it is next asked for."""
        for stack in getattr(self, "_stacks", {}).values():
            stack.forget()
        self._followed: dict[str, list[Trace]] = {}
        self._whole: dict[str, list[Trace]] = {}
        self._stacks: dict[tuple[int, int, bool], LayerTraces] = {}
        self._check.forget()

    def lighten(self) -> None:
        """Let every trace drop what it can compute again."""
        made = [stack.traces for stack in self._stacks.values()]
        for trace in chain.from_iterable([*made, *self._followed.values(), *self._whole.values()]):
            trace.forget()

    def traces(self, name: str) -> list[Trace]:
        """Return one trace for every sequence of calls of a layer, with the sequences that are followed."""
        if self._log.running:  # more may come
            self.forget()
        if name not in self._followed:
            self._followed[name] = self._assembled(name, self._sequences)
        return self._followed[name]

    def parts(self, name: str) -> list[Trace]:
        """Return one trace for every call of a layer, or sequence of steps, with every sequence that was copied."""
        if name not in self._whole:
            restricts = self._log.sequences is None and self._sequences is not None
            self._whole[name] = self._assembled(name, None) if restricts else self.traces(name)
        joined = [
            trace.source.parts if isinstance(trace.source, JoinedSource) else [trace] for trace in self._whole[name]
        ]
        return [part for parts in joined for part in parts]

    def input_grad(self, path: str, call: LayerCall) -> Tensor:
        """Return the gradient `[T, B, I]` of a call's input, of every sequence that was copied."""
        return self._stack(self._layers.modules[path], call).input_grad()

    def _explicit_trace(self, found: RecurrentModule, call: LayerCall, suffix: str) -> Trace:
        """Return the trace of a layer in a call that was not recorded, by the equations themselves."""
        return LayerTraces(found, call, self._check, sweep).trace(suffix)

    def _assembled(self, name: str, sequences: int | None) -> list[Trace]:
        found = self._layers.module_of(name)
        calls = self._log.calls[found.path]
        if any(call.had_grad for call in calls):
            calls = [call for call in calls if call.had_grad]  # the others are a checkpoint's first pass, or a metric's
        if found.is_cell:
            return [self._of_steps(found, name, chain, sequences) for chain in sequences_of(calls)]
        known = [call for call in calls if call.masks is not None]
        return [self._of_layers(found, name, chain, sequences) for chain in sequences_of(known, found.is_one_way)]

    def _of_steps(self, found: RecurrentModule, name: str, chain: Chain[StepCall], sequences: int | None) -> Trace:
        provenance = _provenance(found, name, chain, sequences)
        steps = _followed(chain, sequences)
        if found.equations is not None and not _have_one_weight(chain):
            return Trace(provenance, StepSource(steps, None, CHANGING))
        check = partial(self._check, name, provenance.frozen, provenance.kernel_dtype)
        return Trace(provenance, StepSource(steps, found.equations, check))

    def _of_layers(self, found: RecurrentModule, name: str, chain: Chain[LayerCall], sequences: int | None) -> Trace:
        suffix = found.suffixes[found.names.index(name)]
        calls = _followed(chain, sequences)
        parts = [self._stack(found, call).trace(suffix) for call, _ in calls]
        provenance = _provenance(found, name, chain, sequences)
        if len(parts) == 1:
            return Trace(provenance, parts[0].source)
        index = found.suffixes.index(suffix)
        changes = [_of_layer(change, index) for _, change in calls]
        for k in range(1, len(calls)):
            change = changes[k]
            if change is not None and any(f is not None for f in change.held) and len(parts[k - 1].inputs) > 1:
                changes[k] = UNKNOWN  # held back from before a call of several steps
        check = partial(self._check, name, provenance.frozen, provenance.kernel_dtype)
        return Trace(provenance, JoinedSource(parts, changes, check))

    def _stack(self, found: RecurrentModule, call: LayerCall) -> LayerTraces:
        assert found.equations is not None
        key = call.number, call.inputs.shape[call.batch_axis], call.is_spread
        if key not in self._stacks:
            sweeper = engine_sweeper(self._engine, found.equations, call.inputs.device)
            self._stacks[key] = LayerTraces(found, call, self._check, sweeper)
        return self._stacks[key]


class LayerTraces:
    """The traces of one call. When asked for, states are computed from below and gradients from above."""

    def __init__(self, found: RecurrentModule, call: LayerCall, check: Check, sweeper: Sweeper) -> None:
        self.found = found
        self.call = call
        self._check = check
        self._sweeper = sweeper
        self._traces: dict[str, Trace] = {}
        self.directions = 2 if any(suffix.endswith("_reverse") for suffix in found.suffixes) else 1

    @property
    def traces(self) -> list[Trace]:
        """The traces that were made."""
        return list(self._traces.values())

    def forget(self) -> None:
        """Hold no trace any longer: these hold this, and would all stay until Python looks for such circles."""
        self._traces = {}

    def trace(self, suffix: str) -> Trace:
        """Return the trace of one layer in one direction."""
        if suffix not in self._traces:
            self._traces[suffix] = self._make(self.found.suffixes.index(suffix), suffix)
        return self._traces[suffix]

    def input_grad(self) -> Tensor:
        """Return the gradient of the call's input, `[T, B, I]`."""
        return self._input_grad(0)

    def _make(self, index: int, suffix: str) -> Trace:
        layer, direction = divmod(index, self.directions)
        assert self.found.equations is not None
        name = self.found.name(suffix)
        provenance = _provenance(self.found, name, Chain([(self.call, None)]), len(self.call.selection.indices))
        source = LayerSource(
            self.found.equations,
            self.call.weights[suffix],
            self._given(self._inputs(layer, direction), suffix),
            State(*(state[index] for state in self.call.initial)),
            self.call.mask,
            hidden=self._direction(self.call.output, direction) if self._is_last(layer) else None,
            output_grads=partial(self._output_grads, layer, direction),
            reverse=direction == 1,
            check=partial(self._check, name, provenance.frozen, provenance.kernel_dtype),
            sweeper=self._sweeper,
            only_others=partial(only_others_have_gradient, [self.call]),
        )
        return Trace(provenance, source)

    def _is_last(self, layer: int) -> bool:
        return (layer + 1) * self.directions == len(self.found.suffixes)

    def _of_layer(self, layer: int) -> list[Trace]:
        suffixes = self.found.suffixes[layer * self.directions : (layer + 1) * self.directions]
        return [self.trace(suffix) for suffix in suffixes]

    def _inputs(self, layer: int, direction: int) -> Tensor:
        if layer == 0:
            return self.call.inputs
        beneath = torch.cat([trace.hidden for trace in self._of_layer(layer - 1)], dim=-1)
        return self._dropped(layer, direction, beneath)

    def _given(self, inputs: Tensor, suffix: str) -> Tensor:
        """Return a layer's inputs with what its equations drew behind them."""
        drawn = self.call.drawn.get(suffix)
        return inputs if drawn is None else torch.cat((inputs, drawn), dim=-1)

    def _output_grads(self, layer: int, direction: int) -> FoundGrads:
        if reason := why_no_gradients([self.call]):
            return reason
        index = layer * self.directions + direction
        final = [None if grad is None else grad[index] for grad in map(self.call.grads.get, ("hidden", "cell"))]
        hidden = self.call.grads.get("output") if self._is_last(layer) else self._input_grad(layer + 1)
        return OutputGrads(None if hidden is None else self._direction(hidden, direction), State(*final))  # type: ignore[arg-type]

    def _input_grad(self, layer: int) -> Tensor:
        """Return the gradient of what a layer was given, before anything of it was dropped."""
        grads = [trace.equations.features(trace.input_grad, trace.weights) for trace in self._of_layer(layer)]
        return torch.stack([self._dropped(layer, direction, grad) for direction, grad in enumerate(grads)]).sum(0)

    def _dropped(self, layer: int, direction: int, between: Tensor) -> Tensor:
        masks = (self.call.masks or {}).get(layer)
        return between if masks is None else between * masks[direction % len(masks)]

    def _direction(self, both: Tensor, direction: int) -> Tensor:
        return both.chunk(self.directions, dim=-1)[direction]


def _have_one_weight(chain: Chain[StepCall]) -> bool:
    """Return whether all calls were given the same weights: a parametrisation may draw, or iterate, at every call."""
    first, *others = [call.weights for call, _ in chain.calls if call.weights is not None]
    present = first.present()
    return all(
        one is first or all(torch.equal(value, present[name]) for name, value in one.present().items())
        for one in others
    )


def _followed(chain: Chain[AnyCall], sequences: int | None) -> list[tuple[AnyCall, Change | None]]:
    """Return calls that follow each other as seen of some sequences, all of them with the same ones."""
    calls = [(call.restricted(sequences), _restricted(change, call, sequences)) for call, change in chain.calls]
    numbers = calls[0][0].numbers
    if all(torch.equal(call.numbers, numbers) for call, _ in calls[1:]):
        return calls
    together: list[tuple[AnyCall, Change | None]] = []
    for call, change in calls:
        spread = Spread(call.numbers, numbers, call.batch_axis)
        previous = together[-1][0] if together else None
        together.append((call.among(numbers, previous), _spread(change, spread)))
    return together


def _spread(change: Change | None, spread: Spread) -> Change | None:
    """Return what was done to a state, with nothing done to that of sequences that have ended."""
    if change is None:
        return None
    passed = tuple(None if factor is None else spread(factor, 1.0) for factor in change.passed)
    held = tuple(None if factor is None else spread(factor) for factor in change.held)
    return change._replace(passed=passed, held=held)


def _provenance(found: RecurrentModule, name: str, chain: Chain[AnyCall], sequences: int | None) -> Provenance:
    """Return where a trace of calls that follow each other was taken."""
    first, _ = chain.calls[0]
    return Provenance(
        layer=name,
        module_type=type_name(found.module),
        sequences=first.selected(sequences).indices,
        order=first.number,
        on_graph=first.had_grad,
        state_on_graph=first.state_on_graph,
        state_changed_between_calls=any(change is not None and not change.is_known for _, change in chain.calls),
        is_piece=chain.is_piece,
        frozen=name not in first.trained,
        kernel_dtype=first.kernel_dtype,
    )


def _restricted(change: Change | None, call: Call, sequences: int | None) -> Change | None:
    return None if change is None else change.read(call.rows(sequences))


def _of_layer(change: Change | None, index: int) -> Change | None:
    return None if change is None else change.read(lambda factor: factor[index])
