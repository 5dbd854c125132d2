"""What one recurrent layer went through in one call and one direction: states, gates and gradients, when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from rnn_diag.cells.equations import Equations, State, StepAdjoint
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.sweep import Swept
from rnn_diag.engine.unroll import Unrolled, back_to_front
from rnn_diag.pending import Pending
from rnn_diag.source import Fidelity, FoundGrads, LayerSource, OutputGrads, Source, forget_computed, in_full_precision
from rnn_diag.terminal.html import table

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from rnn_diag.reporting.figures.of_trace import Figures


__all__ = ["ByName", "OutputGrads", "Provenance", "Trace"]


KEPT = "provenance", "source", "mask", "_mask_pending", "_mask_on_cpu", "_checking", "_checked"
"""What a trace holds for good."""


class ByName(dict[str, Tensor]):
    """Dict of tensors by gate name; its KeyError lists the valid names."""

    def __missing__(self, name: str) -> Tensor:
        raise KeyError(f"no gate, block or state is called {name!r}; found: {', '.join(self) or 'none'}")


@dataclass(frozen=True)
class Provenance:
    """Where a trace was taken.

    Attributes:
        layer: `<module path>.l<k>[_reverse]`.
        module_type: The class of the module.
        sequences: `[B]` which of the batch's sequences were followed, or None for all, in order.
        order: Number of its first call among all calls of the recording.
        on_graph: Whether a graph was built when it was recorded.
        state_on_graph: Whether the state that it started from was on the graph: the gradient continues, uncut, into
            what made that state.
        state_changed_between_calls: Whether the model made the state that a call was given from the one that the call
            before returned in a way that cannot be followed unit by unit: total gradients are exact, and what single
            losses send back past such a call is not known (NaN).
        is_piece: Whether the state came from another trace of the layer, or went on into one, in a way that is not
            followed: it branches, is made of several, or continues with other sequences than those that were returned.
        frozen: Whether its `weight_hh` needed no gradient.
        kernel_dtype: What it was computed in: under autocast a kernel may return more digits than it has.
    """

    layer: str
    module_type: str = ""
    sequences: Int[Tensor, " batch"] | None = None
    order: int = 0
    on_graph: bool = False
    state_on_graph: bool = False
    state_changed_between_calls: bool = False
    is_piece: bool = False
    frozen: bool = False
    kernel_dtype: torch.dtype = torch.float64

    @property
    def half_precision(self) -> bool:
        """Whether the layer was computed in float16 or bfloat16."""
        return self.kernel_dtype in (torch.float16, torch.bfloat16)


@final
class Trace:
    """What one recurrent layer went through in one call and one direction.

    Time first, the batch in the caller's order, every tensor detached. Steps are those of the input: in a reverse
    direction `hidden[t]` is the state after reading step `t`, which was reached from step `t+1`. Gradients are total
    derivatives of the loss that was differentiated while recording, as autograd would leave them on the tensors of an
    unrolled graph; they are zero at padding. Values at padding mean nothing: use `mask`.

    Attributes:
        provenance: Where it was taken.
        source: Where its numbers come from.
    """

    def __init__(self, provenance: Provenance, source: Source) -> None:
        """Hold what was seen; compute nothing."""
        self.provenance = provenance
        self.source = source

    @classmethod
    def of(
        cls,
        layer: str,
        equations: Equations,
        weights: Weights,
        inputs: Float[Tensor, "time batch features"],
        initial: State,
        mask: Bool[Tensor, "time batch"] | None = None,
        hidden: Float[Tensor, "time batch projected"] | None = None,
        output_grads: FoundGrads | Callable[[], FoundGrads] = None,
        reverse: bool = False,
    ) -> Trace:
        """Return the trace that equations, weights and inputs determine, without a recording.

        Args:
            layer: Its name.
            equations: The recurrence.
            weights: Its parameters.
            inputs: What it is fed.
            initial: The state before the first step read.
            mask: Valid steps, at the front of every sequence, or None when all are.
            hidden: The states it had, when they are known; they are computed otherwise.
            output_grads: What reached it from outside, or a function that finds out; without, there are no gradients.
            reverse: Whether time is read from the end.

        Example:
            >>> from rnn_diag.cells import RNNEquations
            >>> one = torch.ones(1, 1)
            >>> doubling = Weights(weight_ih=one, weight_hh=2 * one)
            >>> trace = Trace.of("l0", RNNEquations("identity"), doubling, torch.zeros(3, 1, 1), State(one))
            >>> trace.hidden.flatten().tolist()
            [2.0, 4.0, 8.0]
        """
        source = LayerSource(equations, weights, inputs, initial, mask, hidden, output_grads, reverse)
        return cls(Provenance(layer, kernel_dtype=inputs.dtype), source)

    @property
    def layer(self) -> str:
        """`<module path>.l<k>[_reverse]`."""
        return self.provenance.layer

    @property
    def sequences(self) -> Int[Tensor, " batch"]:
        """Which of the batch's sequences these are."""
        known = self.provenance.sequences
        return torch.arange(self.inputs.shape[1]) if known is None else known

    @property
    def has_equations(self) -> bool:
        """Whether the recurrence is known; if not, only `states` and `state_grads` are."""
        return self.source.equations is not None

    @property
    def equations(self) -> Equations:
        """The recurrence.

        Raises:
            RuntimeError: If the cell was registered without equations.
        """
        if self.source.equations is None:
            raise self._no_equations()
        return self.source.equations

    @property
    def weights(self) -> Weights:
        """Its parameters, as they were.

        Raises:
            RuntimeError: If the cell was registered without equations.
        """
        if self.source.weights is None:
            raise self._no_equations()
        return self.source.weights

    @property
    def inputs(self) -> Float[Tensor, "time batch *features"]:
        """What the layer was fed; behind its features stands what a recurrence such as zoneout drew for the call."""
        return self.source.inputs

    @property
    def reverse(self) -> bool:
        """Whether time was read from the end."""
        return self.source.reverse

    @cached_property
    def mask(self) -> Bool[Tensor, "time batch"]:
        """Valid steps."""
        known, inputs = self.source.mask, self.inputs
        return torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device) if known is None else known

    @cached_property
    def _mask_pending(self) -> Pending[Tensor]:
        return Pending([self.mask], lambda mask: mask)

    @cached_property
    def _mask_on_cpu(self) -> Tensor:
        return self._mask_pending.here()

    def mask_with(self, values: Tensor) -> Bool[Tensor, "time batch"]:
        """Return the valid steps where values are that were measured: on their device, or on the CPU."""
        return self.mask if values.device == self.mask.device else self._mask_on_cpu.to(values.device)

    @cached_property
    def lengths(self) -> Int[Tensor, " batch"]:
        """Valid steps of every sequence."""
        return self.mask.sum(0)

    @property
    def initial_hidden(self) -> Float[Tensor, "batch *projected"]:
        """The hidden state before the first step read."""
        return self.source.initial.hidden

    @property
    def initial_cell(self) -> Float[Tensor, "batch *hidden"] | None:
        """The memory before the first step read, or None for a recurrence without one."""
        return self.source.initial.cell

    @cached_property
    def states(self) -> dict[str, Tensor]:
        """Every part of the state after each step, `[T, B, *]` by name; `hidden` and `cell` are two of them."""
        return ByName({name: self._in_time(values) for name, values in self.source.states.items()})

    @cached_property
    def state_grads(self) -> dict[str, Tensor]:
        """Total gradient of every part of the state, `[T, B, *]` by name.

        Raises:
            RuntimeError: If no backward pass ran while recording.
        """
        self._require_gradients()
        grads = self.source.state_grads
        return ByName({name: self._valid(self._in_time(values)) for name, values in grads.items()})

    @cached_property
    def hidden(self) -> Float[Tensor, "time batch *projected"]:
        """`h_t`."""
        return self._in_time(self.source.hidden)

    @cached_property
    def previous_hidden(self) -> Float[Tensor, "time batch projected"]:
        """The hidden state that step `t` started from: `h_{t-1}`, in a reverse direction `h_{t+1}`."""
        return self._in_time(self.unrolled.previous_hidden)

    @property
    def cell(self) -> Float[Tensor, "time batch *hidden"] | None:
        """`c_t`, or None for a recurrence without a memory cell."""
        return self.states.get("cell")

    @cached_property
    def previous_cell(self) -> Float[Tensor, "time batch hidden"] | None:
        """The memory that step `t` started from, or None."""
        before = self.unrolled.previous_cell
        return None if before is None else self._in_time(before)

    @cached_property
    def gates(self) -> dict[str, Tensor]:
        """Gate `[T, B, H]` by name; LSTM: input, forget, candidate, output; GRU: reset, update, candidate."""
        activations = self.unrolled.steps.gates
        pairs = zip(self.equations.gates, activations, strict=True)
        return ByName({gate.name: self._in_time(values) for gate, values in pairs})

    @cached_property
    def preactivations(self) -> dict[str, Tensor]:
        """What the gates' nonlinearities are applied to, `[T, B, H]` by name; a plain RNN has one, `hidden`."""
        preactivations = self.unrolled.steps.preactivations
        pairs = zip(self.equations.blocks, preactivations, strict=True)
        return ByName({block.name: self._in_time(values) for block, values in pairs})

    @property
    @in_full_precision
    def recurrent_weights(self) -> dict[str, Tensor]:
        """The recurrent map of every block `[H, H]`, by name: `W_hh`, with `proj_size` times `W_hr`."""
        return ByName(self.equations.recurrent_maps(self.weights))

    @property
    def has_gradients(self) -> bool:
        """Whether a backward pass reached this layer."""
        return self.source.has_gradients

    @property
    def why_no_gradients(self) -> str:
        """Why there are no gradients, where there are none."""
        return self.source.no_gradients

    @property
    def unfollowed_have_gradient(self) -> bool:
        """Whether the gradients of all followed sequences are zero while others of their batch have some."""
        return self.has_gradients and bool(self.source.unfollowed_have_gradient)

    @property
    def hidden_grad(self) -> Float[Tensor, "time batch *projected"]:
        """`∂L/∂h_t`, total: through the output at step `t` and through all later steps.

        Raises:
            RuntimeError: If no backward pass ran while recording.
        """
        return next(iter(self.state_grads.values()))

    @cached_property
    def hidden_grad_direct(self) -> Float[Tensor, "time batch projected"]:
        """The part of `∂L/∂h_t` that came through what was done with `h_t` outside this layer."""
        return self._valid(self._in_time(self.swept.hidden_grad_direct))

    @cached_property
    def hidden_grad_recurrent(self) -> Float[Tensor, "time batch projected"]:
        """The part of `∂L/∂h_t` that came through the next step read."""
        return self._valid(self._in_time(self.swept.hidden_grad_recurrent))

    @property
    def cell_grad(self) -> Float[Tensor, "time batch *hidden"] | None:
        """`∂L/∂c_t`, total, or None for a recurrence without a memory cell."""
        return self.state_grads.get("cell")

    @cached_property
    def preactivation_grad(self) -> dict[str, Tensor]:
        """Gradient of every pre-activation, `[T, B, H]` by name."""
        blocks = self.equations.by_block(self._preactivation_grad(), dim=-1)
        return ByName({name: self._valid(self._in_time(grad)) for name, grad in blocks.items()})

    @in_full_precision
    def _preactivation_grad(self) -> Tensor:
        unrolled, swept, weights = self.unrolled, self.swept, self.weights
        adjoint = StepAdjoint(swept.projected_grad, swept.recurrent_grad, swept.cell_grad)
        emitted_grad = swept.hidden_grad if weights.weight_hr is None else swept.hidden_grad @ weights.weight_hr
        before = State(unrolled.previous_hidden, unrolled.previous_cell)
        return self.equations.preactivation_grad(unrolled.steps, before, adjoint, emitted_grad, weights)

    @property
    def fidelity(self) -> float | None:
        """Relative error of the self-check against what autograd gave; None where there is nothing to check."""
        return self._checked.error

    @property
    def fidelity_reason(self) -> str:
        """What `fidelity` was checked against, or why it could not be."""
        return self._checked.reason

    @property
    def tolerance(self) -> float:
        """Largest `fidelity` that rounding explains."""
        return self._checked.tolerance

    @property
    def rounding(self) -> float | None:
        """Relative difference that the kernel's rounding makes to the gradient that the training gets.

        A network that expands amplifies it. None where it cannot be told from `fidelity`, which then holds it.
        """
        return self._checked.rounding

    @property
    def precision(self) -> str:
        """What `rounding` is due to: `TF32`, `bfloat16`, …; empty without it."""
        return self._checked.precision

    @property
    def is_faithful(self) -> bool | None:
        """Whether the self-check came out within its tolerance; None where there is nothing to check."""
        return None if self.fidelity is None else self.fidelity <= self.tolerance

    @cached_property
    @in_full_precision
    def _checked(self) -> Fidelity:
        return self._checking.here()

    @cached_property
    @in_full_precision
    def _checking(self) -> Pending[Fidelity]:
        return self.source.check()

    def send(self) -> None:
        """Begin to bring to the CPU what is read of this trace there: valid steps, and what the self-check compares."""
        self._mask_pending.send()
        self._checking.send()

    def forget(self) -> None:
        """Drop what can be computed again; what was sent stays."""
        for name in [name for name in self.__dict__ if name not in KEPT]:
            del self.__dict__[name]
        forget_computed(self.source)

    @property
    def unrolled(self) -> Unrolled:
        """What the recurrence went through, in processing order.

        Raises:
            RuntimeError: If the cell was registered without equations.
        """
        if not self.has_equations:
            raise self._no_equations()
        return self.source.unrolled

    @property
    def swept(self) -> Swept:
        """The gradients of one sweep, in processing order.

        Raises:
            RuntimeError: If no backward pass ran while recording, or the cell was registered without equations.
        """
        if not self.has_equations:
            raise self._no_equations()
        self._require_gradients()
        return self.source.swept

    @cached_property
    def nothing_swept(self) -> Swept:
        """The sweep of no gradient at all."""
        return self.sweep(torch.zeros_like(self.unrolled.hidden))

    @property
    @in_full_precision
    def input_grad(self) -> Float[Tensor, "time batch features"]:
        """`∂L/∂x_t`: the part of the input's gradient that comes through this layer."""
        found = self.equations.input_grad(self.swept.projected_grad, self.weights, self.inputs.shape[-1])
        return self._valid(self._in_time(found))

    @property
    @in_full_precision
    def recurrent_weight_grad(self) -> Float[Tensor, "..."]:
        """`Σ_t δ_t h_{t-1}^T`, over these sequences: the gradient of `weight_hh`."""
        product, before = self.equations.recurrent_product, self.unrolled.previous_hidden
        return product.weight_grad(self.swept.recurrent_grad, before, self.weights.weight_hh)

    @property
    @in_full_precision
    def input_weight_grad(self) -> Float[Tensor, "..."]:
        """`Σ_t δ_t x_t^T`, over these sequences: the gradient of `weight_ih`."""
        inputs = self._valid(self._in_time(self.inputs))  # in the order in which they were read
        inputs = self.equations.features(inputs, self.weights)
        return self.equations.input_product.weight_grad(self.swept.projected_grad, inputs, self.weights.weight_ih)

    def sweep(
        self, hidden_grad_direct: Float[Tensor, "time *others batch projected"], final: State | None = None
    ) -> Swept:
        """Run this layer's adjoint on other gradients than the recorded ones, in processing order.

        Axes between time and batch carry several at once: one target each, one direction each.
        """
        with torch.no_grad(), torch.autocast(self.inputs.device.type, enabled=False):
            return self.source.sweep(hidden_grad_direct, final)

    def _require_gradients(self) -> None:
        if not self.has_gradients:
            raise RuntimeError(f"{self.layer!r} has no gradients: {self.why_no_gradients}")

    def _no_equations(self) -> RuntimeError:
        return RuntimeError(
            f"{self.layer!r}: {self.provenance.module_type} is followed without equations, so only states and their "
            "total gradients are known: it was registered without, or has other weights at every call; "
            "give rnn_diag.register(..., equations=...)"
        )

    def _in_time(self, steps: Tensor) -> Tensor:
        return back_to_front(steps, self.source.mask) if self.reverse else steps

    def _valid(self, steps: Tensor) -> Tensor:
        padding = self.source.mask
        if padding is None:
            return steps
        return steps.masked_fill(~padding.view(*padding.shape, *[1] * (steps.dim() - 2)), 0.0)

    def __getstate__(self) -> dict[str, Any]:
        """Check now what would be checked later: a copy holds neither the recording nor the model."""
        known = {"_checked": self._checked, "_mask_on_cpu": self._mask_on_cpu}
        return {name: value for name, value in (self.__dict__ | known).items() if not isinstance(value, Pending)}

    def plot(self) -> Figures:
        """Return the figures of what is known of this call by name; as the last value of a notebook's cell they show.

        Raises:
            ModuleNotFoundError: If matplotlib is not installed.

        Example:
            >>> from rnn_diag.testing.known import linear_trace
            >>> linear_trace(0.5, steps=3).plot()
            Figures(gradient_profile, influence, complex_plane)
        """
        from rnn_diag.reporting.figures.of_trace import figures_of

        return figures_of(self)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: what was recorded, and whether its self-check holds."""
        check = "not known" if self.fidelity is None else f"{self.fidelity:.1e}, at most {self.tolerance:.0e} expected"
        rows = {
            "module": self.provenance.module_type,
            "equations": self.equations.name if self.has_equations else "none",
            "steps": len(self.inputs),
            "sequences": self.inputs.shape[1],
            "gates": ", ".join(self.gates) if self.has_equations else "",
            "gradients": "yes" if self.has_gradients else "no",
            "relative error of the self-check": check,
        }
        return table((self.layer, ""), ((name, value) for name, value in rows.items() if value != ""))

    def __repr__(self) -> str:
        steps, batch = self.inputs.shape[:2]
        if not self.has_equations:
            return f"Trace({self.layer}: {self.provenance.module_type} without equations, {steps} steps)"
        direction = ", reverse" if self.reverse else ""
        doubt = ""
        if self.is_faithful is False:
            doubt = f", NOT FAITHFUL: relative error {self.fidelity:.1e} above {self.tolerance:.0e}"
        return f"Trace({self.layer}: {self.equations.name}, {steps} steps, {batch} sequences{direction}{doubt})"
