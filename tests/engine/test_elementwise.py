"""What is read off equations computes what they compute, and what cannot be written as a kernel is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from rnn_diag.cells import Equations, LSTMEquations, RNNEquations, State, Step, Weights
from rnn_diag.engine.elementwise import Elementwise, NotElementwiseError, elementwise_step, known_step
from tests.reference.minimal_gated_unit import MinimalGatedUnit
from tests.reference.random_layers import EQUATIONS, UNITS, WRITTEN, random_state, random_weights

BATCH = 3
TL = SimpleNamespace(
    abs=torch.abs,
    maximum=lambda a, b: torch.clamp(a, min=b),
    where=lambda condition, a, b: torch.where(condition, torch.as_tensor(a), torch.as_tensor(b)),
)


class MixingUnits(MinimalGatedUnit):
    """Its step is no elementwise one."""

    def forward_step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        step = super().forward_step(projected, recurrent, previous, weights)
        return step._replace(emitted=step.emitted - step.emitted.mean(-1, keepdim=True))


class MixingSequences(MinimalGatedUnit):
    """Its sequences know each other."""

    def forward_step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        step = super().forward_step(projected, recurrent, previous, weights)
        return step._replace(emitted=step.emitted + step.emitted[:1])


CASES = list(WRITTEN)


def computed(found: Elementwise, given: dict[str, Tensor | None]) -> dict[str, Tensor]:
    variables: dict[str, object] = {"tl": TL, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "ACC": torch.float64}
    for name, blocks in found.inputs.items():
        value = given[name]
        assert value is not None
        variables |= dict(zip(blocks, value.chunk(len(blocks), dim=-1), strict=True))
    for statement in found.statements:
        variables[statement.target] = eval(statement.expression, {}, variables)
    return {
        name: torch.cat([eval(block, {}, variables) for block in blocks], dim=-1)
        for name, blocks in found.outputs.items()
    }


@pytest.mark.parametrize("kind", CASES)
def test_statements_compute_the_step_and_its_adjoint(kind: str) -> None:
    equations, weights = EQUATIONS[kind], random_weights(kind)
    extras = {
        name: value for name, value in weights.present().items() if name in ("weight_ci", "weight_cf", "weight_co")
    }
    projected, recurrent = torch.randn(2, BATCH, len(equations.blocks) * UNITS, dtype=torch.float64)
    before = random_state(kind, BATCH)
    step = equations.step(projected, recurrent, before, weights)
    found = elementwise_step(equations, weights)
    given: dict[str, Tensor | None] = {**extras, "hidden": before.hidden, "cell": before.cell}
    given |= {"projected": projected, "recurrent": recurrent}
    expected = {"emitted": step.emitted, "new_cell": step.cell}
    for group, values in (("gate", step.gates), ("preactivation", step.preactivations), ("kept", step.kept)):
        expected |= {f"{group}{k}": value for k, value in enumerate(values)}
    ran = computed(found.forward, given)
    assert set(ran) == {name for name, value in expected.items() if value is not None}
    for name, value in ran.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-13, atol=1e-13)

    emitted_grad, cell_grad = torch.randn(2, BATCH, UNITS, dtype=torch.float64)
    adjoint = equations.adjoint(step, before, emitted_grad, cell_grad if equations.has_cell else None, weights)
    given |= ran | {"emitted_grad": emitted_grad, "cell_grad": cell_grad}
    backwards = computed(found.backward, given)
    named = adjoint._asdict()
    named["total_cell_grad"] = named.pop("cell_grad")
    assert set(backwards) == {name for name, value in named.items() if value is not None}
    for name, value in backwards.items():
        torch.testing.assert_close(value, named[name], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("equations", [MixingUnits(), MixingSequences()])
def test_a_step_that_mixes_units_or_sequences_is_refused(equations: Equations) -> None:
    with pytest.raises(NotElementwiseError):
        elementwise_step(equations, random_weights("minimal_gated_unit"))


def test_a_projection_is_no_part_of_the_statements() -> None:
    found = elementwise_step(LSTMEquations(), random_weights("projected_lstm"))
    assert found.key == elementwise_step(LSTMEquations(), random_weights("lstm")).key


def test_statements_are_read_off_once_for_each_configuration() -> None:
    weights = random_weights("lstm")
    assert known_step(LSTMEquations(), weights) is known_step(LSTMEquations(), weights) is not None
    assert known_step(RNNEquations("tanh"), weights) is not known_step(RNNEquations("relu"), weights)
    assert known_step(MixingUnits(), random_weights("minimal_gated_unit")) is None


def test_no_random_number_is_drawn_and_no_weight_is_looked_at() -> None:
    weights = random_weights("peephole_lstm")
    poisoned = Weights.from_names({name: value * float("nan") for name, value in weights.present().items()})
    state = torch.get_rng_state()
    found = elementwise_step(EQUATIONS["peephole_lstm"], poisoned)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.key == elementwise_step(EQUATIONS["peephole_lstm"], weights).key
    assert "nan" not in found.key
