"""A run forwards as a program for torch: what lies between two products, in place, written from its statements.

Each gate is written where its pre-activation was; what is dropped is written over; a product and the sum that follows
are one operation, and so are equal operations on neighbouring blocks. A step is little more than its matrix product.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnn_diag.engine.elementwise import Elementwise, ElementwiseStep, NotElementwiseError, Statement

_UNARY = ("neg", "reciprocal", "abs", "exp", "log", "sqrt", "sin", "cos", "sigmoid", "tanh", "relu")
_IN_PLACE = frozenset(("add", "sub", "mul", "div", "addcmul", *_UNARY))
"""Operations with a form that writes into its first argument, and one that writes into a given tensor."""
_OTHERS = ("rsub", "where", "gt", "ge", "lt", "le")
_COMMUTE = frozenset(("add", "mul"))


_GIVEN = ("projected", "recurrent", "hidden", "cell")
_PRODUCTS = {
    (True, True): "row.addmm_(hidden, weight)",
    (True, False): "row.addmm_(hidden, weight)",
    (False, True): "addmm(bias, hidden, weight, out=row)",
    (False, False): "mm(hidden, weight, out=row)",
}
"""What a step begins with: in the input product's memory, or in that of its own; with biases or without."""


class Location(NamedTuple):
    """Where a value lives: in one block of a product, or in memory of its own."""

    buffer: str
    block: int = 0


class _Instruction(NamedTuple):
    """One operation; `out` is None for a value that is made anew."""

    statement: Statement
    out: Location | None
    operands: tuple[Location | str, ...]


@dataclass(frozen=True)
class Program:
    """A run forwards.

    Attributes:
        source: Its text.
        run: Fills views of every step, from weights, states, further parameters and scratch memory.
        order: The order of the blocks in the products.
        folded: Whether the recurrent product is added to the input product in place.
        views: What every step is given: blocks of a product, from and to, or other memory.
        extras: Variables of parameters outside the products.
        scratch: Names of memory that all steps share.
        stored: Names of memory `[T, B, H]` beyond products and states.
        outputs: Where the blocks of every output are.
    """

    source: str
    run: Callable[..., None]
    order: tuple[int, ...]
    folded: bool
    views: tuple[tuple[str, int, int], ...]
    extras: tuple[str, ...]
    scratch: tuple[str, ...]
    stored: tuple[str, ...]
    outputs: Mapping[str, tuple[Location, ...]]


class Form(NamedTuple):
    """What a program is written for: with biases of the recurrent product, a projection, padding."""

    keeps_preactivations: bool
    biased: bool
    projected: bool
    masked: bool
    folded: bool = False


def written(step: ElementwiseStep, form: Form) -> Program:
    """Return the program of a recurrence.

    Raises:
        NotElementwiseError: If an output is neither computed nor a product.
    """
    states = ("emitted", "new_cell") if step.has_cell else ("emitted",)
    stored = step.stored if form.keeps_preactivations else step.stored_in_training
    run, folded = _folded(_with_sums_of_products(step.forward.only((*states, *stored))), step)
    return _Text(_Plan(run, _order(run, step)), form._replace(folded=folded)).program()


def _with_sums_of_products(run: Elementwise) -> Elementwise:
    """Return the same with `a + b * c` as one operation, where nothing else reads `b * c`."""
    readers = _readers(run)
    products = {s.target: s for s in run.statements if s.operation == "mul" and len(readers[s.target]) == 1}
    products = {name: s for name, s in products.items() if not any(read.startswith("(") for read in s.reads)}
    found, used = [], set()
    for statement in run.statements:
        if statement.operation == "add" and statement.scale == 1.0:
            one, other = statement.reads
            if other not in products:
                one, other = other, one
            if other in products and not one.startswith("("):
                used.add(other)
                statement = Statement(statement.target, "", (one, *products[other].reads), "addcmul")
        found.append(statement)
    return Elementwise(run.inputs, run.outputs, tuple(s for s in found if s.target not in used))


