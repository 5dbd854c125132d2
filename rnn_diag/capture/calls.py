"""One call of a recurrent module: copies of what went in and out, and the gradients that came back."""

from __future__ import annotations

import copy
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnn_diag.capture.graph import leads_to
from rnn_diag.capture.registry import SeenStep
from rnn_diag.capture.sequences import Identity, Lineage, Link, Rows, identity
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.packing import Packing
from rnn_diag.engine.precision import Precision
from rnn_diag.errors import described, lets_errors_through


class Selection:
    """Which sequences of a batch are followed: all, or the first and a fixed choice of the others, in order.

    The choice looks random, so that no period of the batch (sample by node, sample by chunk, beam by sample) makes all
    followed sequences alike. It depends on the two numbers alone, and no generator of the process is drawn from.

    Args:
        batch: How many sequences the batch has.
        sequences: How many of them are followed; None for all.
        device: Where the indices are to be.
        rows: Which sequences these are of the batch that an earlier call began with: those that were chosen there are
            followed for as long as they last.

    Attributes:
        batch: See above.
        complete: Whether all are followed.
        indices: The followed ones.
    """

    def __init__(self, batch: int, sequences: int | None, device: torch.device, rows: Rows | None = None) -> None:
        self.batch = batch
        began_with = batch if rows is None else rows.of
        self.complete = sequences is None or sequences >= began_with
        if sequences is None or sequences >= began_with:
            self.indices = torch.arange(batch, device=device)
        elif rows is None:
            self.indices = _chosen(batch, sequences, device)
        else:
            self.indices = torch.isin(rows.numbers, _chosen(began_with, sequences, device)).nonzero().squeeze(1)


class Spread:
    """Puts the sequences that are left of a batch back where they were; those that have ended are zero, or held.

    Args:
        left: The numbers of those that are left.
        numbers: The numbers of all.
        axis: That of the batch.

    Attributes:
        present: `[B]` which of all are left.
    """

    def __init__(self, left: Tensor, numbers: Tensor, axis: int) -> None:
        found = left.unsqueeze(1) == numbers
        self.present = found.any(0)
        self._columns = found.int().argmax(1)
        self._axis = axis

    def __call__(self, rows: Tensor, others: Tensor | float = 0.0) -> Tensor:
        """Return all sequences.

        Args:
            rows: Those that are left.
            others: What the others are: one number, or what they were before.
        """
        if not isinstance(others, Tensor):
            shape = [*rows.shape[: self._axis], len(self.present), *rows.shape[self._axis + 1 :]]
            others = torch.full(shape, others, dtype=rows.dtype, device=rows.device)
        return others.index_copy(self._axis, self._columns, rows)


@lru_cache(maxsize=256)
def _chosen(batch: int, sequences: int, device: torch.device) -> Tensor:
    return torch.tensor([0, *sorted(random.Random(0).sample(range(1, batch), sequences - 1))], device=device)


class GradSums:
    """Gradients by name, summed over backward passes."""

    def __init__(self) -> None:
        self._grads: dict[str, Tensor] = {}

    def add(self, name: str, grad: Tensor) -> None:
        """Add a gradient."""
        self._grads[name] = self._grads[name] + grad if name in self._grads else grad

    def get(self, name: str) -> Tensor | None:
        """Return the sum, or None if there was none."""
        return self._grads.get(name)

    def any(self) -> Tensor | None:
        """Return whether any gradient is not zero; None without gradients."""
        return torch.stack([grad.any() for grad in self._grads.values()]).any() if self._grads else None

    def read(self, rows: Callable[[Tensor], Tensor]) -> GradSums:
        """Return the same of other sequences."""
        some = GradSums()
        some._grads = {name: rows(grad) for name, grad in self._grads.items()}
        return some

    def __bool__(self) -> bool:
        return bool(self._grads)


