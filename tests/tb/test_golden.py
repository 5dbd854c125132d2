"""A run that an earlier version of rnn_diag wrote is listed, every panel draws it, and its findings are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.screenshots import PANELS
from tests.tb.conftest import Start
from tests.tb.golden.fit import LAYERS, STEPS
from tests.tb.serving import get, series, serve

GOLDEN = Path(__file__).parent / "golden"


def test_an_earlier_fit_is_listed_with_every_kind_of_every_layer() -> None:
    tags = get(serve(GOLDEN), "index").json["runs"]["fit"]
    for layer in LAYERS:
        kinds = {one["content"]["kind"] for one in tags.values() if one["content"]["layer"] == layer}
        assert kinds == {"grad", "influence", "horizon", "gates", "gate_units", "eig", "sv", "lyapunov"}
    assert {one["content"]["kind"] for one in tags.values() if not one["content"]["layer"]} == {"cost", "verdict"}


def test_the_numbers_of_an_earlier_fit_are_served_at_its_steps() -> None:
    client = serve(GOLDEN)
    for layer in LAYERS:
        steps, rows = series(client, "fit", f"rnn_diag/{layer}/grad")
        assert steps == list(STEPS)
        assert all(row.shape == (4, 24) and np.isfinite(row).all() for row in rows)
    verdicts = get(client, "verdict", run="fit").json
    assert {finding["layer"] for verdict in verdicts for finding in verdict["findings"]} <= set(LAYERS)
    assert verdicts[-1]["findings"]


@pytest.mark.slow
def test_every_panel_draws_an_earlier_fit(open_tab: Callable[..., Any], tensorboard: Start) -> None:
    shown = open_tab(f"{tensorboard(GOLDEN, runs=2)}#rnn_diag&p.rnn_diag.run=fit")
    assert [panel for panel in PANELS if not shown.frame.locator(f"#{panel} canvas").first.is_visible()] == []
    assert shown.frame.locator(".notice").count() == 0
    assert shown.frame.locator(".card").count() == len(LAYERS)
