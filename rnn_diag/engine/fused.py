"""Equations over time by our own kernels: *persistent*, one launch for all steps, or *stepwise*, one between products.

Both give what `unroll` and `sweep` give, and take the same arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnn_diag.cells.equations import Equations, State, Step
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.elementwise import ElementwiseStep, known_step
from rnn_diag.engine.engine import Engine
from rnn_diag.engine.kernels import Kernel, backward_kernel, forward_kernel, has_triton, is_interpreted
from rnn_diag.engine.sweep import Swept
from rnn_diag.engine.unroll import Unrolled, zero_at_padding

_BLOCK = 256
_ON_CHIP = 4 * 128 * 128
"""Weights in single precision that a program can hold: more than a multiprocessor's registers, with its cache."""
_WEIGHTS_PER_THREAD = 128
_INDICES = 2**31


@dataclass(frozen=True)
class Fused(Engine):
    """An engine for one recurrence, in one of two forms.

    Attributes:
        step: The recurrence, as statements.
        persistent: Whether one launch runs all steps.
    """

    step: ElementwiseStep
    persistent: bool

    @property
    def key(self) -> tuple[str, bool]:
        """What tells it from others that do something else."""
        return self.step.key, self.persistent

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
        """Return what `rnn_diag.engine.unroll.unroll` returns."""
        if mask is not None:
            inputs = zero_at_padding(inputs, mask)
        projected = torch.nn.functional.linear(inputs, weights.weight_ih, weights.bias_ih).to(weights.weight_hh.dtype)
        run = _Forward(self.step, weights, projected.contiguous(), initial, mask, keep_preactivations)
        run.persistently() if self.persistent else run.step_by_step()
        return run.unrolled(inputs)

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
        run = _Backward(self.step, weights, unrolled, hidden_grad_direct, final_grad)
        run.persistently() if self.persistent else run.step_by_step()
        return run.swept()


def statements_of(equations: Equations, weights: Weights) -> ElementwiseStep | None:
    """Return a recurrence as statements, or None where no kernel can be written."""
    if not has_triton() or not (weights.weight_hh.is_cuda or is_interpreted()):
        return None
    if weights.weight_hh.dtype not in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        return None
    return known_step(equations, weights) if weights.weight_hr is None else None  # a projection stands between steps


def fits_on_chip(step: ElementwiseStep, weights: Weights) -> bool:
    """Whether one program can hold the recurrent weights."""
    units = _padded(weights.weight_hh.shape[1])
    held = step.blocks * units * units * (2 if weights.weight_hh.dtype == torch.float64 else 1)
    return units <= 128 and held <= _ON_CHIP


def is_indexable(step: ElementwiseStep, steps: int, rows: int, units: int) -> bool:
    """Whether 32 bits count the elements of the largest tensor."""
    return steps * rows * units * step.blocks < _INDICES


def _padded(units: int) -> int:
    return max(16, 1 << (units - 1).bit_length())


