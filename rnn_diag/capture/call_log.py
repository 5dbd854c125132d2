"""What is seen during a recording: every call of the followed modules, and the gradients that came back to it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rnn_diag.capture import watching
from rnn_diag.capture.calls import LayerCall, StepCall, trace_dtype
from rnn_diag.capture.cudnn_dropout import WatchedKernel
from rnn_diag.capture.dropout import LayerByLayer, drawn_masks, draws_masks, what_decides_masks
from rnn_diag.capture.graph import Edge, tensors_in, watch_edges
from rnn_diag.capture.leaves import edges_in
from rnn_diag.capture.modules import RecurrentModule
from rnn_diag.capture.registry import read_like_torch, step_of
from rnn_diag.capture.sequences import Lineage, in_backward, index_of_first_pass, version
from rnn_diag.cells.cell import RecurrentCell
from rnn_diag.cells.weights import Weights
from rnn_diag.errors import described, lets_errors_through
from rnn_diag.nn.layer import RecurrentLayer

Parameter = tuple[str, str]
"""A layer's name and its parameter's; without a layer, the module's input."""


WHOLE = 2**27
"""Pre-activations of a call beyond which not all sequences are copied: to check them takes twenty times the memory of
one of their tensors of states."""


TRANSFORMED = "calls inside a transform of torch.func (grad, vmap, ...) cannot be followed; those outside are"