def _readers(run: Elementwise) -> dict[str, list[str]]:
    """Return the targets of the statements that read each variable; an output is read by `output`, too."""
    variables = [name for names in (*run.inputs.values(), *run.outputs.values()) for name in names]
    found: dict[str, list[str]] = {name: [] for name in (*variables, *(s.target for s in run.statements))}
    for statement in run.statements:
        for name in dict.fromkeys(statement.reads):
            if name in found:
                found[name].append(statement.target)
    for names in run.outputs.values():
        for name in names:
            found[name].append("output")
    return found


def _folded(run: Elementwise, step: ElementwiseStep) -> tuple[Elementwise, bool]:
    """Return a run that reads the sum of both products in place of them, where it reads nothing else of either."""
    inputs = step.forward.inputs
    by_target, readers = {s.target: s for s in run.statements}, _readers(run)
    sums: dict[str, str] = {}
    for one, other in zip(inputs["projected"], inputs["recurrent"], strict=True):
        read = readers.get(one, [])
        statement = by_target.get(read[0]) if len(read) == 1 and read == readers.get(other) else None
        if statement is None or statement.operation != "add" or statement.scale != 1.0:
            return run, False
        sums[statement.target] = one
    statements = tuple(
        s._replace(reads=tuple(sums.get(name, name) for name in s.reads))
        for s in run.statements
        if s.target not in sums
    )
    outputs = {key: tuple(sums.get(name, name) for name in names) for key, names in run.outputs.items()}
    given = {key: names for key, names in run.inputs.items() if key != "recurrent"}
    return Elementwise(given, outputs, statements), True


def _order(run: Elementwise, step: ElementwiseStep) -> tuple[int, ...]:
    """Return blocks in an order in which those that the same happens to first are neighbours."""
    names = step.forward.inputs["projected"]
    if any(len(blocks) > 1 for blocks in run.outputs.values()):
        return tuple(range(len(names)))
    first = {name: next((s.operation for s in run.statements if name in s.reads), "") for name in names}
    seen = list(dict.fromkeys(first.values()))
    return tuple(sorted(range(len(names)), key=lambda k: seen.index(first[names[k]])))


class ThreeParts(NamedTuple):
    """A run whose hidden states are known.

    Attributes:
        before: Statements that know nothing of the memory.
        read: What the loop reads of every step.
        loop: From valid steps, memory to fill and what it reads, of every step, and the initial memory to nothing.
        after: Statements that need the memory, and that it does not need.
    """

    before: tuple[Statement, ...]
    read: tuple[str, ...]
    loop: Callable[..., None]
    after: tuple[Statement, ...]


def three_parts(step: ElementwiseStep) -> ThreeParts:
    """Return the parts of a run from known hidden states: only what the memory is made of is a loop."""
    statements, late = step.forward.statements, {"cell"}
    for statement in statements:
        if late.intersection(statement.reads):
            late.add(statement.target)
    before = tuple(s for s in statements if s.target not in late)
    made = step.forward.outputs.get("new_cell")
    if made is None:
        return ThreeParts(before, (), lambda *_: None, tuple(s for s in statements if s.target in late))
    needed = step.forward.only(("new_cell",)).statements
    looped = [s for s in needed if s.target in late]
    summed = _with_sums_of_products(Elementwise({}, {"new_cell": made}, tuple(looped))).statements
    targets = {s.target for s in looped}
    read = tuple(dict.fromkeys(v for s in summed for v in s.reads if v not in targets | {"cell"} and v[0] != "("))
    lines = [f"    for {', '.join(('valid', 'new_cell', *read))} in over_time:"]
    for s in summed:
        if s.operation not in _IN_PLACE and s.operation not in _OTHERS:
            raise NotElementwiseError(f"no program for {s.operation}")
        options = "" if s.scale == 1.0 else f", alpha={s.scale!r}"
        lines.append(f"        {s.target} = {s.operation}({', '.join(s.reads)}{options})")
    lines += [
        f"        new_cell.copy_({made[0]} if valid is None else where(valid, {made[0]}, cell))",
        "        cell = new_cell",
    ]
    loop = _compiled("\n".join(["def run(over_time, cell):", *lines, ""]))
    after = tuple(s for s in statements if s.target in late and s.target != made[0])
    return ThreeParts(before, read, loop, after)


