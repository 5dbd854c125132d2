"""Recording what a model's recurrent layers go through while somebody else trains it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rnn_diag.capture import observe
from rnn_diag.capture.call import Call
from rnn_diag.capture.chain import ChainedTrace, chained
from rnn_diag.capture.checkpoint import in_backward, place_of_first_pass
from rnn_diag.capture.dropout import draws_masks, generator_state, redrawn_masks
from rnn_diag.capture.fidelity import TOLERANCES, relative_error, tensors_in, watch_edges
from rnn_diag.capture.layer_by_layer import LayerByLayer
from rnn_diag.capture.modules import RecurrentModule, find_recurrent, matching, type_name, why_silent
from rnn_diag.capture.noted import NotedCall, trace_dtype
from rnn_diag.capture.replay import ENGINES, engine_sweeper
from rnn_diag.capture.stack import Stack
from rnn_diag.capture.steps import HiddenOnlyTrace, StepCall, StepwiseTrace
from rnn_diag.cells.equations import Weights
from rnn_diag.cells.sweep import sweep
from rnn_diag.trace import Trace

Known = Tensor | LayerByLayer | None
"""What is known of the dropout masks of a call before it."""

UNKNOWN_MASK = (
    "dropout between fused layers draws its mask inside the kernel; record with exact_dropout=True, use rnn_diag.nn "
    "with backend='explicit', or look at eval mode"
)


class Coverage(NamedTuple):
    """How one recurrent layer is captured.

    Attributes:
        layer: Its name; of a module that cannot be followed, the module's path.
        module_type: Its class.
        status: `exact`; `not faithful` where the self-check says otherwise; `partial` where a call was lost;
            `not followed`; `never ran`.
        reason: What the status means here.
    """

    layer: str
    module_type: str
    status: str
    reason: str


class Recording(Mapping[str, Trace]):
    """What the recurrent layers of a model went through between `start()` and `stop()`: a trace for every layer's name.

    Args:
        model: Any module that holds `torch.nn.RNN`, `LSTM`, `GRU`, their cells called in a loop, or this package's.
        sequences: How many sequences of a batch are followed, spread evenly over it; None for all.
        layers: Glob pattern, or several, of the layers' names.
        engine: How gradients are swept back: `explicit` loops over the equations, `replay` runs torch's fused kernel
            again with a probe, `auto` chooses by device.
        exact_dropout: Where a kernel draws the masks between its layers itself (CUDA), run recorded calls layer by
            layer with known masks. It is the only option that changes training: recorded calls draw other masks, from
            the device's ordinary generator.

    Raises:
        ValueError: If a pattern matches no layer, or `sequences` is not positive.

    Example:
        >>> model = nn.LSTM(3, 5)
        >>> with record(model) as recording:
        ...     output, _ = model(torch.zeros(7, 2, 3))
        ...     output[-1].sum().backward()
        >>> recording["l0"].hidden_grad.shape
        torch.Size([7, 2, 5])
    """

    def __init__(
        self,
        model: nn.Module,
        sequences: int | None = None,
        layers: str | list[str] | tuple[str, ...] = "*",
        engine: str = "auto",
        exact_dropout: bool = False,
    ) -> None:
        if sequences is not None and sequences < 1:
            raise ValueError(f"sequences is {sequences}; expected a positive number, or None for the whole batch")
        if engine not in ENGINES:
            raise ValueError(f"unknown engine {engine!r}; choices: {', '.join(ENGINES)}")
        found, self._unfollowed = find_recurrent(model)
        self._model_type = type_name(model)
        self.sequences = sequences
        self.engine = engine
        self.exact_dropout = exact_dropout
        self.names = matching([name for recurrent in found for name in recurrent.names], layers)
        self._found = {r.path: r for r in found if any(name in self.names for name in r.names)}
        self._paths = {r.module: r.path for r in self._found.values()}
        self._suffixes = {r.name(suffix): (r.path, suffix) for r in self._found.values() for suffix in r.suffixes}
        self._forget()

    _running = False

    # What is seen while recording.

    def start(self) -> Recording:
        """Begin; what an earlier recording with this object held is forgotten."""
        if not self._found:
            raise ValueError(self._nothing_found())
        if not self._running:
            self._forget()
            self._running = True
            observe.add(self)
        return self

    def stop(self) -> Recording:
        """End: no hook, no graph and no tensor of the model's is held any longer."""
        if self._running:
            observe.remove(self)
            self._running = False
            for handle in self._handles:
                handle.remove()
            self._handles.clear()
            self._weight_copies.clear()
            self._shared_nodes.clear()
            self._traces.clear()
            for calls in self._calls.values():
                for call in calls:
                    call.let_go()
                    call.stack = None
        return self

    def __enter__(self) -> Recording:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def wants(self, module: nn.Module) -> bool:
        """Whether this module's calls are followed."""
        return module in self._paths

    def before(self, module: nn.Module) -> Tensor | LayerByLayer | None:
        """Return the generator's state, where this call will draw dropout masks from it."""
        if not draws_masks(module):
            return None
        state = generator_state(module)
        return LayerByLayer() if state is None and self.exact_dropout else state

    def after(
        self, module: nn.Module, known: Known, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """Take note of a call; what goes wrong here is said in the coverage and never reaches the model."""
        path = self._paths[module]
        try:
            with torch.no_grad():
                self._note(self._found[path], known, args, kwargs, result)
        except Exception as error:
            self._problems[path] = f"a call could not be followed: {error}"
            warnings.warn(f"rnn_diag: {path or 'the model'}: {self._problems[path]}", stacklevel=2)

    def _note(
        self, found: RecurrentModule, known: Known, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        module = found.module
        if found.registration is None:
            arguments = stock_arguments(*args, **kwargs)
        else:
            seen = found.registration.read(module, args, kwargs, result)
            arguments, result = (seen.input, seen.before), seen.after
        weights = self._weights(found, arguments)
        if found.equations is None:
            call: Call | StepCall = StepCall(arguments[:2], result, None, self.sequences)
        elif found.is_cell:
            call = StepCall(arguments[:2], result, weights["l0"], self.sequences)
        else:
            assert isinstance(module, nn.RNNBase)
            call = Call(module, arguments[:2], result, weights, self.sequences, found.equations.has_cell)
            if draws_masks(module):
                masks = known.masks if isinstance(known, LayerByLayer) else redrawn_masks(module, known, result[0])
                call.masks = None if masks is None else call.chosen_masks(masks)
        calls = self._calls[found.path]
        if in_backward() and calls:
            place = place_of_first_pass(call, calls)
            if place is None:
                return call.let_go()
            call.stands_for(calls[place])
            calls[place] = call
        else:
            call.number = sum(map(len, self._calls.values()))
            calls.append(call)
        self._watch_gradients(found, call, arguments[:2], result)

    def _weights(self, found: RecurrentModule, arguments: tuple[Any, ...]) -> dict[str, Weights]:
        given = arguments[2] if len(arguments) > 2 else given_weights(found)
        copies = {}
        for suffix, weights in given.items():
            key = found.name(suffix)
            stamp = tuple((id(value), version(value)) for value in weights.present().values())
            if key not in self._weight_copies or self._weight_copies[key][0] != stamp:
                copy = weights.to(trace_dtype(weights.weight_hh.dtype)).copy()
                self._weight_copies[key] = (stamp, copy, weights)
            copies[suffix] = self._weight_copies[key][1]
        return copies

    def _watch_gradients(self, found: RecurrentModule, call: Call | StepCall, arguments: Any, result: Any) -> None:
        if not call.had_grad or found.equations is None:
            return
        by_layer = {name: self._weight_copies[name][2] for name in found.names}
        weights = [value for layer in by_layer.values() for value in layer.present().values()]
        frozen = not any(value.requires_grad for value in weights)
        targets = {name: layer.weight_hh for name, layer in by_layer.items()} if call.selection.complete else {}
        if isinstance(call, Call) and (frozen or not call.selection.complete):
            targets["input"] = next(tensors_in(arguments[0]))
        boundary = [*tensors_in(arguments), *weights]
        take = partial(self._take_grad, call)
        self._handles += watch_edges(tensors_in(result), targets, boundary, take, self._shared_nodes)

    def _take_grad(self, call: Call | StepCall, name: str, grad: Tensor) -> None:
        if isinstance(call, Call) and name == "input":
            return call.take_grad(name, call.read_input_grad, grad)
        grad = grad.to(trace_dtype(grad.dtype))
        held = self._weight_grads.get(name)
        self._weight_grads[name] = grad.clone() if held is None else held + grad  # autograd may write to its own

    def _forget(self) -> None:
        self._running = False
        self._calls: dict[str, list[Any]] = {path: [] for path in self._found}
        self._handles: list[Any] = []
        self._weight_copies: dict[str, tuple[Any, Weights, Weights]] = {}
        self._shared_nodes: set[Any] = set()
        self._weight_grads: dict[str, Tensor] = {}
        self._problems: dict[str, str] = {}
        self._traces: dict[str, list[Trace]] = {}

    # What was seen.

    def calls(self, name: str) -> list[Trace]:
        """Return one trace for every call of a layer; calls that go on where the last one ended are one trace.

        Raises:
            KeyError: If there is no such layer.
        """
        if name not in self._suffixes:
            raise KeyError(f"no recurrent layer is called {name!r}; found: {', '.join(self.names) or 'none'}")
        path, suffix = self._suffixes[name]
        if self._running:  # more may come
            return self._assembled(self._found[path], suffix)
        if name not in self._traces:
            self._traces[name] = self._assembled(self._found[path], suffix)
        return self._traces[name]

    def __getitem__(self, name: str) -> Trace:
        """Return the trace of a layer that was called once.

        Raises:
            KeyError: If there is no such layer, or it never ran.
            RuntimeError: If it was called several times.
        """
        traces = self.calls(name)
        if len(traces) > 1:
            raise RuntimeError(
                f"{name!r} was called {len(traces)} times while recording, each call with a state of its own; "
                f"use recording.calls({name!r})"
            )
        if not traces:
            raise KeyError(f"{name!r} has no trace: {self._coverage_of(name).reason}")
        return traces[0]

    def in_order(self) -> list[Trace]:
        """Return the traces of all layers, those first whose modules were called first."""
        return sorted((trace for name in self.names for trace in self.calls(name)), key=lambda trace: trace.started)

    def __iter__(self) -> Iterator[str]:
        return iter([name for name in self.names if self.calls(name)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in list(iter(self))

    @property
    def coverage(self) -> list[Coverage]:
        """How every recurrent module of the model was captured, or why not."""
        rows = [self._coverage_of(name) for name in self.names]
        return rows + [Coverage(u.path, u.module_type, "not followed", u.reason) for u in self._unfollowed]

    def _coverage_of(self, name: str) -> Coverage:
        path, _ = self._suffixes[name]
        module_type, calls = type_name(self._found[path].module), self._calls[path]
        if problem := next((call.problem for call in calls if call.problem), ""):
            return Coverage(name, module_type, "partial", problem)
        if path in self._problems:
            return Coverage(name, module_type, "partial", self._problems[path])
        if any(isinstance(call, Call) and call.masks is None for call in calls):
            return Coverage(name, module_type, "not followed", UNKNOWN_MASK)
        if not calls:
            return Coverage(name, module_type, "never ran", why_silent(self._found[path].module))
        traces = self.calls(name)
        read = f"{_counted(len(calls), 'call')} read as {_counted(len(traces), 'batch', 'batches')} of sequences"
        if not any(trace.has_gradients for trace in traces):
            return Coverage(name, module_type, "exact", f"{read}; states and gates: no backward pass reached the layer")
        doubtful = [trace for trace in traces if trace.is_faithful is False]
        if doubtful:
            error = f"relative error {doubtful[0].fidelity:.1e} above {doubtful[0].tolerance:.0e}"
            return Coverage(name, module_type, "not faithful", f"{read}; {error}, {traces[0].fidelity_reason}")
        return Coverage(name, module_type, "exact", f"{read}; {self._engine_of(path)}; {traces[0].fidelity_reason}")

    def _engine_of(self, path: str) -> str:
        found, calls = self._found[path], self._calls[path]
        if found.is_cell:
            return "gradients of every step from autograd itself"
        replays = found.equations and engine_sweeper(self.engine, found.equations, calls[0].inputs.device) is not sweep
        return f"gradients by {'replaying the kernel' if replays else 'an explicit sweep'}"

    def _nothing_found(self) -> str:
        said = [f"{one.path or 'the model'} ({one.module_type}): {one.reason}" for one in self._unfollowed]
        return (
            f"{self._model_type} has no recurrent module that can be followed"
            f"{': ' + '; '.join(said) if said else ', neither one of torch.nn or rnn_diag nor a registered one'}"
        )

    def _assembled(self, found: RecurrentModule, suffix: str) -> list[Trace]:
        pairs = list(self._read(found, suffix))
        for first, trace in pairs:
            trace.started = first.number
        return [trace for _, trace in pairs]

    def _read(self, found: RecurrentModule, suffix: str) -> Iterator[tuple[NotedCall, Trace]]:
        """Give every trace of a layer, with its first call."""
        calls = self._calls[found.path]
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
        if call.stack is None or self._running:
            sweeper = engine_sweeper(self.engine, found.equations, call.inputs.device)
            call.stack = Stack(found, call, self._check, sweeper)
        stack: Stack = call.stack
        return stack

    def _check(self, name: str, trace: Trace) -> tuple[float | None, str]:
        """Return the relative error of a layer's weight gradient, or of its module's input gradient."""
        path, _ = self._suffixes[name]
        calls = [call for call in self._calls[path] if call.grads]
        if not calls:
            return None, "no backward pass reached the layer"
        whole = all(call.selection.complete and getattr(call, "masks", {}) is not None for call in calls)
        if name in self._weight_grads and whole:
            if not bool(self._weight_grads[name].isfinite().all()):
                return None, "nothing to check against: the gradient of weight_hh is not finite"
            ours = torch.stack([t.recurrent_weight_grad for t in self.calls(name) if t.has_gradients]).sum(0)
            return relative_error(ours, self._weight_grads[name]), "checked against the gradient of weight_hh"
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


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def given_weights(found: RecurrentModule) -> dict[str, Weights]:
    """Return the very tensors that a module's kernel was just given, without touching a parametrisation."""
    module = found.module
    if found.equations is None:
        return {}
    if found.registration is not None and found.registration.weights is not None:
        return {"l0": found.registration.weights(module)}
    if found.is_cell:
        names = {"l0": {name: module._parameters.get(name) for name in Weights.names()}}
        values: dict[str, dict[str, Any]] = {
            "l0": {n: getattr(module, n, None) if v is None else v for n, v in names["l0"].items()}
        }
    else:
        flat = dict(zip(module._flat_weights_names, module._flat_weights, strict=True))  # type: ignore[arg-type]
        values = {suffix: {name: flat.get(f"{name}_{suffix}") for name in Weights.names()} for suffix in found.suffixes}
    return {suffix: Weights(**by_name) for suffix, by_name in values.items()}


def stock_arguments(input: Any, hx: Any = None, *more: Any) -> tuple[Any, ...]:
    """Return the arguments of a stock `forward`, however they were passed."""
    return (input, hx, *more)


def version(value: Tensor) -> int:
    """Return how often a tensor was written to; inference tensors do not count."""
    return -1 if value.is_inference() else value._version


def record(
    model: nn.Module,
    sequences: int | None = None,
    layers: str | list[str] | tuple[str, ...] = "*",
    engine: str = "auto",
    exact_dropout: bool = False,
) -> Recording:
    """Record what a model's recurrent layers go through inside a `with` block; see `Recording`."""
    return Recording(model, sequences, layers, engine, exact_dropout)
