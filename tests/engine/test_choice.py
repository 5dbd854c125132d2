"""Which engine runs is chosen by device and shape, and can be overridden."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.cells import GRUEquations, PeepholeLSTMEquations
from rnn_diag.engine.choice import EXPLICIT, engine_sweeper, sweep_in_bulk, training_engine
from rnn_diag.engine.in_bulk import InBulk
from rnn_diag.engine.replay import replay_sweep
from rnn_diag.engine.sweep import sweep
from rnn_diag.engine.unroll import unroll
from tests.engine.test_elementwise import MixingUnits
from tests.reference.random_layers import EQUATIONS, FEATURES, random_state, random_weights

CPU = torch.device("cpu")


@torch.no_grad()
def test_a_cpu_trains_and_sweeps_in_bulk_what_is_elementwise_and_loops_over_the_rest() -> None:
    assert (
        engine_sweeper("auto", GRUEquations(), CPU) is engine_sweeper("in_bulk", GRUEquations(), CPU) is sweep_in_bulk
    )
    inputs = torch.zeros(3, 2, FEATURES)
    assert isinstance(training_engine(GRUEquations(), random_weights("gru"), inputs), InBulk)
    assert training_engine(MixingUnits(), random_weights("minimal_gated_unit"), inputs) is EXPLICIT


def test_the_replay_runs_where_torch_has_a_kernel_and_it_was_asked_for() -> None:
    assert engine_sweeper("replay", GRUEquations(), CPU) is replay_sweep
    assert engine_sweeper("replay", PeepholeLSTMEquations(), CPU) is sweep
    assert engine_sweeper("explicit", GRUEquations(), torch.device("cuda")) is sweep


@pytest.mark.parametrize("engine", ["graphed", "persistent"])
def test_an_engine_of_a_gpu_gives_the_loops_numbers_without_one(engine: str) -> None:
    equations, weights = EQUATIONS["lstm"], random_weights("lstm")
    ran = unroll(equations, weights, torch.randn(4, 2, FEATURES).double(), random_state("lstm", 2))
    direct = torch.randn_like(ran.hidden)
    found = engine_sweeper(engine, equations, CPU)(equations, weights, ran, direct, None)
    torch.testing.assert_close(
        found.hidden_grad, sweep(equations, weights, ran, direct).hidden_grad, rtol=0, atol=1e-12
    )


def test_an_unknown_engine_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"engine='fast'; choices: auto, explicit, in_bulk, replay, graphed"):
        engine_sweeper("fast", GRUEquations(), CPU)
