"""When and under which names the weights of every gate are logged, with their gradients and updates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, final

from torch import Tensor

from rnn_diag.callbacks.attachment import DiagnosticCallback
from rnn_diag.callbacks.diagnostic import Diagnostic
from rnn_diag.capture.call_log import given_weights
from rnn_diag.capture.modules import RecurrentModule, find_recurrent
from rnn_diag.cells.weights import Weights
from rnn_diag.diagnostics import early_late_cosine, step_weight_grad_norms
from rnn_diag.measurements.gate_weights import MATRICES, GateWeightNumbers, by_gate, map_of, norms, smaller
from rnn_diag.measurements.measure import GradientUnits
from rnn_diag.measurements.spread import Bands
from rnn_diag.measurements.statistics import Statistic
from rnn_diag.reporting.images.weights import weight_maps
from rnn_diag.reporting.tensorboard import Writer
from rnn_diag.tb.kinds import write_contributions, write_gate_weights, write_weight_maps
from rnn_diag.tb.kinds.weights import SIDE
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


@dataclass
class _Step:
    """A layer at an optimiser step.

    Attributes:
        numbers: What is known of the step, by tag.
        before: The weights before it; empty once it is done.
        grads: The gradients by gate and matrix, for the picture.
    """

    numbers: dict[str, float]
    before: dict[str, Tensor]
    grads: dict[str, Tensor] = field(default_factory=dict)


@final
class GateWeights(Diagnostic):
    """Logs by gate the norms of input and recurrent weights, of their gradients, and what the optimiser made of them.

    `<block>` is the gate, or `hidden` in a plain RNN; `<matrix>` is `ih` for input and `hh` for recurrent weights.
    Gradients and updates are those of the optimiser's step at a measured batch; where gradients are accumulated, of the
    one before. They are left out where weights are sharded, or computed from other parameters (weight normalisation).

    Scalars:

    - `gate_weights/<layer>/<block>/weight_<matrix>`: norm of the gate's input (`ih`) or recurrent (`hh`) weights.
    - `gate_weights/<layer>/<block>/grad_<matrix>`: norm of their gradient as the optimiser would get it without
      clipping: summed over accumulated batches, averaged over ranks, without a loss scale.
    - `gate_weights/<layer>/<block>/clipped_grad_<matrix>`: the same after clipping; only with clipping.
    - `gate_weights/<layer>/<block>/update_<matrix>`: norm of what the optimiser added to them over their own norm;
      around 1e-3 is usual.
    - `gate_weights/<layer>/early_late_cosine`: between what the early and the late half of the sequences ask of the
      recurrent weights; at -1 they cancel.

    To TensorBoard:

    - `gate_weights/<layer>/weights`: picture of the magnitudes of weights and gradients, gate by gate.
    - `rnn_diag/<layer>/gate_weights`, `/weight_maps`: for the tab "RNN Diagnostics", the norms, and the magnitudes of
      at most 16 x 16 parts of each matrix.
    - `rnn_diag/<layer>/contributions`, `/early_late`: for the tab, how much each timestep adds to the gradient of the
      recurrent weights, and the cosine.

    Rank zero measures for all. Cost: a copy of the weights at measured steps, and their norms.

    Args:
        every_n_steps: See `Diagnostic`.
        sequences: See `Diagnostic`; of the sequences whose halves are compared.
        layers: See `Diagnostic`.
        max_overhead: See `Diagnostic`.
        discover: See `Diagnostic`.
    """

    name: ClassVar[str] = "gate_weights"
    statistics: ClassVar[tuple[Statistic, ...]] = GateWeightNumbers.statistics
    of_weights: ClassVar[bool] = True

    _modules: tuple[RecurrentModule, ...] = ()
    _steps: Mapping[str, _Step] = {}
    _awaits_step: bool = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the layers."""
        super().on_fit_start(trainer, pl_module)
        self._modules = tuple(one for one in find_recurrent(pl_module)[0] if one.equations is not None)
        self._steps = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Wait for the optimiser's step if the batch is measured."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        callbacks = [one for one in trainer.callbacks if isinstance(one, DiagnosticCallback)]  # type: ignore[attr-defined]
        self._awaits_step |= any(one.is_measuring for one in callbacks)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Note gradients before clipping, and weights before the step."""
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        if not (self._awaits_step and trainer.is_global_zero):
            return
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        steps = dict(self._steps)
        for module in self._modules:
            assert module.equations is not None
            for suffix, weights in given_weights(module).items():
                name = module.name(suffix)
                if not (_is_whole(weights) and id(weights.weight_hh) in held):
                    continue
                grads = dict(by_gate(module.equations, _grads(weights), "grad"))
                before = dict(by_gate(module.equations, weights.map(lambda value: value.detach().clone()), "update"))
                steps[name] = _Step(norms(grads), before, {tag: part.detach().clone() for tag, part in grads.items()})
        self._steps = steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Compare the weights with those before the step, whoever measures."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._finish()

    def measure(self, trace: Trace, units: GradientUnits) -> GateWeightNumbers:
        """Return what is known of a layer's weights and of the optimiser's last step."""
        self._finish()
        weights, step = trace.weights, self._steps.get(trace.layer)
        numbers = norms(dict(by_gate(trace.equations, weights, "weight"))) | ({} if step is None else step.numbers)
        is_known = trace.has_gradients and trace.is_faithful
        cosines = early_late_cosine(trace) if is_known else trace.hidden.new_empty(0)
        known = cosines[~cosines.isnan()]
        parts_of_steps = Bands.of(step_weight_grad_norms(trace) * units.factor, trace.mask) if is_known else None
        maps = {}
        for gate in trace.equations.blocks:
            parts = [trace.equations.by_block(getattr(weights, one), dim=0)[gate.name] for one in MATRICES]
            grads = [] if step is None else [step.grads[f"{gate.name}/grad_{one}"] for one in MATRICES.values()]
            maps[gate.name] = map_of((parts[0], parts[1]), (grads[0], grads[1]) if grads else None)
        cosine = float(known.mean()) if len(known) else None
        return GateWeightNumbers(numbers, cosine, maps, parts_of_steps, len(known))

    def write(self, layer: str, merged: GateWeightNumbers, writer: Writer, step: int) -> None:
        """Write what the tab shows."""
        write_gate_weights(writer, layer, step, merged.by_gate)
        small = {gate: smaller(one, SIDE) for gate, one in merged.maps.items()}
        split = next(iter(small.values()))[1]
        write_weight_maps(writer, layer, step, {gate: maps for gate, (maps, _) in small.items()}, split=split)
        if merged.contributions is not None:
            cosine = math.nan if merged.early_late_cosine is None else merged.early_late_cosine
            write_contributions(writer, layer, step, merged.contributions.percentiles, cosine)

    def draw(self, layer: str, merged: GateWeightNumbers) -> Mapping[str, Any]:
        """Return the picture of magnitudes."""
        return {"weights": weight_maps(layer, merged.maps)}

    def _finish(self) -> None:
        """Note of every step that is done what clipping left of the gradients, and what the weights have become."""
        waiting = {name: step for name, step in self._steps.items() if step.before}
        for module in self._modules if waiting else ():
            assert module.equations is not None
            for suffix, weights in given_weights(module).items():
                step = waiting.get(module.name(suffix))
                if step is None:
                    continue
                after = dict(by_gate(module.equations, weights, "update"))
                changes = norms({tag: part.detach() - step.before[tag] for tag, part in after.items()})
                sizes = norms(step.before)
                step.numbers |= {tag: change / sizes[tag] for tag, change in changes.items() if sizes[tag]}
                if _is_whole(weights):  # else the gradients were dropped after the step, as in manual optimisation
                    clipped = norms(dict(by_gate(module.equations, _grads(weights), "clipped_grad")))
                    if any(
                        not _same(value, step.numbers[tag.replace("clipped_", "")]) for tag, value in clipped.items()
                    ):
                        step.numbers |= clipped
                step.before = {}
                self._awaits_step = False

    def _close(self) -> None:
        super()._close()
        self._modules, self._steps, self._awaits_step = (), {}, False

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_modules": (), "_steps": {}, "_awaits_step": False}


def _grads(weights: Weights) -> Weights:
    """Return the gradients in place of the parameters."""
    return Weights(weights.weight_ih.grad, weights.weight_hh.grad)  # type: ignore[arg-type]


def _is_whole(weights: Weights) -> bool:
    """Whether parameters and their gradients are here as a whole: not sharded, nor computed from others."""
    own = [getattr(weights, one) for one in MATRICES]
    return all(one.is_leaf and one.grad is not None and not hasattr(one, "full_tensor") for one in own)


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-5) or (math.isnan(one) and math.isnan(other))
