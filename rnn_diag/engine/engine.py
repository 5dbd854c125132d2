"""What every engine offers: a run forwards, a sweep backwards, and the gradients of a whole layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from torch import Tensor

from rnn_diag.cells.equations import Equations, State
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.sweep import Swept, sweep, weight_grads
from rnn_diag.engine.unroll import Unrolled, unroll


class LayerGrads(NamedTuple):
    """Gradients of a layer's arguments: `inputs [T, B, I]` where asked for, the initial state, weights by name."""

    inputs: Tensor | None
    initial: State
    weights: dict[str, Tensor]


class Engine(ABC):
    """A way to run equations over time. All give the same, up to rounding."""

    reuses_memory: ClassVar[bool] = False
    """Whether what a run returns is overwritten by a later run once nobody holds it."""

    @abstractmethod
    def unroll(
        self,
        equations: Equations,
        weights: Weights,
        inputs: Tensor,
        initial: State,
        mask: Tensor | None = None,
        keep_preactivations: bool = True,
    ) -> Unrolled:
        """Run forwards, as `rnn_diag.engine.unroll.unroll` does."""

    @abstractmethod
    def sweep(
        self,
        equations: Equations,
        weights: Weights,
        unrolled: Unrolled,
        hidden_grad_direct: Tensor,
        final_grad: State | None = None,
    ) -> Swept:
        """Run backwards, as `rnn_diag.engine.sweep.sweep` does."""

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
        """Return the gradients of all that a layer was given: one sweep, and one product for each weight."""
        swept = self.sweep(equations, weights, unrolled, hidden_grad_direct, final_grad)
        by_name = weight_grads(equations, weights, inputs, unrolled, swept)
        of_inputs = None
        if inputs_need_grad:
            of_inputs = equations.input_grad(swept.projected_grad, weights, inputs.shape[-1])
        return LayerGrads(of_inputs, swept.initial, by_name)


class Explicit(Engine):
    """The loop over time on the equations: the reference of all others, differentiable any number of times."""

    def unroll(
        self,
        equations: Equations,
        weights: Weights,
        inputs: Tensor,
        initial: State,
        mask: Tensor | None = None,
        keep_preactivations: bool = True,
    ) -> Unrolled:
        """Run forwards."""
        return unroll(equations, weights, inputs, initial, mask, keep_preactivations)

    def sweep(
        self,
        equations: Equations,
        weights: Weights,
        unrolled: Unrolled,
        hidden_grad_direct: Tensor,
        final_grad: State | None = None,
    ) -> Swept:
        """Run backwards."""
        return sweep(equations, weights, unrolled, hidden_grad_direct, final_grad)
