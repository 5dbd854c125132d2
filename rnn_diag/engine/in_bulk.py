"""The engine of CPUs: gates in place of pre-activations, derivatives of many steps at once, one product in a step.

It is written from what equations do between their products (`rnn_diag.engine.elementwise`). Those that mix units or
sequences, and runs under autocast or on the autograd graph, take the plain loops, with which it is also compared.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.elementwise import ElementwiseStep, NotElementwiseError, known_step
from rnn_diag.engine.engine import Engine, LayerGrads
from rnn_diag.engine.linear import ONE, ONES, Factor, LinearAdjoint, linear_adjoint
from rnn_diag.engine.program import Form, Location, Program, ThreeParts, backwards, evaluated, three_parts, written
from rnn_diag.engine.sweep import Swept
from rnn_diag.engine.unroll import Unrolled, zero_at_padding

AT_ONCE = 2**19
"""Numbers in the gates of the steps whose derivatives are taken together: two megabytes, which caches hold."""


def in_bulk(equations: Equations, weights: Weights) -> InBulk | None:
    """Return the engine of a recurrence, or None where it cannot run: not elementwise, not on a CPU, autocast."""
    weight = weights.weight_hh
    full = weight.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    if not full or weight.device.type != "cpu" or torch.is_grad_enabled():
        return None
    step = known_step(equations, weights)
    return None if step is None else _engine(step, weights.weight_hr is not None)


@cache
def _engine(step: ElementwiseStep, projected: bool) -> InBulk | None:
    try:
        written(step, Form(True, True, projected, True))
        adjoint = linear_adjoint(step)
    except NotElementwiseError:
        return None
    return None if projected and adjoint.previous_hidden is not None else InBulk(step, adjoint)


@cache
def _program(step: ElementwiseStep, form: Form) -> Program:
    return written(step, form)


@dataclass(frozen=True, eq=False)
class InBulk(Engine):
    """An engine for one recurrence.

    Attributes:
        step: The recurrence, as statements.
        adjoint: What its adjoint multiplies gradients by.
    """

    step: ElementwiseStep
    adjoint: LinearAdjoint

    @torch.no_grad()
    def unroll(
        self,
        equations: Equations,
        weights: Weights,
        inputs: Tensor,
        initial: State,
        mask: Tensor | None = None,
        keep_preactivations: bool = True,
    ) -> Unrolled:
        """Return what `rnn_diag.engine.unroll.unroll` returns; gates are views of one tensor."""
        if mask is not None:
            inputs = zero_at_padding(inputs, mask)
        biased = weights.bias_hh is not None
        form = Form(keep_preactivations, biased, weights.weight_hr is not None, mask is not None)
        return _Forward(self.step, _program(self.step, form), weights, inputs, initial, mask).unrolled()

    @torch.no_grad()
    def sweep(
        self,
        equations: Equations,
        weights: Weights,
        unrolled: Unrolled,
        hidden_grad_direct: Tensor,
        final_grad: State | None = None,
    ) -> Swept:
        """Return what `rnn_diag.engine.sweep.sweep` returns."""
        run = _Backward(self, weights, unrolled, hidden_grad_direct, final_grad)
        grads = run.memory(len(hidden_grad_direct))
        for start, end in run.parts():
            run.back_over(start, end, grads.at(start, end))
        return run.swept(grads)

    @torch.no_grad()
    def layer_grads(
        self,
        equations: Equations,
        weights: Weights,
        inputs: Tensor,
        unrolled: Unrolled,
        hidden_grad_direct: Tensor,
        final_grad: State,
        inputs_need_grad: bool,
    ) -> LayerGrads:
        """Return the gradients of all that a layer was given, adding up over some steps at a time."""
        run = _Backward(self, weights, unrolled, hidden_grad_direct, final_grad)
        sums = _Sums(weights, inputs, inputs_need_grad)
        parts = list(run.parts())
        memory = run.memory(max(end - start for start, end in parts))
        for start, end in parts:
            grads = memory.at(0, end - start)
            found = run.back_over(start, end, grads)
            sums.add(equations, weights, inputs[start:end], found, grads, start)
        return LayerGrads(sums.inputs, run.initial(), sums.weights())


def steps_in_bulk(
    equations: Equations,
    weights: Weights,
    initial: State,
    products: tuple[Tensor, Tensor, Tensor],
    mask: Tensor | None,
) -> tuple[Step, Tensor | None] | None:
    """Return what all steps compute, and the memory, from the hidden states that they had; None where it cannot.

    Only what the memory is made of is a loop; everything else is computed for all steps at once.

    Args:
        equations: The recurrence.
        weights: Its parameters.
        initial: The state before the first step.
        products: Input product, recurrent product and `h_{t-1}`, of all steps.
        mask: Valid steps, or None.
    """
    engine = in_bulk(equations, weights)
    return None if engine is None else _FromStates(engine.step, weights, initial, products, mask).run()


@cache
def _three_parts(step: ElementwiseStep) -> ThreeParts:
    return three_parts(step)


class _FromStates:
    """The tensors of steps whose hidden states are known."""

    def __init__(
        self,
        step: ElementwiseStep,
        weights: Weights,
        initial: State,
        products: tuple[Tensor, Tensor, Tensor],
        mask: Tensor | None,
    ) -> None:
        self._step, self._initial, self._mask = step, initial, mask
        self._parts = _three_parts(step)
        self._values: dict[str, Tensor] = {}
        for name, given in zip(("projected", "recurrent", "hidden"), products, strict=True):
            self._give(name, given)
        for name in step.extras:
            self._give(name, weights.extra[name])

    def _give(self, name: str, given: Tensor) -> None:
        blocks = self._step.forward.inputs[name]
        self._values |= dict(zip(blocks, given.chunk(len(blocks), dim=-1), strict=True))

    def run(self) -> tuple[Step, Tensor | None]:
        """Compute all steps."""
        evaluated(self._parts.before, self._values, {})
        new = cell = None
        if self._initial.cell is not None and self._step.has_cell:
            new, cell = self._remembered(self._initial.cell)
            self._give("cell", torch.cat((self._initial.cell.unsqueeze(0), cell[:-1])))
            self._values[self._step.forward.outputs["new_cell"][0]] = new
            evaluated(self._parts.after, self._values, {})
        outputs = {name: [self._values[v] for v in blocks] for name, blocks in self._step.forward.outputs.items()}
        found = {name: parts[0] if len(parts) == 1 else torch.cat(parts, -1) for name, parts in outputs.items()}
        kinds = ("gate", "preactivation", "kept")
        named = (tuple(value for name, value in found.items() if name.startswith(kind)) for kind in kinds)
        return Step(found["emitted"], cell, *named), cell

    def _remembered(self, first: Tensor) -> tuple[Tensor, Tensor]:
        """Return the memory that every step makes, and the one that is held after it; the same without padding."""
        shape = len(self._values[self._parts.read[0]]) if self._parts.read else 0
        steps = shape or len(self._values[self._step.forward.inputs["projected"][0]])
        cell = first.new_empty(steps, *first.shape)
        read = [self._values[name] for name in self._parts.read]
        each = [value.unbind(0) if value.dim() == cell.dim() else [value] * steps for value in read]
        valid = [None] * steps if self._mask is None else self._mask.unsqueeze(-1).unbind(0)
        self._parts.loop(zip(valid, cell.unbind(0), *each, strict=True), first)
        return cell, cell


class _Forward:
    """The tensors of one run forwards."""

    def __init__(
        self,
        step: ElementwiseStep,
        program: Program,
        weights: Weights,
        inputs: Tensor,
        initial: State,
        mask: Tensor | None,
    ) -> None:
        self._step, self._program, self._weights = step, program, weights
        self._inputs, self._initial, self._mask = inputs, initial, mask
        self._blocks = step.blocks
        units = len(weights.weight_hh) // step.blocks
        shape = *inputs.shape[:2], units
        bias = weights.bias_ih
        if program.folded and bias is not None and weights.bias_hh is not None:
            bias = bias + weights.bias_hh
        given = None if bias is None else self._ordered(bias)
        self._memory = {"projected": linear(inputs, self._ordered(weights.weight_ih), given)}
        if not program.folded:
            self._memory["recurrent"] = torch.empty_like(self._memory["projected"])
        names = ("emitted", "new_cell") if step.has_cell else ("emitted",)
        self._memory |= {name: inputs.new_empty(shape) for name in (*names, *program.stored)}
        self._hidden = self._memory["emitted"]
        if weights.weight_hr is not None:
            self._hidden = inputs.new_empty(*shape[:2], len(weights.weight_hr))

    def _ordered(self, rows: Tensor) -> Tensor:
        """Return rows with their blocks in the program's order."""
        order = self._program.order
        if list(order) == sorted(order):
            return rows
        blocks = rows.chunk(self._blocks)
        return torch.cat([blocks[k] for k in order])

    def unrolled(self) -> Unrolled:
        """Run, and return what was run."""
        weights, program = self._weights, self._program
        extras: dict[str, Tensor] = {}
        for name, width in self._step.extras.items():
            extras |= dict(zip(self._step.forward.inputs[name], weights.extra[name].chunk(width), strict=True))
        scratch = [torch.empty_like(self._memory["emitted"][0]) for _ in program.scratch]
        program.run(
            zip(*self._over_time(), strict=True),
            self._ordered(weights.weight_hh).T.contiguous(),
            None if weights.bias_hh is None else self._ordered(weights.bias_hh),
            None if weights.weight_hr is None else weights.weight_hr.T,
            *(*self._initial, None)[:2],
            *(extras[name] for name in program.extras),
            *scratch,
        )
        cell = self._memory.get("new_cell")
        values: dict[str, tuple[Tensor, ...]] = {
            kind: tuple(self._value(at) for name, at in program.outputs.items() if name.startswith(kind))
            for kind in ("gate", "preactivation", "kept")
        }
        steps = Step(self._memory["emitted"], cell, values["gate"], values["preactivation"], values["kept"])
        return Unrolled(self._initial, self._hidden, cell, steps, self._mask, self._inputs)

    def _over_time(self) -> list[tuple[Tensor, ...]]:
        """Return views of every step, by what a program is given."""
        mask, steps = self._mask, len(self._inputs)
        row = self._memory["projected" if self._program.folded else "recurrent"]
        valid = [None] * steps if mask is None else mask.unsqueeze(-1).unbind(0)
        views = [row.unbind(0), self._hidden.unbind(0), valid]
        return [*views, *(self._view(*view).unbind(0) for view in self._program.views)]  # type: ignore[list-item]

    def _view(self, buffer: str, start: int, end: int) -> Tensor:
        memory = self._memory[buffer]
        if buffer not in ("projected", "recurrent"):
            return memory
        units = memory.shape[-1] // self._blocks
        return memory[..., start * units : end * units]

    def _value(self, blocks: tuple[Location, ...]) -> Tensor:
        """Return an output, which may have several blocks."""
        first = blocks[0]
        if all(at == Location(first.buffer, first.block + k) for k, at in enumerate(blocks)):
            return self._view(first.buffer, first.block, first.block + len(blocks))
        return torch.cat([self._view(at.buffer, at.block, at.block + 1) for at in blocks], dim=-1)


