"""What equations do between their products, read off as elementwise statements from which a kernel can be written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rnn_diag.cells.equations import Equations, State, Step
from rnn_diag.cells.product import Dense
from rnn_diag.cells.weights import Weights

Blocks = tuple[str, ...]
"""The variables that hold a value `[B, k*H]`: one for each of its `k` blocks of `H` columns."""

_ROWS, _COLUMNS = 3, 5


class NotElementwiseError(ValueError):
    """A step does something to its tensors that no kernel of ours writes."""


class Statement(NamedTuple):
    """`target = expression`: torch's `operation` on `reads`, which are variables or numbers in brackets."""

    target: str
    expression: str
    reads: tuple[str, ...]
    operation: str = ""
    scale: float = 1.0
    """What the second summand of an `add` or `sub` is multiplied by."""


@dataclass(frozen=True)
class Elementwise:
    """A straight run of statements from named inputs to named outputs, each a value of one or more blocks."""

    inputs: Mapping[str, Blocks]
    outputs: Mapping[str, Blocks]
    statements: tuple[Statement, ...]

    def only(self, wanted: tuple[str, ...]) -> Elementwise:
        """Return what is needed for some of the outputs; inputs that are not read are left out."""
        outputs = {name: self.outputs[name] for name in wanted}
        needed = {variable for blocks in outputs.values() for variable in blocks}
        statements = []
        for statement in reversed(self.statements):
            if statement.target in needed:
                statements.append(statement)
                needed.update(statement.reads)
        inputs = {name: blocks for name, blocks in self.inputs.items() if needed.intersection(blocks)}
        return Elementwise(inputs, outputs, tuple(reversed(statements)))


@dataclass(frozen=True, eq=False)
class ElementwiseStep:
    """A recurrence's step and its adjoint as statements.

    Attributes:
        forward: From `projected`, `recurrent`, `hidden`, `cell` and the further weights to `emitted`, `new_cell`,
            `gate0`, …, `preactivation0`, …, `kept0`, ….
        backward: From `emitted_grad`, `cell_grad`, `hidden`, `cell` (both of the step before), `emitted`, `new_cell`,
            gates, kept and further weights to `projected_grad`, `recurrent_grad`, `total_cell_grad`,
            `previous_cell_grad` and `previous_hidden_grad`, as far as the equations have them.
        blocks: How many row blocks `weight_hh` has.
        extras: How many blocks each parameter outside the products has, by name.
    """

    forward: Elementwise
    backward: Elementwise
    blocks: int
    extras: Mapping[str, int]

    @cached_property
    def key(self) -> str:
        """What two recurrences share that do the same."""
        return repr((self.forward, self.backward))

    @cached_property
    def has_cell(self) -> bool:
        """Whether a memory cell is carried."""
        return "new_cell" in self.forward.outputs

    @cached_property
    def stored(self) -> tuple[str, ...]:
        """Names of all gates, pre-activations and kept values."""
        return tuple(name for name in self.forward.outputs if name not in ("emitted", "new_cell"))

    @cached_property
    def stored_in_training(self) -> tuple[str, ...]:
        """The same without the pre-activations."""
        return tuple(name for name in self.stored if not name.startswith("preactivation"))

    @cached_property
    def same_grads(self) -> bool:
        """Whether both products get the same gradient."""
        return self.backward.outputs["projected_grad"] == self.backward.outputs["recurrent_grad"]


def known_step(equations: Equations, weights: Weights) -> ElementwiseStep | None:
    """Return a recurrence as statements, or None where it is not elementwise; read off once for each configuration.

    A configuration is what `repr` shows of the equations' attributes: a step depends on these and on its arguments.
    """
    settings = tuple(sorted((name, repr(value)) for name, value in vars(equations).items()))
    key = type(equations), settings, tuple(weights.extra)
    if key not in _known:
        _known[key] = _read_off(equations, weights), equations  # whose parts stay alive: they are what is compared
    return _known[key][0]


_known: dict[Any, tuple[ElementwiseStep | None, Equations]] = {}


def _read_off(equations: Equations, weights: Weights) -> ElementwiseStep | None:
    if equations.input_product != Dense() or equations.recurrent_product != Dense():
        return None  # what is written from statements takes products with matrices
    try:
        return elementwise_step(equations, weights)
    except NotElementwiseError:
        return None