class _Plan:
    """Where every value of a run is written."""

    def __init__(self, run: Elementwise, order: tuple[int, ...]) -> None:
        self.run, self.order = run, order
        self.scratch: list[str] = []
        self.stored: list[str] = []
        self.location: dict[str, Location] = {}
        for name in ("projected", "recurrent"):
            for k, variable in enumerate(run.inputs.get(name, ())):
                self.location[variable] = Location(name, order.index(k))
        for variable in (variable for names in run.inputs.values() for variable in names):
            self.location.setdefault(variable, Location(variable))
        states = {name: run.outputs[name][0] for name in ("new_cell", "emitted") if name in run.outputs}
        self._homes = {variable: Location(name) for name, variable in states.items()}
        self._outputs = {variable for names in run.outputs.values() for variable in names}
        self._free: list[Location] = []
        self.statements = self._by_level()
        self._last = {name: k for k, s in enumerate(self.statements) for name in s.reads}
        self.instructions = [self._placed(k, statement) for k, statement in enumerate(self.statements)]
        if not all(self._is_stored(self.location.get(name)) for name in self._outputs):
            raise NotElementwiseError("an output that is a number, or what was there before")
        self.copies = [(v, Location(name)) for name, v in states.items() if self.location[v] != Location(name)]

    def _by_level(self) -> list[Statement]:
        """Return the statements with those first that depend on the products alone, equal operations side by side."""
        levels = {v: 0 for name in ("projected", "recurrent") for v in self.run.inputs.get(name, ())}
        blocks = {v: self.location[v].block for v in levels}
        ahead = []
        for statement in self.run.statements:
            if all(name in levels for name in statement.reads):
                levels[statement.target] = 1 + max(levels[name] for name in statement.reads)
                blocks[statement.target] = blocks[statement.reads[0]]
                ahead.append(statement)
        ahead.sort(key=lambda s: (levels[s.target], s.operation, blocks[s.target]))
        return ahead + [s for s in self.run.statements if s.target not in levels]

    def _dies(self, name: str, k: int) -> bool:
        return self._last.get(name) == k and name not in self._outputs

    def _placed(self, k: int, statement: Statement) -> _Instruction:
        operands = tuple(self.location.get(name, name) for name in statement.reads)
        dying = [
            self.location[name]
            for name in dict.fromkeys(statement.reads)
            if name in self.location and self._dies(name, k) and self._is_ours(self.location[name])
        ]
        out = None
        if statement.operation in _IN_PLACE and not str(statement.reads[0]).startswith("("):
            out = self._home(k, statement.target, dying)
            self.location[statement.target] = out
        elif statement.target in self._outputs:
            out = self._home(k, statement.target, [])
            self.location[statement.target] = out
        self._free += [at for at in dying if at != out and at.buffer.startswith("scratch")]
        return _Instruction(statement, out, operands)

    @staticmethod
    def _is_stored(at: Location | None) -> bool:
        names = ("projected", "recurrent", "emitted", "new_cell")
        return at is not None and (at.buffer in names or at.buffer.startswith("stored"))

    def _is_ours(self, at: Location) -> bool:
        return at.buffer in ("projected", "recurrent") or at.buffer.startswith("scratch")

    def _home(self, k: int, target: str, dying: list[Location]) -> Location:
        if target in self._homes:
            return self._homes[target]
        reader = next((s for s in self.statements[k + 1 :] if target in s.reads), None)
        if target not in self._outputs and reader is not None and self._last[target] == self.statements.index(reader):
            home = self._homes.get(reader.target)
            if home is not None and home not in self.location.values():
                return home
        in_products = [at for at in dying if at.buffer in ("projected", "recurrent")]
        if in_products:
            return in_products[0]
        if target in self._outputs:
            self.stored.append(f"stored{len(self.stored)}")
            return Location(self.stored[-1])
        if dying:
            return dying[0]
        if self._free:
            return self._free.pop()
        self.scratch.append(f"scratch{len(self.scratch)}")
        return Location(self.scratch[-1])