@dataclass(frozen=True)
class _Grads:
    """Gradients at some steps: of hidden and emitted states, of both products and of the cell, `[T, N, B, ·]`.

    `through` is what reached the hidden state from the step after; `N` gradients are carried at once.
    """

    hidden: Tensor
    through: Tensor
    emitted: Tensor
    recurrent: Tensor
    projected: Tensor
    cell: Tensor | None

    def at(self, start: int, end: int) -> _Grads:
        """Return those of some steps; what is one tensor stays one."""
        hidden, recurrent = self.hidden[start:end], self.recurrent[start:end]
        return _Grads(
            hidden,
            self.through[start:end],
            hidden if self.emitted is self.hidden else self.emitted[start:end],
            recurrent,
            recurrent if self.projected is self.recurrent else self.projected[start:end],
            None if self.cell is None else self.cell[start:end],
        )


class _Part(NamedTuple):
    """What a layer went through in some steps, with the states that they started from and the mask `[T, B, 1]`."""

    steps: Step
    previous: State
    mask: Tensor | None


class _Factors(NamedTuple):
    """Factors of some steps: for every group of blocks of the recurrent gradient, and what goes past it.

    Attributes:
        groups: From block, to block, what `e` and `c` are multiplied by: `[T, 1, B, blocks, H]` or None.
        cell_by_emitted, cell_kept, cell_kept_by_emitted, past: `[T, 1, B, ·]` or None.
        projected: By block, where it differs from the recurrent gradient: both factors.
    """

    groups: list[tuple[int, int, Tensor | None, Tensor | None]]
    cell_by_emitted: Tensor | None
    cell_kept: Tensor | None
    cell_kept_by_emitted: Tensor | None
    past: Tensor | None
    projected: dict[int, tuple[Tensor | None, Tensor | None]]


