"""The page of a run: names are text, the worst layer first, nothing asked of another file."""

from __future__ import annotations

import numpy as np
import pytest

from rnn_diag.reporting.run.logged import Logged, LoggedLayer, LoggedRun
from rnn_diag.reporting.run.page import page_of
from rnn_diag.tb.rows import Event

pytest.importorskip("matplotlib")


def layer() -> LoggedLayer:
    profile = np.array([[-2, 0], [-3, 0], [-1, 0], [1, 1]], np.float16)
    return LoggedLayer({"grad": Logged({"cell": "lstm"}, [Event(0, 0.0, profile)])})


def finding(where: str, **more: str) -> dict[str, str]:
    return {"severity": "critical", "layer": where, "title": "vanishing: It fades.", **more}


def test_the_worst_layer_comes_first_with_what_was_found_and_what_to_try() -> None:
    run = LoggedRun({"a": layer(), "b<i>": layer()}, {40: [finding("b<i>", advice="chrono", evidence="horizon: 7")]})
    page = page_of("logs/version_0", run, vitals="<table>7</table>")
    assert page.index("<h2>b&lt;i&gt;") < page.index("<h2>a ") and "<i>" not in page
    for words in ("since step 40", "vanishing: It fades.", "Try: chrono", "horizon: 7", "<table>7</table>"):
        assert words in page
    assert page.count("<svg ") == 2 and "http" not in page.replace("http://www.w3.org", "")


def test_of_many_layers_the_worst_few_are_drawn_or_those_asked_for() -> None:
    run = LoggedRun({f"encoder.l{index}": layer() for index in range(9)}, {0: [finding("encoder.l8")]})
    page = page_of("run", run)
    assert page.count("<section>") == 6 and "<h2>encoder.l8" in page and "3 more" in page
    assert page_of("run", run, layers=["*.l7"]).count("<section>") == 1


def test_metrics_of_the_run_are_listed_and_ours_are_not() -> None:
    run = LoggedRun(metrics={"train/loss": [(0, 1.0), (9, 0.25)], "memory_horizon/l0/steps": [(0, 7.0)]})
    page = page_of("run", run, nothing_wrong="nothing wrong found in 1 layer")
    assert "<td>train/loss</td><td>1</td><td>0.25</td><td>9</td>" in page and "memory_horizon" not in page
    assert "nothing wrong found in 1 layer" in page
    assert "The log holds no verdict." in page_of("run", LoggedRun())


def test_a_figure_that_cannot_be_drawn_is_a_sentence() -> None:
    broken = Logged({}, [Event(5, 0.0, np.ones(2)), Event(6, 0.0, np.ones(2))])
    page = page_of("run", LoggedRun({"l0": LoggedLayer({"horizon": broken})}))
    assert "Not drawn: horizons have the shape" in page