def elementwise_step(equations: Equations, weights: Weights) -> ElementwiseStep:
    """Read the statements off a recurrence by running its step and its adjoint once on a few numbers.

    Nothing random is drawn, and the weights' values are not looked at: only which of them exist.

    Raises:
        NotElementwiseError: If a step mixes units or sequences, branches on values, or uses an unknown operation.
    """
    blocks = len(equations.blocks)
    widths: dict[tuple[str, ...], int] = {("hidden",): 1, ("rows",): blocks}
    shapes = dict(equations.extra_parameters) if isinstance(equations.extra_parameters, Mapping) else {"?": ()}
    if not all(axes in widths for axes in shapes.values()):
        raise NotElementwiseError("a parameter outside the products that is no vector of units")
    extras = {name: widths[axes] for name, axes in shapes.items() if name in weights.extra}
    stand_ins = {name: _example((extras[name] * _COLUMNS,), k + 20) for k, name in enumerate(extras)}
    try:
        given = _example_weights(blocks, stand_ins)
        forward, step = _forward(equations, given, stand_ins)
        backward = _backward(equations, given, stand_ins, step)
    except NotElementwiseError:
        raise
    except Exception as error:  # whatever a user's equations do with sizes that they did not expect
        raise NotElementwiseError(f"{type(equations).__name__} on an example: {error}") from error
    return ElementwiseStep(forward, backward, blocks, extras)


def _example(shape: tuple[int, ...], seed: int) -> Tensor:
    numbers = torch.arange(math.prod(shape), dtype=torch.float32).view(shape)
    return (numbers * 0.7 + seed).sin() * 0.5


def _example_weights(blocks: int, extras: Mapping[str, Tensor]) -> Weights:
    matrix = _example((blocks * _COLUMNS, _COLUMNS), 1)
    return Weights.from_names({"weight_ih": matrix, "weight_hh": matrix, **extras})


def _forward(
    equations: Equations, weights: Weights, extras: dict[str, Tensor]
) -> tuple[Elementwise, tuple[Step, State]]:
    wide, narrow = (_ROWS, len(equations.blocks) * _COLUMNS), (_ROWS, _COLUMNS)
    inputs = {"projected": _example(wide, 2), "recurrent": _example(wide, 3), "hidden": _example(narrow, 4)}
    if equations.has_cell:
        inputs["cell"] = _example(narrow, 5)
    before = State(inputs["hidden"], inputs.get("cell"))
    with torch.no_grad(), _Recorder(inputs | extras) as recorder:
        step = equations.step(inputs["projected"], inputs["recurrent"], before, weights)
    outputs = {"emitted": step.emitted, "new_cell": step.cell} | _named(step)
    return recorder.between(outputs), (step, before)


def _backward(
    equations: Equations, weights: Weights, extras: dict[str, Tensor], ran: tuple[Step, State]
) -> Elementwise:
    step, before = Step(*_fresh(ran[0])), State(*_fresh(ran[1]))
    inputs = {"emitted_grad": _example((_ROWS, _COLUMNS), 6), "hidden": before.hidden, "emitted": step.emitted}
    if equations.has_cell:
        assert before.cell is not None and step.cell is not None
        inputs |= {"cell_grad": _example((_ROWS, _COLUMNS), 7), "cell": before.cell, "new_cell": step.cell}
    inputs |= {name: value for name, value in _named(step).items() if not name.startswith("preactivation")}
    with torch.no_grad(), _Recorder(inputs | extras) as recorder:
        adjoint = equations.adjoint(step, before, inputs["emitted_grad"], inputs.get("cell_grad"), weights)
    outputs = {
        "projected_grad": adjoint.projected_grad,
        "recurrent_grad": adjoint.recurrent_grad,
        "total_cell_grad": adjoint.cell_grad,
        "previous_cell_grad": adjoint.previous_cell_grad,
        "previous_hidden_grad": adjoint.previous_hidden_grad,
    }
    found: Elementwise = recorder.between(outputs)
    return found.only(tuple(found.outputs))


def _named(step: Step) -> dict[str, Tensor]:
    groups = {"gate": step.gates, "preactivation": step.preactivations, "kept": step.kept}
    return {f"{group}{k}": value for group, values in groups.items() for k, value in enumerate(values)}