class Call(ABC):
    """One call: copies of what is needed of it, and how it hangs together with the calls before and after.

    Attributes:
        selection: Which sequences were copied.
        inputs: `[…, B, I]` copies.
        initial: `[…, B, ·]` copies of each part of the state that it started from.
        grads: The gradients that came back.
        had_grad: Whether a graph was built.
        state_on_graph: Whether the state that it started from was on it.
        is_second_pass: Whether this is what a checkpoint ran again.
        differentiated_twice: Whether a backward pass through it built a graph of its own, to be differentiated again.
        elsewhere: Whether a sequence that was not copied got a gradient.
        left: Which sequences are left of the batch that an earlier call began with; None where all are, in order.
        is_spread: Whether the copies are of all sequences that an earlier call began with, see `among`.
        present: `[B]` which of these took part in the call; None where all did.
        ends: What the state that it returned is recognised by.
        continues: Which returned states it may continue from, and what the model did to them in between.
        kernel_dtype: What it was computed in.
        trained: Names of the layers whose `weight_hh` needed a gradient.
        problem: What went wrong when a gradient came back.
        number: Its number among all calls of the recording.
    """

    selection: Selection
    inputs: Tensor
    initial: tuple[Tensor, ...]
    dtype: torch.dtype
    batch_axis = 0

    @property
    def batch(self) -> int:
        """Sequences of the batch, followed or not."""
        return self.selection.batch

    def __init__(
        self,
        before: Sequence[Tensor | None],
        after: Sequence[Tensor],
        results: Iterable[Tensor],
        lineage: Lineage,
        axis: int | None,
    ) -> None:
        self._unbatched = axis is None
        self._link, self.left = lineage.add(before, after, axis)
        self.is_spread = False
        self.present: Tensor | None = None
        self.grads = GradSums()
        self.had_grad = any(result.requires_grad for result in results)
        self.kernel_dtype = _kernel_dtype(after[0])
        self.is_second_pass = False
        self.differentiated_twice = False
        self.elsewhere: Tensor | None = None
        given = [state for state in before if state is not None]
        self.state_on_graph = any(state.requires_grad for state in given)
        self.continues = [Link(identity(given))] if len(given) == len(after) else []
        self.ends: list[Identity] = [identity(after)]
        self._alive = [state.detach() for state in after]  # so that no other tensor takes their memory
        self._handles: list[Any] = []
        self.trained: set[str] = set()
        self.problem = ""
        self.number = 0

    @abstractmethod
    def state(self, state: Tensor) -> Tensor:
        """Return the followed sequences of a part of the state, in the form of the copies."""

    def _continue_from_link(self) -> None:
        """Remember which earlier call it continues, if the state that it was given is not the very one returned."""
        self.continues += [] if self._link is None else [self._link.read(self.state)]
        self._link = None

    def take_grad_of(self, name: str, tensor: Tensor, read: Callable[[Tensor], Tensor]) -> None:
        """Take the total gradient of a tensor on the graph when it comes, `read` into the form of the copies."""
        if tensor.requires_grad:
            self._handles.append(tensor.register_hook(partial(self.take_grad, name, read)))

    def take_grad(self, name: str, read: Callable[[Tensor], Tensor], grad: Tensor | None) -> None:
        """Add a gradient that came back; a kernel with several results may send None for one that nobody used."""
        try:
            self.differentiated_twice |= torch.is_grad_enabled()
            if grad is None:
                return
            grad = grad.detach()
            self.grads.add(name, read(grad))
            if not self.selection.complete:
                anywhere = grad.any()
                self.elsewhere = anywhere if self.elsewhere is None else self.elsewhere | anywhere
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Note that a gradient could not be read, for the coverage table: raised, it would end the backward pass."""
        if lets_errors_through():
            raise error
        self.problem = f"a gradient could not be read: {described(error)}"

    def replaces_first_pass(self, first_pass: Call) -> None:
        """Replace the call recorded in a checkpoint's first pass: keep its number, and answer to its returned state."""
        self.is_second_pass = True
        self.number = first_pass.number
        self.ends += [tuple((*seen, True) for *seen, _ in end) for end in first_pass.ends]  # type: ignore[misc]
        self._alive += first_pass._alive

    def release(self) -> None:
        """Hold none of the model's memory any longer."""
        self._alive = []
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def selected(self, sequences: int | None) -> Selection:
        """Return which of the batch's sequences are meant by a number of them, as far as they were copied."""
        if not self.selection.complete:
            return self.selection
        return Selection(self.batch, sequences, self.inputs.device, self.left)

    @property
    def numbers(self) -> Tensor:
        """Which sequences were copied, by their numbers in the batch that this or an earlier call began with."""
        return self.selection.indices if self.left is None else self.left.numbers[self.selection.indices]

    def rows(self, sequences: int | None) -> Callable[[Tensor], Tensor]:
        """Return what picks these sequences of a copy."""
        selection = self.selected(sequences)
        if len(selection.indices) == len(self.selection.indices):
            return lambda copied: copied
        return partial(torch.index_select, dim=self.batch_axis, index=selection.indices)

    def restricted(self, sequences: int | None) -> Self:
        """Return the call as seen of some of its sequences; the call itself if no more were copied."""
        selection = self.selected(sequences)
        if len(selection.indices) == len(self.selection.indices):
            return self
        some = copy.copy(self)
        some.selection = selection
        some._restrict(self.rows(sequences))
        some.elsewhere = self.grads.any()
        return some

    def among(self, numbers: Tensor, previous: Self | None) -> Self:
        """Return the call with all sequences that an earlier one began with: those that have ended take no part in it.

        Args:
            numbers: Those sequences, see `numbers`.
            previous: The call before, in the same form; None for the first.
        """
        some, spread = copy.copy(self), Spread(self.numbers, numbers, self.batch_axis)
        some.is_spread = True
        some.present = None if bool(spread.present.all()) else spread.present
        some._spread(spread, previous)
        return some

    def _restrict(self, rows: Callable[[Tensor], Tensor]) -> None:
        self.inputs = rows(self.inputs)
        self.initial = tuple(map(rows, self.initial))
        self.grads = self.grads.read(rows)

    def _spread(self, spread: Spread, previous: Self | None) -> None:
        self.inputs = spread(self.inputs)
        self.initial = tuple(map(spread, self.initial))
        self.grads = self.grads.read(spread)


