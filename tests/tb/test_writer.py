"""What is written is what the tab is served, through torch's writer and through tensorboardX's."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from rnn_diag.tb import schema
from rnn_diag.tb import writer as tab
from tests.tb.golden import numbers
from tests.tb.serving import get, series, serve

GOLDEN = Path(__file__).parent / "golden"
LAYER = numbers.LAYER


def written(folder: Path, write: Any) -> Any:
    with SummaryWriter(str(folder / "run")) as log:
        write(log)
    return serve(folder)


def assert_holds_the_golden_numbers(client: Any, run: str) -> None:
    def only(tag: str) -> np.ndarray[Any, Any]:
        steps, rows = series(client, run, tag)
        assert steps == [numbers.STEP]
        return rows[0]

    for kind in ("grad", "influence"):
        np.testing.assert_array_equal(only(schema.tag_of(kind, LAYER)), [*numbers.LOG10_NORMS, [1, 1, 1, 1]])
    np.testing.assert_array_equal(only(schema.tag_of("gate_units", LAYER)), np.array([numbers.GATES["forget"]]) * 254)
    np.testing.assert_array_equal(only(schema.tag_of("gates", LAYER))[:, :3], np.array([numbers.GATES["forget"]]) * 254)
    np.testing.assert_array_equal(only(schema.tag_of("gates", LAYER))[:, 3], [[1, 1, 1, 1]])
    np.testing.assert_array_equal(only(schema.tag_of("eig", LAYER, "forget")), [[-1.5, 0.0], [0.5, 0.25], [0.5, -0.25]])
    np.testing.assert_array_equal(only(schema.tag_of("sv", LAYER, "forget")), [1.5, 1.0, 0.5])
    np.testing.assert_array_equal(only(schema.tag_of("lyapunov", LAYER)), [0.125, -0.5])
    np.testing.assert_array_equal(only(schema.tag_of("horizon", LAYER)), numbers.HORIZON)
    np.testing.assert_array_equal(only(schema.tag_of("cost")), numbers.COST)
    assert get(client, "verdict", run=run).json == [{"step": numbers.STEP, "findings": numbers.FINDINGS}]


def test_a_log_of_format_1_stays_readable() -> None:
    assert_holds_the_golden_numbers(serve(GOLDEN), "v1")


@pytest.mark.parametrize("library", ["torch.utils.tensorboard", "tensorboardX"])
def test_every_kind_comes_back_as_it_was_written(tmp_path: Path, library: str) -> None:
    if library == "tensorboardX":
        pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    with importlib.import_module(library).SummaryWriter(str(tmp_path / "run")) as log:
        numbers.write(log)
    assert_holds_the_golden_numbers(serve(tmp_path), "run")


def test_the_content_of_a_series_says_what_the_page_needs(tmp_path: Path) -> None:
    tags = get(written(tmp_path, numbers.write), "index").json["runs"]["run"]
    gates = {"labels": ["forget"], "ranges": [[0.0, 1.0]]}
    assert tags["rnn_diag/encoder.l0/grad"]["content"] == {"v": 1, "kind": "grad", "layer": LAYER, "cell": "lstm"}
    assert tags["rnn_diag/encoder.l0/gates"]["content"] == {"v": 1, "kind": "gates", "layer": LAYER, **gates}
    assert tags["rnn_diag/encoder.l0/eig/forget"]["content"]["matrix"] == "forget"


def test_one_spike_among_ten_thousand_timesteps_is_in_its_bin(tmp_path: Path) -> None:
    norms = np.full((3, 10_000), -6.0)
    norms[0, 4321] = 2.0
    client = written(tmp_path, lambda log: tab.write_gradients(log, LAYER, 0, norms))
    _, (profile,) = series(client, "run", schema.tag_of("grad", LAYER))
    starts = schema.bin_starts(10_000)
    np.testing.assert_array_equal(profile[3], schema.bin_widths(10_000, starts))
    (spike,) = np.flatnonzero(profile[0] == 2.0)
    assert starts[spike] <= 4321 < starts[spike + 1]
    assert (np.delete(profile[0], spike) == -6.0).all()


def test_one_number_that_is_none_among_many_is_not_hidden(tmp_path: Path) -> None:
    norms = np.full((3, 1000), -6.0)
    norms[0, 500] = np.nan
    client = written(tmp_path, lambda log: tab.write_gradients(log, LAYER, 0, norms))
    _, (profile,) = series(client, "run", schema.tag_of("grad", LAYER))
    assert np.isnan(profile[0]).sum() == 1


def test_the_length_of_the_sequences_may_change_from_step_to_step(tmp_path: Path) -> None:
    def write(log: Any) -> None:
        for step, timesteps in enumerate([5, 900, 64]):
            tab.write_gradients(log, LAYER, step, np.zeros((3, timesteps)))

    _, rows = series(written(tmp_path, write), "run", schema.tag_of("grad", LAYER))
    assert [int(row[3].sum(dtype=np.float64)) for row in rows] == [5, 900, 64]


def test_norms_far_below_the_smallest_half_keep_their_decade(tmp_path: Path) -> None:
    client = written(tmp_path, lambda log: tab.write_gradients(log, LAYER, 0, [-30.25, -12.5, -3.0]))
    _, (profile,) = series(client, "run", schema.tag_of("grad", LAYER))
    np.testing.assert_array_equal(profile[0], [-30.25, -12.5, -3.0])
    assert np.isnan(profile[1:3]).all()


def test_gates_outside_zero_to_one_are_written_within_their_range(tmp_path: Path) -> None:
    gates = {"candidate": [[-1.0, 0.0, 1.0], [0, 0, 0], [0, 0, 0]]}
    client = written(tmp_path, lambda log: tab.write_gates(log, LAYER, 0, gates, ranges={"candidate": (-1, 1)}))
    _, (row,) = series(client, "run", schema.tag_of("gates", LAYER))
    assert row[0, 0].tolist() == [0, 127, 254]


def test_a_gate_without_a_number_is_marked(tmp_path: Path) -> None:
    gates = {"forget": [[np.nan, 0.5], [0, 0], [0, 0]]}
    client = written(tmp_path, lambda log: tab.write_gate_units(log, LAYER, 0, gates))
    _, (row,) = series(client, "run", schema.tag_of("gate_units", LAYER))
    assert row[0, 0].tolist() == [255, 127]


def test_gates_without_a_mean_are_written_without(tmp_path: Path) -> None:
    client = written(tmp_path, lambda log: tab.write_gates(log, LAYER, 0, {"forget": [[0.0, 1.0], [1.0, 0.0]]}))
    _, (row,) = series(client, "run", schema.tag_of("gates", LAYER))
    assert row[0].tolist() == [[255, 255], [0, 254], [254, 0], [1, 1]]


def test_tensors_of_any_type_are_taken(tmp_path: Path) -> None:
    norms = torch.tensor([-3.0, -2.0], dtype=torch.bfloat16, requires_grad=True)
    client = written(tmp_path, lambda log: tab.write_gradients(log, LAYER, 0, norms))
    _, (profile,) = series(client, "run", schema.tag_of("grad", LAYER))
    assert profile[0].tolist() == [-3.0, -2.0]


def test_one_call_writes_all_that_is_known_of_a_layer(tmp_path: Path) -> None:
    def write(log: Any) -> None:
        tab.write_trace_summary(
            log,
            LAYER,
            7,
            cell="lstm",
            log10_norms=numbers.LOG10_NORMS,
            gates=numbers.GATES,
            gate_units=numbers.GATES,
            eigenvalues={"forget": numbers.EIGENVALUES},
            singular_values={"forget": numbers.SINGULAR_VALUES},
            lyapunov=numbers.EXPONENTS,
            horizon=3.0,
        )

    tags = get(written(tmp_path, write), "index").json["runs"]["run"]
    kinds = ["eig", "gate_units", "gates", "grad", "horizon", "lyapunov", "sv"]
    assert sorted(tag["content"]["kind"] for tag in tags.values()) == kinds
    assert {tag["last_step"] for tag in tags.values()} == {7}


def test_ranks_without_a_writer_write_nothing() -> None:
    class Dummy:
        def _get_file_writer(self) -> None:
            return None

    tab.write_cost(Dummy(), 0, 1.0, 0.1)


def test_a_layer_of_a_logged_step_stays_under_two_kilobytes(tmp_path: Path) -> None:
    gates = dict.fromkeys(("input", "forget", "candidate", "output"), np.full((3, 500), 0.5))
    sizes = []
    with SummaryWriter(str(tmp_path)) as log:
        for step in range(2):
            tab.write_gradients(log, LAYER, step, np.zeros((3, 500)), cell="lstm")
            tab.write_gates(log, LAYER, step, gates)
            log.flush()
            sizes.append(sum(file.stat().st_size for file in tmp_path.iterdir()))
    assert sizes[1] - sizes[0] < 2048


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tab.write_gradients(None, LAYER, 0, np.zeros((2, 5))), r"\[2, 5\]; expected \[3, n\]"),
        (lambda: tab.write_gradients(None, LAYER, 0, np.zeros((3, 0))), r"n at least 1"),
        (
            lambda: tab.write_gates(None, LAYER, 0, {"forget": np.zeros((4, 5))}),
            r"gate 'forget' has the shape \[4, 5\]",
        ),
        (lambda: tab.write_horizon(None, LAYER, 0, [1, 2]), r"2 numbers; expected 1 \(median\) or 3"),
        (lambda: tab.write_verdict(None, 0, [{"severity": "bad", "title": "x"}]), r"ok, info, warning, critical"),
    ],
)
def test_what_cannot_be_written_is_said(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