def _fresh(values: Sequence[Any]) -> list[Any]:
    """Return the fields of a step or state with tensors that share no memory."""

    def copied(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(part.clone() for part in value)
        return None if value is None else value.clone()

    return [copied(value) for value in values]


class _Recorder(TorchDispatchMode):
    """Writes down what is computed from given tensors, block by block."""

    def __init__(self, inputs: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inputs = {name: self._variables(name, tensor) for name, tensor in inputs.items()}
        self._blocks = {_memory(tensor): self._inputs[name] for name, tensor in inputs.items()}
        self._alive: list[Any] = list(inputs.values())
        self._statements: list[Statement] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self._alive.append((args, out))
        if isinstance(out, (tuple, list)):
            self._split(name, args, out)
        elif isinstance(out, Tensor):
            self._blocks[_memory(out)] = self._recorded(name, args, kwargs or {}, out)
        return out

    def between(self, outputs: Mapping[str, Tensor | None]) -> Elementwise:
        """Return the statements so far, with names for the tensors that are wanted."""
        present = {name: tensor for name, tensor in outputs.items() if tensor is not None}
        found = {name: self._of(tensor, tensor.shape[-1] // _COLUMNS) for name, tensor in present.items()}
        return Elementwise(self._inputs, found, tuple(self._statements))

    @staticmethod
    def _variables(name: str, tensor: Tensor) -> Blocks:
        blocks = tensor.shape[-1] // _COLUMNS
        return (name,) if blocks == 1 else tuple(f"{name}_{k}" for k in range(blocks))

    def _split(self, name: str, args: Any, out: Any) -> None:
        blocks = self._of(args[0], args[0].shape[-1] // _COLUMNS)
        if not name.startswith(("split", "chunk", "unsafe_split")) or any(part.shape[-1] % _COLUMNS for part in out):
            raise NotElementwiseError(f"no elementwise form of {name}")
        start = 0
        for part in out:
            width = part.shape[-1] // _COLUMNS
            self._blocks[_memory(part)] = blocks[start : start + width]
            start += width

    def _recorded(self, name: str, args: Any, kwargs: Any, out: Tensor) -> Blocks:
        columns = out.shape[-1] if out.dim() else 1
        blocks = max(columns // _COLUMNS, 1)
        if name in _CONSTANTS:
            return (_CONSTANTS[name](*args, **kwargs),) * blocks
        if out.dim() and columns % _COLUMNS:
            raise NotElementwiseError(f"{name} returns {columns} columns for {_COLUMNS} units")
        if name in _SAME:
            if args[0].dim() and args[0].shape[-1] != columns:
                raise NotElementwiseError(f"{name} changes the number of columns")
            return self._of(args[0], blocks)
        if name == "cat":
            if kwargs.get("dim", args[1] if len(args) > 1 else 0) % out.dim() != out.dim() - 1:
                raise NotElementwiseError("cat of rows")
            return tuple(v for part in args[0] for v in self._of(part, part.shape[-1] // _COLUMNS))
        if name == "select" and args[1] % args[0].dim() != args[0].dim() - 1 and args[0].shape[args[1]] == 1:
            return self._of(args[0], blocks)
        if name == "stack" and len(args[0]) == 1:
            return self._of(args[0][0], blocks)
        if name == "slice":
            return self._sliced(args)
        if name not in _EXPRESSIONS:
            raise NotElementwiseError(f"no elementwise form of {name}")
        operands = [self._of(arg, blocks) for arg in args if isinstance(arg, (Tensor, int, float))]
        return tuple(self._state(name, [op[k] for op in operands], kwargs) for k in range(blocks))

    def _sliced(self, args: Any) -> Blocks:
        source, dim, start, end, *_ = (*args, 0, 0, None)[:4] if len(args) < 4 else args
        blocks = self._of(source, source.shape[-1] // _COLUMNS)
        if dim % source.dim() != source.dim() - 1:
            if start in (0, None) and (end is None or end >= source.shape[dim]):
                return blocks
            raise NotElementwiseError("slice of rows")
        first, last = start or 0, min(end if end is not None else source.shape[-1], source.shape[-1])
        if first % _COLUMNS or last % _COLUMNS or len(args) > 4:
            raise NotElementwiseError("slice inside a block")
        return blocks[first // _COLUMNS : last // _COLUMNS]

    def _state(self, name: str, operands: list[str], kwargs: Any) -> str:
        if name == "add" and not kwargs and "(0.0)" in operands:
            return operands[1 - operands.index("(0.0)")]
        target = f"x{len(self._statements)}"
        expression = _EXPRESSIONS[name](*operands, **kwargs)
        scale = float(kwargs.get("alpha", 1.0))
        self._statements.append(Statement(target, expression, tuple(operands), name, scale))
        return target

    def _of(self, value: Any, blocks: int) -> Blocks:
        if not isinstance(value, Tensor):
            return (f"({float(value)!r})",) * blocks
        found = self._blocks.get(_memory(value))
        if found is None and value.dim() == 0:
            return (f"({float(value)!r})",) * blocks
        if found is None:
            raise NotElementwiseError("a tensor that is neither an argument of the step nor computed from one")
        if len(found) != blocks:
            if len(found) != 1:
                raise NotElementwiseError("blocks of different widths meet")
            raise NotElementwiseError("one block meets several")
        return found


def _memory(tensor: Tensor) -> tuple[int, int]:
    """Return what tells one value from another while all are alive; autograd unpacks other objects than it saved."""
    return tensor.data_ptr(), tensor.shape[-1] if tensor.dim() else 0


def _added(a: str, b: str, alpha: float = 1) -> str:
    return f"{a} + {b}" if alpha == 1 else f"{a} + {float(alpha)!r} * {b}"


def _subtracted(a: str, b: str, alpha: float = 1) -> str:
    return f"{a} - {b}" if alpha == 1 else f"{a} - {float(alpha)!r} * {b}"


_SAME = frozenset(
    ("detach", "alias", "clone", "view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "expand", "lift_fresh")
)
"""Operations that hand their argument on; with as many columns, only rows can have changed, and all are alike."""

_CONSTANTS: dict[str, Callable[..., str]] = {
    "zeros": lambda *_, **__: "(0.0)",
    "zeros_like": lambda *_, **__: "(0.0)",
    "new_zeros": lambda *_, **__: "(0.0)",
    "ones": lambda *_, **__: "(1.0)",
    "ones_like": lambda *_, **__: "(1.0)",
    "new_ones": lambda *_, **__: "(1.0)",
    "full_like": lambda _, value, **__: f"({float(value)!r})",
    "full": lambda _, value, **__: f"({float(value)!r})",
    "scalar_tensor": lambda value, **__: f"({float(value)!r})",
}

_EXPRESSIONS: dict[str, Callable[..., str]] = {
    "add": _added,
    "sub": _subtracted,
    "rsub": lambda a, b: f"{b} - {a}",
    "mul": lambda a, b: f"{a} * {b}",
    "div": lambda a, b: f"{a} / {b}",
    "neg": lambda a: f"-{a}",
    "reciprocal": lambda a: f"1.0 / {a}",
    "abs": lambda a: f"tl.abs({a})",
    "exp": lambda a: f"tl.exp({a})",
    "log": lambda a: f"tl.log({a})",
    "sqrt": lambda a: f"tl.sqrt({a})",
    "sin": lambda a: f"tl.sin({a})",
    "cos": lambda a: f"tl.cos({a})",
    "sigmoid": lambda a: f"sigmoid({a})",
    "tanh": lambda a: f"tanh({a})",
    "relu": lambda a: f"tl.maximum({a}, 0.0)",
    "sigmoid_backward": lambda grad, a: f"{grad} * ({a} * (1.0 - {a}))",
    "tanh_backward": lambda grad, a: f"{grad} * (1.0 - {a} * {a})",
    "threshold_backward": lambda grad, a, threshold: f"tl.where({a} > {threshold}, {grad}, 0.0)",
    "gt": lambda a, b: f"({a} > {b})",
    "ge": lambda a, b: f"({a} >= {b})",
    "lt": lambda a, b: f"({a} < {b})",
    "le": lambda a, b: f"({a} <= {b})",
    "where": lambda condition, a, b: f"tl.where({condition}, {a}, {b})",
    "maximum": lambda a, b: f"tl.maximum({a}, {b})",
    "minimum": lambda a, b: f"tl.minimum({a}, {b})",
    "addcmul": lambda a, b, c: f"{a} + {b} * {c}",
    "_to_copy": lambda a, **__: f"({a}).to(ACC)",
}
