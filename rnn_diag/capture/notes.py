"""What is seen while somebody records: every call of the followed modules, and the gradients that came back to it."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rnn_diag.capture import observe
from rnn_diag.capture.call import Call
from rnn_diag.capture.checkpoint import in_backward, place_of_first_pass
from rnn_diag.capture.dropout import draws_masks, generator_state, redrawn_masks
from rnn_diag.capture.fidelity import tensors_in, watch_edges
from rnn_diag.capture.layer_by_layer import LayerByLayer
from rnn_diag.capture.lineage import Lineage
from rnn_diag.capture.modules import RecurrentModule
from rnn_diag.capture.noted import trace_dtype, version
from rnn_diag.capture.steps import StepCall
from rnn_diag.cells.weights import Weights
from rnn_diag.errors import described, lets_errors_through

Known = Tensor | LayerByLayer | None
"""What is known of the dropout masks of a call before it."""


class Notes:
    """Notes of the calls of some modules.

    Attributes:
        calls: By the module's path, in the order in which they were made.
        weight_grads: What autograd gave each layer's `weight_hh`, by the layer's name.
        problems: Why a call could not be followed, by the module's path.
        running: Whether calls are being noted.
    """

    def __init__(self, found: dict[str, RecurrentModule], sequences: int | None, exact_dropout: bool) -> None:
        self._found = found
        self._paths = {recurrent.module: path for path, recurrent in found.items()}
        self._sequences = sequences
        self._exact_dropout = exact_dropout
        self.running = False
        self._forget()

    def start(self) -> None:
        """Begin, with nothing noted."""
        if not self.running:
            self._forget()
            self.running = True
            observe.add(self)

    def stop(self) -> None:
        """End: no hook, no graph and no tensor of the model's is held any longer."""
        if self.running:
            observe.remove(self)
            self.running = False
            for handle in self._handles:
                handle.remove()
            self._handles.clear()
            self._weight_copies.clear()
            self._shared_nodes.clear()
            self._lineages.clear()
            for calls in self.calls.values():
                for call in calls:
                    call.let_go()

    def wants(self, module: nn.Module) -> bool:
        """Whether this module's calls are followed."""
        return module in self._paths

    def before(self, module: nn.Module) -> Tensor | LayerByLayer | None:
        """Return the generator's state, where this call will draw dropout masks from it."""
        if not draws_masks(module):
            return None
        state = generator_state(module)
        return LayerByLayer() if state is None and self._exact_dropout else state

    def after(
        self, module: nn.Module, known: Known, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """Take note of a call; what goes wrong here is said in the coverage and never reaches the model."""
        path = self._paths[module]
        try:
            with torch.no_grad():
                self._note(self._found[path], known, args, kwargs, result)
        except Exception as error:
            if lets_errors_through():
                raise
            self.problems[path] = f"a call could not be followed: {described(error)}"
            warnings.warn(f"rnn_diag: {path or 'the model'}: {self.problems[path]}", stacklevel=2)

    def _note(
        self, found: RecurrentModule, known: Known, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        module = found.module
        if found.registration is None:
            arguments = stock_arguments(*args, **kwargs)
        else:
            seen = found.registration.seen(module, args, kwargs, result)
            arguments, result = (seen.input, seen.before), seen.after
        weights = self._weights(found, arguments)
        if found.equations is None:
            call: Call | StepCall = StepCall(arguments[:2], result, None, self._sequences)
        elif found.is_cell:
            call = StepCall(arguments[:2], result, weights["l0"], self._sequences)
        else:
            assert isinstance(module, nn.RNNBase)
            call = Call(module, arguments[:2], result, weights, self._sequences, found.equations.has_cell)
            if draws_masks(module):
                masks = known.masks if isinstance(known, LayerByLayer) else redrawn_masks(module, known, result[0])
                call.masks = None if masks is None else call.chosen_masks(masks)
        call.look_back(self._lineages.setdefault(found.path, Lineage()))
        calls = self.calls[found.path]
        if in_backward() and calls:
            place = place_of_first_pass(call, calls)
            if place is None:
                return call.let_go()
            call.stands_for(calls[place])
            calls[place] = call
        else:
            call.number = sum(map(len, self.calls.values()))
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
        call.trained = {name for name, layer in by_layer.items() if layer.weight_hh.requires_grad}
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
        held = self.weight_grads.get(name)
        self.weight_grads[name] = grad.clone() if held is None else held + grad  # autograd may write to its own

    def _forget(self) -> None:
        self.calls: dict[str, list[Any]] = {path: [] for path in self._found}
        self._handles: list[Any] = []
        self._weight_copies: dict[str, tuple[Any, Weights, Weights]] = {}
        self._shared_nodes: set[Any] = set()
        self._lineages: dict[str, Lineage] = {}
        self.weight_grads: dict[str, Tensor] = {}
        self.problems: dict[str, str] = {}


def given_weights(found: RecurrentModule) -> dict[str, Weights]:
    """Return the very tensors that a module's kernel was just given, without touching a parametrisation."""
    module = found.module
    if found.equations is None:
        return {}
    if found.registration is not None and found.registration.weights is not None:
        return {"l0": found.registration.weights(module)}
    wanted = Weights.names(found.equations.extra_parameters)
    if found.is_cell:
        names = {"l0": {name: module._parameters.get(name) for name in wanted}}
        values: dict[str, dict[str, Any]] = {
            "l0": {n: getattr(module, n, None) if v is None else v for n, v in names["l0"].items()}
        }
    else:
        flat = dict(zip(module._flat_weights_names, module._flat_weights, strict=True))  # type: ignore[arg-type]
        values = {suffix: {name: flat.get(f"{name}_{suffix}") for name in wanted} for suffix in found.suffixes}
    return {suffix: Weights.from_names(by_name) for suffix, by_name in values.items()}


def stock_arguments(input: Any, hx: Any = None, *more: Any) -> tuple[Any, ...]:
    """Return the arguments of a stock `forward`, however they were passed."""
    return (input, hx, *more)