def _warps(step: ElementwiseStep, padded: int) -> int:
    """Return how many warps hold the weights; four for 64 units of an LSTM or GRU, and never more than eight."""
    wanted = -(-step.blocks * padded * padded // (32 * _WEIGHTS_PER_THREAD))
    return min(1 << (wanted - 1).bit_length(), 8)


def _launch(kernel: Kernel, tensors: Mapping[str, Tensor], programs: int, sizes: tuple[int, ...], **meta: int) -> None:
    arguments = [tensors[name] for name in kernel.tensors]
    device = arguments[0].device
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernel.launch[(programs,)](*arguments, *sizes, **meta)


def _double(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float64


def _wide(tensor: Tensor) -> torch.dtype:
    """Return the dtype that a kernel computes in."""
    return torch.float64 if _double(tensor) else torch.float32


def _shared(step: ElementwiseStep, weights: Weights, mask: Tensor | None) -> dict[str, Tensor]:
    """Return what runs in both directions read."""
    found: dict[str, Tensor | None] = {"weight": weights.weight_hh, "bias": weights.bias_hh, "mask": mask}
    found |= {name: weights.extra[name] for name in step.extras}
    return {name: tensor.contiguous() for name, tensor in found.items() if tensor is not None}


class _Forward:
    """The tensors of one run forwards."""

    def __init__(
        self,
        step: ElementwiseStep,
        weights: Weights,
        projected: Tensor,
        initial: State,
        mask: Tensor | None,
        keep_preactivations: bool,
    ) -> None:
        self._step, self._weights, self._mask, self._initial = step, weights, mask, initial
        self._steps, self._batch, _ = projected.shape
        self._units = weights.weight_hh.shape[1]
        self._stored = step.stored if keep_preactivations else step.stored_in_training
        self._tensors = _shared(step, weights, mask) | {"projected": projected}
        self._transposed = weights.weight_hh.T
        for state, first in zip(("hidden", "cell"), initial, strict=True):
            if first is not None:
                self._tensors[f"initial_{state}"] = first.contiguous()
                self._tensors[f"{state}_out"] = projected.new_empty(self._steps, self._batch, self._units)
        for name in self._stored:
            width = len(step.forward.outputs[name])
            self._tensors[f"{name}_out"] = projected.new_empty(self._steps, self._batch, width * self._units)

    def _kernel(self, persistent: bool, keeps_hidden: bool = True) -> Kernel:
        return forward_kernel(
            self._step,
            self._stored,
            persistent,
            self._mask is not None,
            self._weights.bias_hh is not None,
            keeps_hidden,
            _double(self._weights.weight_hh),
        )

    def persistently(self) -> None:
        padded = _padded(self._units)
        _launch(
            self._kernel(persistent=True),
            self._tensors | {"weight": self._transposed.contiguous()},
            self._batch,
            (self._steps, self._batch),
            H=self._units,
            PADDED=padded,
            num_warps=_warps(self._step, padded),
        )

    def step_by_step(self) -> None:
        kernel, out = self._kernel(persistent=False), self._tensors
        recurrent, transposed = torch.empty_like(out["projected"][0]), self._transposed
        before = {state: out[f"initial_{state}"] for state in self._states}
        over_time = [name for name in kernel.tensors if name.endswith("_out") or name in ("projected", "mask")]
        for t in range(self._steps):
            torch.mm(before["hidden"], transposed, out=recurrent)
            at = {name: out[name][t] for name in over_time}
            given = {"recurrent": recurrent, "previous_hidden": before["hidden"]}
            if "cell" in before:
                given["initial_cell"] = before["cell"]
            self._between(kernel, out | given | at, steps=1)
            before = {state: at[f"{state}_out"] for state in self._states}

    def from_states(self, recurrent: Tensor, previous_hidden: Tensor) -> None:
        """Run with given products and hidden states: all steps in one launch."""
        given = {"recurrent": recurrent.contiguous(), "previous_hidden": previous_hidden.contiguous()}
        self._between(self._kernel(persistent=False, keeps_hidden=False), self._tensors | given, self._steps)

    @property
    def _states(self) -> tuple[str, ...]:
        return ("hidden", "cell") if self._step.has_cell else ("hidden",)

    def _between(self, kernel: Kernel, tensors: Mapping[str, Tensor], steps: int) -> None:
        programs = -(-self._batch * self._units // _BLOCK)
        _launch(kernel, tensors, programs, (steps, self._batch), H=self._units, BLOCK=_BLOCK, num_warps=4)

    def unrolled(self, inputs: Tensor, hidden: Tensor | None = None) -> Unrolled:
        """Return what was run; the hidden states where they were given."""
        hidden = self._tensors["hidden_out"] if hidden is None else hidden
        cell = self._tensors.get("cell_out")
        values: dict[str, tuple[Tensor, ...]] = {
            kind: tuple(self._tensors[f"{name}_out"] for name in self._stored if name.startswith(kind))
            for kind in ("gate", "preactivation", "kept")
        }
        steps = Step(hidden, cell, values["gate"], values["preactivation"], values["kept"])
        return Unrolled(self._initial, hidden, cell, steps, self._mask, inputs)


class _Backward:
    """The tensors of one run backwards; targets and sequences are rows."""

    def __init__(
        self, step: ElementwiseStep, weights: Weights, unrolled: Unrolled, direct: Tensor, final: State | None
    ) -> None:
        self._step, self._weights, self._unrolled, self._direct = step, weights, unrolled, direct
        self._steps, self._batch, self._units = unrolled.hidden.shape
        self._rows = direct.shape[1:-1].numel()
        wide = _wide(direct)
        self._tensors = _shared(step, weights, unrolled.mask) | self._of_step()
        self._tensors["direct"] = direct.reshape(self._steps, self._rows, self._units).contiguous()
        self._tensors["back"] = self._last(None if final is None else final.hidden, wide)
        if step.has_cell:
            self._tensors["cell_back"] = self._last(None if final is None else final.cell, wide)
        widths = {"through_time": 1, "projected_grad": step.blocks}
        if not step.same_grads:
            widths["recurrent_grad"] = step.blocks
        if step.has_cell:
            widths["total_cell_grad"] = 1
        for name, width in widths.items():
            self._tensors[name] = direct.new_empty(self._steps, self._rows, width * self._units)

    def _of_step(self) -> dict[str, Tensor]:
        """Return what the adjoint reads of the run forwards."""
        steps = self._unrolled.steps
        found = {"emitted": steps.emitted, "new_cell": steps.cell}
        found |= {f"gate{k}": gate for k, gate in enumerate(steps.gates)}
        found |= {f"kept{k}": kept for k, kept in enumerate(steps.kept)}
        needed = self._step.backward.inputs
        found = {name: value for name, value in found.items() if name in needed}
        if "hidden" in needed:
            found["hidden"] = self._unrolled.previous_hidden
        if "cell" in needed:
            found["cell"] = self._unrolled.previous_cell
        return {name: value.contiguous() for name, value in found.items() if value is not None}

    def _last(self, grad: Tensor | None, dtype: torch.dtype) -> Tensor:
        shape = self._direct.shape[1:]
        if grad is None:
            return self._direct.new_zeros(self._rows, self._units, dtype=dtype)
        return grad.expand(shape).reshape(self._rows, self._units).to(dtype, copy=True)

    def _kernel(self, persistent: bool) -> Kernel:
        return backward_kernel(
            self._step, persistent, self._unrolled.mask is not None, _double(self._weights.weight_hh)
        )

    def persistently(self) -> None:
        padded = _padded(self._units)
        _launch(
            self._kernel(persistent=True),
            self._tensors,
            self._rows,
            (self._steps, self._batch, self._rows),
            H=self._units,
            PADDED=padded,
            num_warps=_warps(self._step, padded),
        )

    def step_by_step(self) -> None:
        kernel, out = self._kernel(persistent=False), self._tensors
        back = out["back"].to(out["weight"].dtype)
        if passes := "passed" in kernel.tensors:
            out["passed"] = torch.zeros_like(out["back"])
        over_time = [name for name in kernel.tensors if name == "mask" or (name in out and out[name].dim() == 3)]
        recurrent = "projected_grad" if self._step.same_grads else "recurrent_grad"
        programs, sizes = -(-self._rows * self._units // _BLOCK), (1, self._batch, self._rows)
        for t in reversed(range(self._steps)):
            at = {name: out[name][t] for name in over_time}
            _launch(kernel, out | at | {"back": back}, programs, sizes, H=self._units, BLOCK=_BLOCK, num_warps=4)
            torch.mm(at[recurrent], out["weight"], out=back)
        out["back"] = back + out["passed"] if passes else back

    def swept(self) -> Swept:
        """Return what was run, with the axes of the request."""
        shape, found, dtype = self._direct.shape[:-1], self._tensors, self._direct.dtype

        def asked(name: str) -> Tensor:
            return found[name].reshape(*shape, -1)

        through, projected = asked("through_time"), asked("projected_grad")
        initial = [found["back"], found["cell_back"]] if self._step.has_cell else [found["back"]]
        return Swept(
            hidden_grad=self._direct + through,
            hidden_grad_recurrent=through,
            cell_grad=asked("total_cell_grad") if self._step.has_cell else None,
            projected_grad=projected,
            recurrent_grad=projected if self._step.same_grads else asked("recurrent_grad"),
            initial=State(*(grad.to(dtype).reshape(*shape[1:], self._units) for grad in initial)),
            hidden_grad_direct=self._direct,
        )


def steps_from_states(
    step: ElementwiseStep,
    weights: Weights,
    inputs: Tensor,
    initial: State,
    hidden: Tensor,
    mask: Tensor | None,
    products: tuple[Tensor, Tensor, Tensor],
) -> Unrolled:
    """Return what `unroll_from_states` returns, in one launch; `products` are projected, recurrent and `h_{t-1}`."""
    projected, recurrent, previous_hidden = products
    unbiased = replace(weights, bias_hh=None)
    run = _Forward(step, unbiased, projected.contiguous(), initial, mask, keep_preactivations=True)
    run.from_states(recurrent, previous_hidden)
    return run.unrolled(inputs, hidden)