AnyCall = TypeVar("AnyCall", bound=Call)


class LayerCall(Call):
    """One call of a stack of layers.

    Attributes:
        inputs: `[T, B, I]`, time first, the followed sequences in the caller's order.
        initial: `[layers · directions, B, ·]` for each part of the state.
        output: `[T, B, directions · P]` of the last layer.
        mask: `[T, B]` or None when every step is valid.
        weights: Detached copies, by layer suffix.
        grads: `output`, `hidden`, `cell` (of the final state) and, for the self-check, `input`.
        precision: What it was computed in.
        masks: Dropout masks between layers, by the layer that they feed: one for each of its directions, or one that
            all share. None if a mask is not known.
        drawn: What the equations of each layer drew, `[T, B, drawn_size]` by its suffix.
    """

    batch_axis = 1

    def __init__(
        self,
        module: nn.RNNBase,
        arguments: tuple[Any, Any],
        result: Any,
        weights: dict[str, Weights],
        sequences: int | None,
        has_cell: bool,
        lineage: Lineage,
    ) -> None:
        input, hx = arguments
        output, final = result
        final = tuple(final) if has_cell else (final,)
        states = (None,) * len(final) if hx is None else tuple(hx) if has_cell else (hx,)
        data = output.data if isinstance(output, PackedSequence) else output
        packing = Packing.of(_detached(input), module.batch_first, type(module).__name__)
        super().__init__(states, final, (data, *final), lineage, None if packing.unbatched else self.batch_axis)
        self.selection = Selection(packing.batch, sequences, packing.data.device, self.left)
        self.dtype = trace_dtype(next(iter(weights.values())).weight_hh.dtype)
        self.weights = weights
        self.precision = Precision.of(module._flat_weights[0])  # type: ignore[arg-type]
        self.masks: dict[int, tuple[Tensor, ...]] | None = {}
        self.drawn: dict[str, Tensor] = {}
        self._batch_first = module.batch_first
        self._columns = _columns(packing, self.selection)
        self.inputs = self._steps(packing)
        mask = packing.mask
        self.mask = None if mask is None else mask[:, self._columns]
        self.initial = tuple(
            self.state(torch.zeros_like(last) if given is None else given)
            for given, last in zip(states, final, strict=True)
        )
        self.output = self._steps(Packing.of(_detached(output), module.batch_first, ""))
        self.take_grad_of("output", data, partial(self._steps_of, _packed_as(output)))
        for name, state in zip(("hidden", "cell"), final, strict=False):
            self.take_grad_of(name, state, self.state)
        self._input_packed_as = _packed_as(input)
        self._continue_from_link()

    def chosen_masks(self, masks: list[tuple[Any, ...]]) -> dict[int, tuple[Tensor, ...]]:
        """Return the followed sequences' dropout masks, by the layer that they feed."""
        return {
            layer: tuple(self._steps(Packing.of(mask, False, "")) for mask in by_direction)
            for layer, by_direction in enumerate(masks, start=1)
        }

    def keep_drawn(self, drawn: dict[str, Tensor]) -> None:
        """Copy what the equations drew for the followed sequences."""
        self.drawn = {suffix: self._steps(Packing.of(numbers, False, "")) for suffix, numbers in drawn.items()}

    def state(self, state: Tensor) -> Tensor:
        """Return the followed sequences of a part of the state, in the form of the copies."""
        state = state.detach()
        return (state.unsqueeze(1) if self._unbatched else state)[:, self.selection.indices].to(self.dtype)

    def in_double(self, output: Tensor) -> LayerCall:
        """Return the call as if it had been recorded in double precision and had returned `output`."""
        exact = copy.copy(self)
        exact.dtype, exact.output = output.dtype, output
        exact.inputs = self.inputs.double()
        exact.initial = tuple(part.double() for part in self.initial)
        exact.weights = {suffix: weights.to(torch.float64) for suffix, weights in self.weights.items()}
        exact.grads = self.grads.read(lambda grad: grad.double())
        return exact

    def read_input_grad(self, steps: Tensor) -> Tensor:
        """Return the followed sequences of the input's gradient, `[T, B, I]`."""
        return self._steps_of(self._input_packed_as, steps)

    def _steps_of(self, packed_as: tuple[Any, ...] | None, steps: Tensor) -> Tensor:
        """Return steps that come in the form of the input or output: packed as it is, or a plain tensor."""
        given = steps if packed_as is None else PackedSequence(steps, *packed_as)
        return self._steps(Packing.of(given, self._batch_first, ""))

    def _steps(self, packing: Packing) -> Tensor:
        return packing.padded()[:, self._columns].to(self.dtype)

    def _restrict(self, rows: Callable[[Tensor], Tensor]) -> None:
        super()._restrict(rows)
        self.output = rows(self.output)
        self.drawn = {suffix: rows(numbers) for suffix, numbers in self.drawn.items()}
        self.mask = None if self.mask is None else rows(self.mask)
        if self.masks is not None:
            self.masks = {layer: tuple(map(rows, masks)) for layer, masks in self.masks.items()}

    def _spread(self, spread: Spread, previous: Self | None) -> None:
        super()._spread(spread, previous)
        if self.mask is not None or not bool(spread.present.all()):
            valid = self.output.new_ones(self.output.shape[:2], dtype=torch.bool) if self.mask is None else self.mask
            self.mask = spread(valid)
        self.output = spread(self.output)
        self.drawn = {suffix: spread(numbers) for suffix, numbers in self.drawn.items()}
        if self.masks is not None:
            self.masks = {layer: tuple(map(spread, masks)) for layer, masks in self.masks.items()}


