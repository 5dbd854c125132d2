"""Names, versions and bins of the format."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rnn_diag.tb import schema


def test_a_tag_has_layer_and_part_where_there_are_any() -> None:
    assert schema.tag_of("cost") == "rnn_diag/cost"
    assert schema.tag_of("grad", "encoder.l0") == "rnn_diag/encoder.l0/grad"
    assert schema.tag_of("eig", "l0", "forget") == "rnn_diag/l0/eig/forget"


def test_a_description_says_its_version_and_refuses_what_json_has_not() -> None:
    assert json.loads(schema.content_of("sv", "l0", matrix="W_hh")) == {
        "v": schema.VERSION,
        "kind": "sv",
        "layer": "l0",
        "matrix": "W_hh",
    }
    with pytest.raises(ValueError, match="not JSON compliant"):
        schema.content_of("sv", "l0", matrix=float("nan"))


@pytest.mark.parametrize("timesteps", [1, 63, 64, 65, 1000, 100_000])
def test_bins_cover_every_timestep_once_and_none_holds_more_than_a_byte_counts(timesteps: int) -> None:
    starts = schema.bin_starts(timesteps)
    widths = schema.bin_widths(timesteps, starts)
    assert starts[0] == 0 and (np.diff(starts) > 0).all()
    assert widths.sum() == timesteps
    assert widths.min() >= 1 and widths.max() <= schema.MOST_STEPS_IN_A_BIN
    assert widths.max() - widths.min() <= 1


def test_the_largest_and_the_mean_of_a_bin_are_of_its_own_timesteps_and_no_nan_is_hidden() -> None:
    values = np.array([[1.0, 5.0, 2.0, 4.0, np.nan, 0.0]])
    starts = np.array([0, 2, 4])
    np.testing.assert_array_equal(schema.largest_in_bins(values, starts), [[5.0, 4.0, np.nan]])
    np.testing.assert_array_equal(schema.mean_in_bins(values, starts), [[3.0, 3.0, np.nan]])