class CallLog:
    """The calls of some modules.

    Args:
        found: The modules, by path.
        sequences: How many of a batch's sequences are copied; None for all.
        exact_dropout: Whether fused stacks are run layer by layer where a kernel would draw masks that cannot be known.
        is_wanted: Asked at every call; where it says no, recording ends without anything else ending it.
        of_large_batches: How many sequences are copied where all would be, of a call that is too large for that.

    Attributes:
        calls: By the module's path, in the order in which they were made.
        parameter_grads: What autograd gave each layer's `weight_hh` and `bias_ih` (without it `weight_ih`), by the
            layer's name and the parameter's; calls that were differentiated twice are left out.
        problems: Why a call could not be followed, by the module's path.
        running: Whether calls are being recorded.
        made: Where on the graph the results of calls are, by the module's path; None where nobody asks.
        on_stop: Called before it ends.
    """

    def __init__(
        self,
        found: dict[str, RecurrentModule],
        sequences: int | None,
        exact_dropout: bool,
        is_wanted: Callable[[], bool] = lambda: True,
        of_large_batches: int | None = None,
    ) -> None:
        self._found = found
        self._of_large_batches = of_large_batches
        self._paths = {recurrent.module: path for path, recurrent in found.items()}
        self.sequences = sequences
        self._exact_dropout = exact_dropout
        self._is_wanted = is_wanted
        self.running = False
        self.made: dict[str, set[Edge]] | None = None
        self.on_stop: Callable[[], None] = lambda: None
        self.forget()

    def start(self) -> None:
        """Begin, with nothing recorded."""
        if not self.running:
            self.forget()
            self.running = True
            watching.add(self, [type(one.module) for one in self._found.values() if one.registration is not None])

    def stop(self) -> None:
        """End: no hook, no graph and no tensor of the model's is held any longer."""
        if self.running:
            self.on_stop()
            watching.remove(self)
            self.running = False
            for handle in self._handles:
                handle.remove()
            self._handles.clear()
            self._weight_copies.clear()
            self._shared_nodes.clear()
            self._lineages.clear()
            for calls in self.calls.values():
                for call in calls:
                    call.release()

    def adopt(self, found: RecurrentModule) -> None:
        """Record the calls of one more module from now on."""
        self._found[found.path] = found
        self._paths[found.module] = found.path
        self.calls[found.path] = []

    def drop(self, path: str) -> None:
        """Record the calls of a module no longer, and forget those that were."""
        self._paths = {module: other for module, other in self._paths.items() if other != path}
        for call in self.calls.pop(path, ()):
            call.release()

    def wants(self, module: nn.Module) -> bool:
        """Whether this module's calls are followed."""
        if not self._is_wanted():
            self.stop()
        wanted = self.running and module in self._paths
        if wanted and torch._C._functorch.peek_interpreter_stack() is not None:  # its tensors have no memory
            self.problems[self._paths[module]] = TRANSFORMED
            return False
        return wanted

    def replacement(self, module: nn.Module) -> LayerByLayer | None:
        """Return what runs a stack with known masks, where that is wanted and its kernel would draw unknown ones."""
        unknown = self._exact_dropout and draws_masks(module) and what_decides_masks(module) is None
        return LayerByLayer() if unknown else None

    def before(self, module: nn.Module) -> Tensor | WatchedKernel | None:
        """Return what decides the dropout masks of this call, where it will draw any."""
        return what_decides_masks(module)

    def after(
        self, module: nn.Module, ran: Any, known: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """Record a finished call."""
        try:
            with torch.no_grad():
                self._record(self._found[self._paths[module]], ran, known, args, kwargs, result)
        except Exception as error:
            if lets_errors_through():
                raise
            self.failed(module, error)

    def failed(self, module: nn.Module, error: Exception) -> None:
        """Note for the coverage table that a call could not be followed; say it once."""
        path = self._paths.get(module)
        if path is None:
            return
        message = f"a call could not be followed: {described(error)}"
        if self.problems.get(path) == message:
            return
        self.problems[path] = message
        try:
            warnings.warn(f"rnn_diag: {path or 'the model'}: {message}", stacklevel=2)
        except UserWarning:  # Warnings are errors, and this one would end the model's own call.
            logging.getLogger("rnn_diag").warning("rnn_diag: %s: %s", path or "the model", message)

    def _record(
        self, found: RecurrentModule, ran: Any, known: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        call, arguments = self._read(found, ran, known, args, kwargs, result)
        if self.made is not None:
            self.made.setdefault(found.path, set()).update(edges_in(result))
        calls = self.calls[found.path]
        if in_backward() and calls:
            index = index_of_first_pass(call, calls)
            if index is None:
                return call.release()
            call.replaces_first_pass(calls[index])
            calls[index] = call
        else:
            call.number = sum(map(len, self.calls.values()))
            calls.append(call)
        self._watch_gradients(found, call, arguments, result)

    def _read(
        self, found: RecurrentModule, ran: Any, known: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> tuple[LayerCall | StepCall, tuple[Any, ...]]:
        """Return a call, and the arguments that it was made with: input and state."""
        module, lineage = found.module, self._lineages.setdefault(found.path, Lineage())
        if found.registration is not None:
            seen = found.registration.seen(module, args, kwargs, result)
            weights = self._weights(found, given_weights(found)) if found.equations is not None else {}
            return StepCall(seen, weights.get("l0"), self.sequences, lineage), (seen.input, seen.before)
        input, hx, *more = stock_arguments(*args, **kwargs)
        weights = self._weights(found, more[0] if more else given_weights(found))
        if found.is_cell:
            seen = step_of(read_like_torch(module, (input, hx), {}, result))
            if found.equations is not None and found.equations.draws:
                assert isinstance(module, RecurrentCell)
                drawn = module.drawn.view(*seen.input.shape[:-1], -1)
                seen = seen._replace(input=torch.cat((seen.input, drawn), dim=-1))
            return StepCall(seen, weights["l0"], self.sequences, lineage), (input, hx)
        assert isinstance(module, nn.RNNBase) and found.equations is not None
        sequences = self.sequences
        rows = found.equations.recurrent_product.rows(weights["l0"].weight_hh)
        if sequences is None and result[0].data.numel() * rows > WHOLE * module.hidden_size:
            sequences = self._of_large_batches
        call = LayerCall(module, (input, hx), result, weights, sequences, found.equations.has_cell, lineage)
        if isinstance(module, RecurrentLayer):
            call.keep_drawn(module.drawn)
        if draws_masks(module):
            masks = ran.masks if isinstance(ran, LayerByLayer) else drawn_masks(module, known, result[0])
            call.masks = None if masks is None else call.chosen_masks(masks)
        return call, (input, hx)

    def _weights(self, found: RecurrentModule, given: dict[str, Weights]) -> dict[str, Weights]:
        copies = {}
        for suffix, weights in given.items():
            key = found.name(suffix)
            stamp = tuple((id(value), version(value)) for value in weights.present().values())
            if key not in self._weight_copies or self._weight_copies[key][0] != stamp:
                copy = weights.to(trace_dtype(weights.weight_hh.dtype)).copy()
                self._weight_copies[key] = (stamp, copy, weights)
            copies[suffix] = self._weight_copies[key][1]
        return copies

    def _watch_gradients(self, found: RecurrentModule, call: LayerCall | StepCall, arguments: Any, result: Any) -> None:
        if not call.had_grad or found.equations is None:
            return
        by_layer = {name: self._weight_copies[name][2] for name in found.names}
        call.trained = {name for name, layer in by_layer.items() if layer.weight_hh.requires_grad}
        weights = [value for layer in by_layer.values() for value in layer.present().values()]
        frozen = not any(value.requires_grad for value in weights)
        targets: dict[Parameter, Tensor] = {}
        if call.selection.complete:
            targets = {(name, p): v for name, layer in by_layer.items() for p, v in _checked(layer).items()}
        if isinstance(call, LayerCall) and (frozen or not call.selection.complete):
            targets["", "input"] = next(tensors_in(arguments[0]))
        boundary = [*tensors_in(arguments), *weights]
        take = partial(self._take_grad, call)
        self._handles += watch_edges(tensors_in(result), targets, boundary, take, self._shared_nodes, call.fail)

    def _take_grad(self, call: LayerCall | StepCall, parameter: Parameter, grad: Tensor) -> None:
        call.differentiated_twice |= torch.is_grad_enabled()
        layer, name = parameter
        if isinstance(call, LayerCall) and not layer:
            return call.take_grad(name, call.read_input_grad, grad)
        if call.differentiated_twice:
            return None
        grad = grad.to(trace_dtype(grad.dtype))
        held = self.parameter_grads.get(parameter)
        self.parameter_grads[parameter] = grad.clone() if held is None else held + grad  # autograd may write to its own

    def forget(self) -> None:
        """Drop what was recorded."""
        self.calls: dict[str, list[Any]] = {path: [] for path in self._found}
        self._handles: list[Any] = []
        self._weight_copies: dict[str, tuple[Any, Weights, Weights]] = {}
        self._shared_nodes: set[Any] = set()
        self._lineages: dict[str, Lineage] = {}
        self.parameter_grads: dict[Parameter, Tensor] = {}
        self.problems: dict[str, str] = {}


def _checked(weights: Weights) -> dict[str, Tensor]:
    """Return the parameters whose gradients are compared: the second where that of the first is zero."""
    second = "weight_ih" if weights.bias_ih is None else "bias_ih"
    return {name: value for name, value in weights.present().items() if name in ("weight_hh", second)}


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
