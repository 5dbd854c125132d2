from __future__ import annotations

from dataclasses import replace

import pytest

from tests.capture.reference_traces import Case, errors_of, grid

CASES = grid()
OFTEN = CASES[::7]  # 7 divides the length of no axis, so every value of every axis is met
KERNELS = [case for case in CASES[::41] if case.kind in ("LSTM", "GRU", "RNN tanh", "RNN relu")]


def assert_exact(case: Case) -> None:
    errors = errors_of(case)
    assert max(errors.values()) < 1e-10, {field: error for field, error in errors.items() if not error < 1e-10}


def test_the_grid_is_as_wide_as_promised() -> None:
    assert len(OFTEN) >= 200
    for axis in (
        "kind",
        "layers",
        "bidirectional",
        "batch_first",
        "layout",
        "given_state",
        "projected",
        "bias",
        "loss",
    ):
        assert {getattr(case, axis) for case in OFTEN} == {getattr(case, axis) for case in CASES}, axis


@pytest.mark.parametrize("case", OFTEN, ids=str)
def test_every_field_equals_autograd_on_an_unrolled_network(case: Case) -> None:
    assert_exact(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case not in set(OFTEN)], ids=str)
def test_every_field_equals_autograd_in_every_other_configuration(case: Case) -> None:
    assert_exact(case)


@pytest.mark.parametrize("case", KERNELS, ids=str)
def test_replaying_the_kernel_finds_what_the_unrolled_network_has(case: Case) -> None:
    assert_exact(replace(case, engine="replay"))