class StepCall(Call):
    """One call of a cell: copies of what went in and out, and the total gradients of the state that came out.

    Args:
        seen: Its input `[B, *]`, or `[I]` without a batch, and its states before and after.
        weights: Its parameters, or None without equations.
        sequences: How many of the batch are copied; None for all.
        lineage: The module's earlier calls.

    Attributes:
        after: Copies of each part of the state that it returned, by name.
        hidden_is_made_of_memory: Whether the very memory cell returned is on the graph of the hidden state, so that its
            gradient holds what came through the hidden state. A fused kernel, or a view, keeps the two apart.
    """

    def __init__(
        self,
        seen: SeenStep,
        weights: Weights | None,
        sequences: int | None,
        lineage: Lineage,
    ) -> None:
        input, before, after, self._state_axis = seen
        returned = tuple(after.values())
        unbatched = input.dim() == 1
        super().__init__(before, returned, returned, lineage, None if unbatched else self._state_axis)
        self.dtype = trace_dtype(returned[0].dtype if weights is None else weights.weight_hh.dtype)
        self.weights = weights
        self.selection = Selection(1 if self._unbatched else input.shape[0], sequences, input.device, self.left)
        self.inputs = self._rows(input, 0)
        self.initial = tuple(
            self.state(torch.zeros_like(new) if old is None else old) for old, new in zip(before, returned, strict=True)
        )
        self.after = {name: self.state(state) for name, state in after.items()}
        self.hidden_is_made_of_memory = len(returned) == 2 and leads_to(*returned, (input, list(before)))
        for name, state in after.items():
            self.take_grad_of(name, state, self.state)
        self._continue_from_link()

    def state(self, state: Tensor) -> Tensor:
        """Return the followed sequences of a part of the state, in the form of the copies: the batch first."""
        return self._rows(state, self._state_axis)

    def _rows(self, rows: Tensor, axis: int) -> Tensor:
        rows = rows.detach()
        dtype = self.dtype if self.weights is not None else trace_dtype(rows.dtype)
        return (rows.unsqueeze(0) if self._unbatched else rows.movedim(axis, 0))[self.selection.indices].to(dtype)

    def grad_of(self, name: str) -> Tensor:
        """Return the total gradient of a part of the state that it returned; zeros where none came."""
        grad = self.grads.get(name)
        return torch.zeros_like(self.after[name]) if grad is None else grad

    def _restrict(self, rows: Callable[[Tensor], Tensor]) -> None:
        super()._restrict(rows)
        self.after = {name: rows(state) for name, state in self.after.items()}

    def _spread(self, spread: Spread, previous: Self | None) -> None:
        given = self.initial
        super()._spread(spread, previous)
        if previous is None:
            self.after = {name: spread(state) for name, state in self.after.items()}
        else:
            held = previous.after
            self.initial = tuple(spread(one, last) for one, last in zip(given, held.values(), strict=True))
            self.after = {name: spread(state, held[name]) for name, state in self.after.items()}


def _kernel_dtype(result: Tensor) -> torch.dtype:
    """Return what a result was computed in: under autocast a kernel may give back more digits than it has."""
    kind = result.device.type
    if kind == "meta":
        raise RuntimeError("it ran on the meta device, where there are shapes and no numbers")
    if result.dtype == torch.float64 or not torch.is_autocast_enabled(kind):
        return result.dtype
    return torch.get_autocast_dtype(kind)


def trace_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype that measures are taken in: double precision stays, everything else becomes single."""
    if dtype.is_complex:
        return torch.complex128 if dtype == torch.complex128 else torch.complex64
    return torch.float64 if dtype == torch.float64 else torch.float32


def _columns(packing: Packing, selection: Selection) -> Tensor:
    """Return where the followed sequences are in the order of the kernel's batch."""
    order = packing.unsorted_indices
    return selection.indices if order is None else order[selection.indices]


def _packed_as(steps: Any) -> tuple[Any, ...] | None:
    return tuple(steps[1:]) if isinstance(steps, PackedSequence) else None


def _detached(input: Any) -> Any:
    if isinstance(input, PackedSequence):
        return PackedSequence(input.data.detach(), *input[1:])
    return input.detach()