class _Backward:
    """One run backwards; gradients that are carried at once share the factors."""

    def __init__(
        self, engine: InBulk, weights: Weights, unrolled: Unrolled, direct: Tensor, final: State | None
    ) -> None:
        self._step, self._adjoint = engine.step, engine.adjoint
        self._weights, self._unrolled, self._request = weights, unrolled, direct
        self._batch = unrolled.hidden.shape[1]
        self._units = len(weights.weight_hh) // engine.step.blocks
        self._several = direct.shape[1:-2].numel()
        self._direct = direct.reshape(len(direct), self._several, *direct.shape[-2:])
        hidden, cell = (*(final or (None,)), None)[:2]
        self._back = self._last(hidden, direct.shape[-1])
        self._cell = self._last(cell, self._units) if engine.step.has_cell else None
        self._workspace: dict[str, Tensor] = {}

    def _last(self, grad: Tensor | None, size: int) -> Tensor:
        shape = *self._request.shape[1:-1], size
        if grad is None:
            return self._request.new_zeros(self._several, self._batch, size)
        return grad.expand(shape).reshape(self._several, self._batch, size)

    def parts(self) -> Iterator[tuple[int, int]]:
        """Give steps that are taken together, from the last to the first."""
        steps = len(self._direct)
        at_once = max(1, AT_ONCE // max(1, self._batch * len(self._weights.weight_hh)))
        for start in reversed(range(0, steps, at_once)):
            yield start, min(start + at_once, steps)

    def _room(self, name: str, steps: int, *sizes: int) -> Tensor:
        """Return memory for the factors of some steps; it is that of the steps before."""
        if name not in self._workspace or len(self._workspace[name]) < steps:
            self._workspace[name] = self._unrolled.hidden.new_empty(steps, self._batch, *sizes, self._units)
        return self._workspace[name][:steps]

    def memory(self, steps: int) -> _Grads:
        """Return memory for the gradients of that number of steps."""
        leading = steps, self._several, self._batch
        states, units = self._direct.shape[-1], self._units

        def empty(*sizes: int) -> Tensor:
            return self._direct.new_empty(*leading, *sizes)

        hidden = empty(states)
        recurrent = empty(self._step.blocks, units)
        same = self._adjoint.projected == self._adjoint.recurrent
        return _Grads(
            hidden,
            empty(states),
            hidden if self._weights.weight_hr is None else empty(units),
            recurrent,
            recurrent if same else torch.empty_like(recurrent),
            empty(units) if self._step.has_cell else None,
        )

    def part(self, start: int, end: int) -> _Part:
        """Return what the layer went through in some steps."""
        unrolled = self._unrolled
        steps, cell = unrolled.steps, unrolled.cell
        some = Step(
            steps.emitted[start:end],
            None if cell is None else cell[start:end],
            tuple(gate[start:end] for gate in steps.gates),
            (),
            tuple(kept[start:end] for kept in steps.kept),
        )
        hidden, *cells = [
            states[start - 1 : end - 1] if start else torch.cat((first.unsqueeze(0), states[: end - 1]))
            for first, states in zip(unrolled.initial, (unrolled.hidden, cell), strict=True)
            if states is not None and first is not None
        ]
        return _Part(some, State(hidden, *cells), None if unrolled.mask is None else unrolled.mask[start:end, :, None])

    def back_over(self, start: int, end: int, grads: _Grads) -> _Part:
        """Go back over some steps and fill in their gradients; return what the layer went through there."""
        part = self.part(start, end)
        factors = self._factors(part)
        self._loop(self._direct[start:end], grads, factors)
        if part.mask is not None:
            for grad in (None if grads.emitted is grads.hidden else grads.emitted, grads.cell):
                if grad is not None:
                    grad.mul_(part.mask.unsqueeze(1))
        if grads.projected is not grads.recurrent:
            self._project(grads, factors)
        return part

    def _factors(self, part: _Part) -> _Factors:
        """Compute the factors of some steps, and let them find nothing at padding and hand on what is held there."""
        adjoint, blocks, mask = self._adjoint, self._step.blocks, part.mask
        steps, values = len(part.steps.emitted), self._variables(part)
        by = {kind: self._room(kind, steps, blocks) for kind in ("emitted", "cell")}
        into = {s.target: self._room(s.target, steps) for s in adjoint.statements if s.operation != "_to_copy"}
        for kind, memory in by.items():
            into |= {getattr(factor, kind): memory[:, :, k] for k, factor in enumerate(adjoint.recurrent)}
        evaluated(adjoint.statements, values, into)

        def stacked(kind: str, start: int, end: int) -> Tensor | None:
            names = [getattr(factor, kind) for factor in adjoint.recurrent[start:end]]
            if names[0] is None:
                return None
            for k, name in enumerate(names, start):
                memory = by[kind][:, :, k]
                if name == ONE:
                    memory.fill_(1.0)
                elif values[name].data_ptr() != memory.data_ptr():
                    memory.copy_(values[name])
            found = by[kind].unsqueeze(1)[..., start:end, :]
            return found if mask is None else found.masked_fill_(~mask[:, None, :, :, None], 0.0)

        def one(name: str | None, at_padding: float = 0.0) -> Tensor | None:
            if name is None:
                return None
            found = values[ONES if name == ONE else name]
            return (found if mask is None else torch.where(mask, found, at_padding)).unsqueeze(1)

        groups = [(a, b, stacked("emitted", a, b), stacked("cell", a, b)) for a, b in _alike(adjoint.recurrent)]
        cell, hidden = adjoint.previous_cell or Factor(None, None), adjoint.previous_hidden
        past = None if hidden is None else one(hidden.emitted, 1.0)
        if past is None and mask is not None:
            past = (~mask).to(values[ONES].dtype).unsqueeze(1)
        projected = {
            k: (one(factor.emitted), one(factor.cell))
            for k, factor in enumerate(adjoint.projected)
            if factor != adjoint.recurrent[k]
        }
        return _Factors(groups, one(adjoint.cell_by_emitted), one(cell.cell, 1.0), one(cell.emitted), past, projected)

    def _variables(self, part: _Part) -> dict[str, Tensor]:
        """Return what the adjoint's statements read, by variable."""
        steps, previous = part.steps, part.previous
        given: dict[str, Tensor | None] = {"emitted": steps.emitted, "new_cell": steps.cell}
        given |= {"hidden": previous.hidden, "cell": previous.cell} | dict(self._weights.extra)
        given |= {f"gate{k}": gate for k, gate in enumerate(steps.gates)}
        given |= {f"kept{k}": kept for k, kept in enumerate(steps.kept)}
        found = {ONES: torch.ones((), dtype=steps.emitted.dtype).expand_as(steps.emitted)}
        for name, blocks in self._step.backward.inputs.items():
            if (value := given.get(name)) is not None:
                found |= dict(zip(blocks, value.chunk(len(blocks), dim=-1), strict=True))
        return found

    def _loop(self, direct: Tensor, grads: _Grads, factors: _Factors) -> None:
        weight, projection = self._weights.weight_hh, self._weights.weight_hr
        squeezed = self._several == 1
        views: dict[Hashable, tuple[Tensor, ...]] = {}

        def by_step(tensor: Tensor) -> tuple[Tensor, ...]:
            """Return views of every step; making them takes longer than some of what is done with them."""
            key = tensor.data_ptr(), tensor.shape, tensor.stride()
            return views[key] if key in views else views.setdefault(key, tensor.unbind(0))

        def over_time(tensor: Tensor | None) -> tuple[Tensor, ...]:
            if tensor is None:
                return ()
            return by_step(tensor.squeeze(1) if squeezed else tensor)

        through = by_step(grads.through.flatten(1, 2))
        first = torch.empty_like(through[0])
        through[-1].copy_(self._back.flatten(0, 1))
        tensors: dict[str, tuple[Tensor, ...]] = {
            "direct": over_time(direct),
            "through": over_time(grads.through),
            "total": over_time(grads.hidden),
            "emitted": over_time(grads.emitted),
            "cell": over_time(grads.cell),
            "row": by_step(grads.recurrent.flatten(-2).flatten(1, 2)),
            "flat": (first, *through[:-1]),
            "shown": over_time(factors.cell_by_emitted),
            "kept": over_time(factors.cell_kept),
            "kept_shown": over_time(factors.cell_kept_by_emitted),
            "past": over_time(factors.past),
        }
        if factors.past is not None:
            back = first.view_as(self._back.squeeze(0) if squeezed else self._back)
            tensors["back"] = (back, *over_time(grads.through)[:-1])
        for k, (start, end, by_emitted, by_cell) in enumerate(factors.groups):
            into = grads.recurrent[..., start:end, :]
            if by_emitted is None and by_cell is None:
                into.zero_()
                continue
            parts = {"into": into, "by_emitted": by_emitted, "by_cell": by_cell}
            parts["of_emitted"] = None if by_emitted is None else grads.emitted.unsqueeze(-2)
            parts["of_cell"] = None if by_cell is None or grads.cell is None else grads.cell.unsqueeze(-2)
            for name, part in parts.items():
                one = part if part is None or end - start > 1 else part.squeeze(-2)
                tensors[f"{name}{k}"] = over_time(one)
        given = {name: steps for name, steps in tensors.items() if steps}
        loop = backwards(tuple(given), len(factors.groups), projection is not None)
        carried = None if self._cell is None else (self._cell.squeeze(0) if squeezed else self._cell).clone()
        loop(zip(*(reversed(steps) for steps in given.values()), strict=True), weight, projection, carried)
        self._back = first.view(self._back.shape)
        self._cell = None if carried is None or self._cell is None else carried.view(self._cell.shape)

    def _project(self, grads: _Grads, factors: _Factors) -> None:
        grads.projected.copy_(grads.recurrent)
        for k, (by_emitted, by_cell) in factors.projected.items():
            into = grads.projected[..., k, :]
            into.zero_() if by_emitted is None else torch.mul(grads.emitted, by_emitted, out=into)
            if by_cell is not None and grads.cell is not None:
                into.addcmul_(grads.cell, by_cell)

    def initial(self) -> State:
        """Return the gradient of the state before the steps that were gone over."""
        leading = self._request.shape[1:-1]
        parts = [part for part in (self._back, self._cell) if part is not None]
        return State(*(part.reshape(*leading, part.shape[-1]) for part in parts))

    def swept(self, grads: _Grads) -> Swept:
        """Return the gradients of all steps, with the axes of the request."""
        leading = self._request.shape[:-1]

        def asked(steps: Tensor) -> Tensor:
            return steps.reshape(*leading, steps.shape[3:].numel())

        projected = asked(grads.projected)
        return Swept(
            hidden_grad=asked(grads.hidden),
            hidden_grad_recurrent=asked(grads.through),
            cell_grad=None if grads.cell is None else asked(grads.cell),
            projected_grad=projected,
            recurrent_grad=projected if grads.projected is grads.recurrent else asked(grads.recurrent),
            initial=self.initial(),
            hidden_grad_direct=self._request,
        )


def _alike(factors: tuple[Factor, ...]) -> list[tuple[int, int]]:
    """Return from where to where neighbours are made of the same gradients."""
    made_of = [(factor.emitted is None, factor.cell is None) for factor in factors]
    starts = [k for k in range(len(factors)) if k == 0 or made_of[k] != made_of[k - 1]]
    return list(zip(starts, [*starts[1:], len(factors)], strict=True))


class _Sums:
    """Gradients of inputs and weights, to which those of some steps are added."""

    def __init__(self, weights: Weights, inputs: Tensor, inputs_need_grad: bool) -> None:
        products = ("weight_ih", "weight_hh")
        present = weights.present().items()
        self._by_name = {name: torch.zeros_like(value) for name, value in present if name not in products}
        self._transposed = {name: getattr(weights, name).new_zeros(getattr(weights, name).T.shape) for name in products}
        self.inputs = torch.empty_like(inputs, memory_format=torch.contiguous_format) if inputs_need_grad else None

    def weights(self) -> dict[str, Tensor]:
        """Return the gradients of all weights."""
        return self._by_name | {name: grad.T.contiguous() for name, grad in self._transposed.items()}

    def add(
        self, equations: Equations, weights: Weights, inputs: Tensor, part: _Part, grads: _Grads, start: int
    ) -> None:
        """Add the gradients of the steps from `start` on: one product for each weight."""
        by_name = self._by_name
        projected, recurrent = grads.projected.flatten(-2).flatten(0, 2), grads.recurrent.flatten(-2).flatten(0, 2)
        self._transposed["weight_ih"].addmm_(inputs.flatten(0, 1).T, projected)
        self._transposed["weight_hh"].addmm_(part.previous.hidden.flatten(0, 1).T, recurrent)
        if weights.bias_ih is not None:
            by_name["bias_ih"].add_(projected.sum(0))
        if weights.bias_hh is not None:
            by_name["bias_hh"].add_(recurrent.sum(0))
        emitted = grads.emitted.squeeze(1)
        if grads.emitted is grads.hidden and part.mask is not None:
            emitted = emitted * part.mask
        if weights.weight_hr is not None:
            hidden = grads.hidden.squeeze(1) if part.mask is None else grads.hidden.squeeze(1) * part.mask
            by_name["weight_hr"].addmm_(hidden.flatten(0, 1).T, part.steps.emitted.flatten(0, 1))
        if weights.extra:
            cell = None if grads.cell is None else grads.cell.squeeze(1)
            projected_grad, recurrent_grad = (g.squeeze(1).flatten(-2) for g in (grads.projected, grads.recurrent))
            adjoint = StepAdjoint(projected_grad, recurrent_grad, cell)
            extra = equations.extra_weight_grads(part.steps, part.previous, adjoint, emitted, weights)
            for name, grad in extra.items():
                by_name[name].add_(grad)
        if self.inputs is not None:
            torch.mm(projected, weights.weight_ih, out=self.inputs[start : start + len(inputs)].flatten(0, 1))