class _Text:
    """Writes the program down."""

    def __init__(self, plan: _Plan, form: Form) -> None:
        self._plan, self._form = plan, form
        self._views: dict[str, tuple[str, int, int]] = {}

    def program(self) -> Program:
        plan, form = self._plan, self._form
        states = {"hidden": "emitted", "cell": "new_cell"} if "new_cell" in plan.run.outputs else {"hidden": "emitted"}
        body = [_PRODUCTS[form.folded, form.biased], *self._lines()]
        body += [f"{self._name(home)}.copy_({self._name(plan.location[v])})" for v, home in plan.copies]
        for name in (*states.values(), *plan.stored):
            self._name(Location(name))
        if form.projected:
            body.append("mm(emitted, projection, out=new_hidden)")
            states["hidden"] = "new_hidden"
        for state, new in states.items():
            body += [f"{new}.copy_(where(valid, {new}, {state}))"] if form.masked else []
            body.append(f"{state} = {new}")
        extras = [v for name, names in plan.run.inputs.items() if name not in _GIVEN for v in names]
        given = ["weight", "bias", "projection", "hidden", "cell", *extras, *plan.scratch]
        steps = ["row", "new_hidden", "valid", *self._views]
        text = [f"def run(over_time, {', '.join(given)}):", f"    for {', '.join(steps)} in over_time:"]
        source = "\n".join([*text, *(f"        {line}" for line in body), ""])
        outputs = {name: tuple(plan.location[v] for v in names) for name, names in plan.run.outputs.items()}
        views, scratch, stored = tuple(self._views.values()), tuple(plan.scratch), tuple(plan.stored)
        return Program(
            source, _compiled(source), plan.order, form.folded, views, tuple(extras), scratch, stored, outputs
        )

    def _lines(self) -> Iterator[str]:
        """Give one line for every operation; neighbours that do the same are one."""
        todo = list(self._plan.instructions)
        while todo:
            first, width = todo.pop(0), 1
            while todo and _continues(first, todo[0], width):
                todo.pop(0)
                width += 1
            yield self._line(first, width)

    def _line(self, instruction: _Instruction, width: int) -> str:
        statement, out, operands = instruction
        names = [o if isinstance(o, str) else self._name(o, width) for o in operands]
        options = "" if statement.scale == 1.0 else f", alpha={statement.scale!r}"
        name = statement.operation
        if name in _COMMUTE and out is not None and len(names) == 2 and operands[1] == out and not options:
            names, operands = names[::-1], operands[::-1]
        if name not in _IN_PLACE or out is None or names[0].startswith("("):
            if name not in _IN_PLACE and name not in _OTHERS:
                raise NotElementwiseError(f"no program for {name}")
            made = f"{name}({', '.join(names)}{options})"
            return f"{statement.target} = {made}" if out is None else f"{self._name(out)}.copy_({made})"
        if operands[0] == out:
            return f"{names[0]}.{name}_({', '.join(names[1:])}{options})"
        called = f"clamp_min({names[0]}, 0.0" if name == "relu" else f"{name}({', '.join(names)}{options}"
        return f"{called}, out={self._name(out, width)})"

    def _name(self, at: Location, width: int = 1) -> str:
        if at.buffer in ("projected", "recurrent"):
            name = f"{at.buffer}_{at.block}_{at.block + width}"
            self._views[name] = at.buffer, at.block, at.block + width
            return name
        if at.buffer in ("emitted", "new_cell") or at.buffer.startswith("stored"):
            self._views[at.buffer] = at.buffer, 0, 1
        return at.buffer


def _continues(first: _Instruction, following: _Instruction, width: int) -> bool:
    """Whether an operation does the same to the blocks after those of `width` operations before it."""
    same = (
        first.statement.operation == following.statement.operation,
        first.statement.scale == following.statement.scale,
    )
    if not all(same) or first.out is None or following.out is None or len(first.operands) != len(following.operands):
        return False
    pairs = zip((first.out, *first.operands), (following.out, *following.operands), strict=True)
    return all(
        isinstance(a, Location)
        and isinstance(b, Location)
        and a.buffer in ("projected", "recurrent")
        and b == Location(a.buffer, a.block + width)
        for a, b in pairs
    )


