"""A profile keeps its decades, its spikes and its length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnn_diag.tb import kinds, schema
from tests.tb.serving import series, written

LAYER = "encoder.l0"


def test_one_spike_among_ten_thousand_timesteps_is_in_its_bin(tmp_path: Path) -> None:
    norms = np.full((3, 10_000), -6.0)
    norms[0, 4321] = 2.0
    client = written(tmp_path, lambda log: kinds.write_gradients(log, LAYER, 0, norms))
    _, (profile,) = series(client, "run", schema.tag_of("grad", LAYER))
    starts = schema.bin_starts(10_000)
    np.testing.assert_array_equal(profile[3], schema.bin_widths(10_000, starts))
    (spike,) = np.flatnonzero(profile[0] == 2.0)
    assert starts[spike] <= 4321 < starts[spike + 1]
    assert (np.delete(profile[0], spike) == -6.0).all()


def test_one_number_that_is_none_among_many_is_not_hidden(tmp_path: Path) -> None:
    norms = np.full((3, 1000), -6.0)
    norms[0, 500] = np.nan
    client = written(tmp_path, lambda log: kinds.write_gradients(log, LAYER, 0, norms))
    _, (profile,) = series(client, "run", schema.tag_of("grad", LAYER))
    assert np.isnan(profile[0]).sum() == 1


def test_the_length_of_the_sequences_may_change_from_step_to_step(tmp_path: Path) -> None:
    def write(log: Any) -> None:
        for step, timesteps in enumerate([5, 900, 64]):
            kinds.write_gradients(log, LAYER, step, np.zeros((3, timesteps)))

    _, rows = series(written(tmp_path, write), "run", schema.tag_of("grad", LAYER))
    assert [int(row[3].sum(dtype=np.float64)) for row in rows] == [5, 900, 64]


def test_norms_far_below_the_smallest_half_keep_their_decade(tmp_path: Path) -> None:
    client = written(tmp_path, lambda log: kinds.write_gradients(log, LAYER, 0, [-30.25, -12.5, -3.0]))
    _, (profile,) = series(client, "run", schema.tag_of("grad", LAYER))
    np.testing.assert_array_equal(profile[0], [-30.25, -12.5, -3.0])
    assert np.isnan(profile[1:3]).all()


def test_tensors_of_any_type_are_taken(tmp_path: Path) -> None:
    norms = torch.tensor([-3.0, -2.0], dtype=torch.bfloat16, requires_grad=True)
    client = written(tmp_path, lambda log: kinds.write_gradients(log, LAYER, 0, norms))
    _, (profile,) = series(client, "run", schema.tag_of("grad", LAYER))
    assert profile[0].tolist() == [-3.0, -2.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kinds.write_gradients(None, LAYER, 0, np.zeros((2, 5))), r"\[2, 5\]; expected \[3, n\]"),
        (lambda: kinds.write_gradients(None, LAYER, 0, np.zeros((3, 0))), "n at least 1"),
    ],
)
def test_what_cannot_be_written_is_said(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
