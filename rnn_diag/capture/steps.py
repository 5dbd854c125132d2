"""Cells called step by step in a loop, chained into one trace by the identity of the state that they hand on."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from rnn_diag.capture.fidelity import leads_to
from rnn_diag.capture.noted import NotedCall, Selection, trace_dtype
from rnn_diag.cells.equations import State
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.sweep import Swept
from rnn_diag.engine.unroll import Unrolled
from rnn_diag.trace import Trace, in_full_precision


class StepCall(NotedCall):
    """One call of a cell: copies of what went in and out, and the total gradients of the state that came out.

    Attributes:
        after: Copies of each part of the state that it returned.
        hidden_is_made_of_memory: Whether the very memory cell returned is on the graph of the hidden state, so that its
            gradient holds what came through the hidden state. A fused kernel, or a view, keeps the two apart.
    """

    def __init__(self, arguments: tuple[Any, Any], result: Any, weights: Weights | None, sequences: int | None) -> None:
        input, hx = arguments
        after = tuple(result) if isinstance(result, tuple) else (result,)
        after = tuple(state for state in after if state is not None)
        before = (None,) * len(after) if hx is None else tuple(hx) if isinstance(hx, (tuple, list)) else (hx,)
        super().__init__(before, after, after)
        self.unbatched = input.dim() == 1
        self.dtype = trace_dtype(after[0].dtype if weights is None else weights.weight_hh.dtype)
        self.weights = weights
        self.selection = Selection(1 if self.unbatched else input.shape[0], sequences, input.device)
        self.inputs = self._chosen(input)
        self.initial = tuple(
            self._chosen(torch.zeros_like(new) if old is None else old) for old, new in zip(before, after, strict=True)
        )
        self.after = tuple(self._chosen(state) for state in after)
        self.hidden_is_made_of_memory = len(after) == 2 and leads_to(after[0], after[1], (input, before))
        for name, state in zip(("hidden", "cell"), after, strict=False):
            self.take_grad_of(name, state, self._chosen)

    def _chosen(self, rows: Tensor) -> Tensor:
        rows = rows.detach()
        return (rows.unsqueeze(0) if self.unbatched else rows)[self.selection.indices].to(self.dtype)


class StepwiseTrace(Trace):
    """A trace of a cell's calls. Autograd itself gave the total gradients; the sweep splits them."""

    def __init__(self, layer: str, calls: list[StepCall], **options: Any) -> None:
        self._calls = calls
        first = calls[0]
        super().__init__(
            layer,
            weights=first.weights,  # type: ignore[arg-type]
            inputs=torch.stack([call.inputs for call in calls]),
            initial=State(*first.initial),
            hidden=torch.stack([call.after[0] for call in calls]),
            sequences=first.selection.indices,
            **options,
        )
        self.was_frozen = layer not in first.trained

    @property
    def has_gradients(self) -> bool:
        """Whether a backward pass reached any step."""
        return any(call.grads for call in self._calls)

    @cached_property
    @in_full_precision
    def swept(self) -> Swept:
        """The gradients of all steps: one adjoint for all at once, since every total is known."""
        if not self.has_gradients:
            raise self._no_gradients()
        hidden = self._totals("hidden", 0)
        cell = self._totals("cell", 1) if self.equations.has_cell else None
        unrolled, weights = self.unrolled, self.weights
        previous = State(unrolled.previous_hidden, unrolled.previous_cell)
        emitted_grad = hidden if weights.weight_hr is None else hidden @ weights.weight_hr
        adjoint = self.equations.adjoint(unrolled.steps, previous, emitted_grad, None, weights)
        if cell is not None and adjoint.cell_grad is not None:
            inside = torch.tensor([call.hidden_is_made_of_memory for call in self._calls], device=cell.device)
            through_time = torch.where(inside.view(-1, 1, 1), cell - adjoint.cell_grad, cell)
            cell = adjoint.cell_grad + through_time
            adjoint = self.equations.adjoint(unrolled.steps, previous, emitted_grad, through_time, weights)
        back = adjoint.recurrent_grad @ weights.weight_hh
        if adjoint.previous_hidden_grad is not None:
            back = back + adjoint.previous_hidden_grad
        recurrent = torch.cat((back[1:], torch.zeros_like(back[:1])))
        previous_cell_grad = adjoint.previous_cell_grad
        initial = State(back[0], None if previous_cell_grad is None else previous_cell_grad[0])
        return Swept(
            hidden, recurrent, cell, adjoint.projected_grad, adjoint.recurrent_grad, initial, hidden - recurrent
        )

    def _totals(self, name: str, part: int) -> Tensor:
        grads = ((call.grads.get(name), call.after[part]) for call in self._calls)
        return torch.stack([torch.zeros_like(state) if grad is None else grad for grad, state in grads])


class HiddenOnlyTrace(Trace):
    """A trace of a registered cell without equations: hidden states and their total gradients, from autograd."""

    def __init__(self, layer: str, module_type: str, calls: list[StepCall]) -> None:
        self._calls = calls
        self._module_type = module_type
        first = calls[0]
        super().__init__(
            layer,
            equations=None,  # type: ignore[arg-type]
            weights=None,  # type: ignore[arg-type]
            inputs=torch.stack([call.inputs for call in calls]),
            initial=State(*first.initial),
            hidden=torch.stack([call.after[0] for call in calls]),
            sequences=first.selection.indices,
            fidelity=_unchecked,
        )

    @property
    def has_gradients(self) -> bool:
        """Whether a backward pass reached any step."""
        return any(call.grads for call in self._calls)

    @cached_property
    def hidden_grad(self) -> Tensor:
        """`∂L/∂h_t`, total."""
        if not self.has_gradients:
            raise self._no_gradients()
        grads = ((call.grads.get("hidden"), call.after[0]) for call in self._calls)
        return torch.stack([torch.zeros_like(state) if grad is None else grad for grad, state in grads])

    @property
    def cell(self) -> Tensor | None:
        """None: what else the state holds is not known."""
        return None

    cell_grad = cell

    @property
    def unrolled(self) -> Unrolled:
        """Nothing: the equations are not known."""
        raise RuntimeError(
            f"{self.layer!r}: {self._module_type} was registered without equations, so only hidden and hidden_grad are "
            "known; give rnn_diag.register(..., equations=...)"
        )

    swept = unrolled  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Trace({self.layer}: {self._module_type} without equations, {len(self.inputs)} steps)"


def _unchecked(trace: Trace) -> tuple[None, str]:
    return None, "registered without equations: there is nothing to check"