@cache
def backwards(given: tuple[str, ...], groups: int, projected: bool) -> Callable[..., None]:
    """Return a run backwards whose factors are known, from views of every step, weights and the carried cell gradient.

    Args:
        given: What every step is given, by name, from the last step to the first; what is not there has no part.
        groups: How many groups of blocks the gradient of the recurrent product has.
        projected: Whether there is a projection.
    """
    lines = ["add(direct, through, out=total)"]
    lines += ["matmul(total, projection, out=emitted)"] if projected else []
    if "cell" in given:
        lines.append("addcmul(carried, emitted, shown, out=cell)" if "shown" in given else "cell.copy_(carried)")
        lines.append("mul(cell, kept, out=carried)" if "kept" in given else "carried.zero_()")
        lines += ["carried.addcmul_(emitted, kept_shown)"] if "kept_shown" in given else []
    for k in range(groups):
        both = [name for name in ("emitted", "cell") if f"by_{name}{k}" in given]
        lines += [f"mul(of_{name}{k}, by_{name}{k}, out=into{k})" for name in both[:1]]
        lines += [f"into{k}.addcmul_(of_{name}{k}, by_{name}{k})" for name in both[1:]]
    lines += (
        ["mul(total, past, out=back)", "flat.addmm_(row, weight)"] if "past" in given else ["mm(row, weight, out=flat)"]
    )
    text = ["def run(over_time, weight, projection, carried):", f"    for {', '.join(given)} in over_time:"]
    return _compiled("\n".join([*text, *(f"        {line}" for line in lines), ""]))


def _compiled(source: str) -> Callable[..., None]:
    filename = f"<rnn_diag program {next(_numbers)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {
        name: getattr(torch, name) for name in (*_IN_PLACE, "mm", "matmul", "addmm", "where", "clamp_min")
    }
    namespace |= {name: getattr(torch.ops.aten, name) for name in _OTHERS}
    exec(
        compile(source, filename, "exec"), namespace
    )  # ours, word for word: names of operations are from a closed table
    return namespace["run"]  # type: ignore[no-any-return]


_numbers = count()


def evaluated(statements: Sequence[Statement], values: dict[str, Tensor], into: Mapping[str, Tensor]) -> None:
    """Run statements on tensors of one shape for all steps, and add what they find to `values`.

    Args:
        statements: What to compute.
        values: Tensors by variable.
        into: Where some of the variables are written.
    """
    dtype = next(value.dtype for value in values.values() if value.is_floating_point())
    for statement in statements:
        operands = [values[name] if name in values else float(name[1:-1]) for name in statement.reads]
        out = None if statement.operation in _OTHERS else into.get(statement.target)
        found = _computed(statement, operands, dtype, out)
        values[statement.target] = found


def _computed(statement: Statement, operands: list[Any], dtype: torch.dtype, out: Tensor | None) -> Tensor:
    name, first = statement.operation, operands[0]
    options: dict[str, Any] = {} if statement.scale == 1.0 else {"alpha": statement.scale}
    fits = out is not None and isinstance(first, Tensor) and first.shape == out.shape
    if fits and name in ("sigmoid_backward", "tanh_backward"):
        return getattr(torch.ops.aten, name)(*operands, grad_input=out)  # type: ignore[no-any-return]
    if fits and name in _IN_PLACE and name != "relu":
        return getattr(torch, name)(*operands, **options, out=out)  # type: ignore[no-any-return]
    if name == "_to_copy":
        found = first.to(dtype)
    elif name in ("maximum", "minimum"):
        found = getattr(torch, name)(*(torch.as_tensor(operand, dtype=dtype) for operand in operands))
    else:
        found = getattr(torch.ops.aten, name)(*operands, **options)
    return found if out is None else out.copy_(found)
