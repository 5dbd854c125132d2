"""What is written is what the tab is served, through torch's writer and through tensorboardX's."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from rnn_diag.tb import kinds as tab
from rnn_diag.tb import schema
from tests.tb.golden import numbers
from tests.tb.serving import get, series, serve, written

GOLDEN = Path(__file__).parent / "golden"
LAYER = numbers.LAYER


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
