"""Names that hold markup, links that were never written and files that are damaged leave the page whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from rnn_diag.tb import kinds as tab
from tests.tb.conftest import Start
from tests.tb.test_reading import BAD_DESCRIPTIONS, BAD_TENSORS, GRAD, PROFILE, TAG, broken_tensors, write_raw

pytestmark = pytest.mark.slow
IMAGE = '<img src=x onerror="top.hit=1;window.hit=1">'
BROKEN = ("scalar", "empty", "text")
NAMES = (IMAGE, "[/red]", "<b>", "a|b", "__proto__", "javascript:alert(1)")


def write_everything(log: Any, name: str) -> None:
    gates = {name: np.full((3, 12), 0.5), "__proto__": np.full((3, 12), 0.5)}
    for step in range(3):
        tab.write_gradients(log, name, step, np.zeros((3, 12)), cell=name)
        tab.write_influence(log, name, step, np.zeros((3, 12)))
        tab.write_eigenvalues(log, name, step, [0.5 + 0.5j], matrix=name)
        tab.write_singular_values(log, name, step, [0.5], matrix=name)
        tab.write_gates(log, name, step, gates)
        tab.write_gate_units(log, name, step, gates)
        tab.write_lyapunov(log, name, step, [-0.1])
        tab.write_horizon(log, name, step, 3.0)
        tab.write_cost(log, step, 1.0, 0.01)
    texts = dict.fromkeys(("title", "evidence", "advice", "layer"), name)
    tab.write_verdict(log, 2, [{**texts, "severity": "critical"}])


def test_names_that_hold_markup_are_shown_as_they_are_and_run_nothing(
    tmp_path: Path, open_tab: Any, tensorboard: Start
) -> None:
    for index, name in enumerate(NAMES):
        with SummaryWriter(str(tmp_path / str(index))) as log:
            write_everything(log, name)
    address = tensorboard(tmp_path, runs=len(NAMES))
    for index, name in enumerate(NAMES):
        shown = open_tab(f"{address}#rnn_diag&p.rnn_diag.run={index}")
        assert shown.text(".card .name") == name
        assert shown.frame.locator(".card .finding .detail").all_inner_texts() == [name, f"Try: {name}"]
        assert shown.frame.locator("img, script[src='x']").count() == 0
        assert shown.page.evaluate("window.hit ?? null") is None
        assert shown.frame.locator("#spectrum canvas").first.is_visible()
        assert shown.frame.locator(".notice").count() == 0


@pytest.mark.parametrize(
    "link",
    [
        "run=%25",
        "run=",
        "step=1e999",
        "step=x",
        "layer=%25",
        "__proto__=x&p.rnn_diag.run=__proto__",
        "run=%2C%25",
    ],
)
def test_a_link_that_was_never_written_opens_the_page(open_tab: Any, address: str, link: str) -> None:
    shown = open_tab(f"{address}#rnn_diag&p.rnn_diag.{link}")
    assert shown.frame.locator("#gradients figure").count() == 2
    assert shown.text(".toolbar output").replace("\u202f", "") == "5950 of 5950"


def test_bad_series_are_named_and_the_good_ones_next_to_them_are_drawn(
    tmp_path: Path, open_tab: Any, tensorboard: Start
) -> None:
    for index, (content, _) in enumerate(BAD_DESCRIPTIONS.values()):
        write_raw(tmp_path / "bad", content, PROFILE, tag=f"rnn_diag/x{index}/grad")
    for name in BROKEN:
        write_raw(tmp_path / name, GRAD, BAD_TENSORS[name])
    with SummaryWriter(str(tmp_path / "good")) as log:
        tab.write_gradients(log, "l0", 0, np.linspace(-3, -2, 20))
        tab.write_cost(log, 0, 1.0, 0.1)
    address = tensorboard(tmp_path, runs=1)
    shown = open_tab(f"{address}#rnn_diag&p.rnn_diag.run=good")
    assert shown.frame.locator("#gradients canvas").is_visible()
    assert shown.frame.locator(".notice").count() == 0
    assert shown.frame.locator("aside li").count() == 2 + len(BROKEN)
    shown = open_tab(f"{address}#rnn_diag&p.rnn_diag.run=good,bad")
    assert shown.frame.locator("#gradients canvas").first.is_visible()
    assert "series that cannot be read: rnn_diag/x0/grad" in shown.text(".notice")
    for name in BROKEN:
        shown = open_tab(f"{address}#rnn_diag&p.rnn_diag.run={name},good")
        assert "measurements that cannot be shown" in shown.text(".notice")
        assert shown.frame.locator("#gradients canvas").first.is_visible()


def test_a_series_that_the_server_cannot_read_is_named_and_the_others_are_drawn(
    tmp_path: Path, open_tab: Any, tensorboard: Start
) -> None:
    write_raw(tmp_path / "run", GRAD, broken_tensors()["fewer bytes than it says"], tag=TAG)
    with SummaryWriter(str(tmp_path / "run"), filename_suffix=".more") as log:
        tab.write_horizon(log, "l0", 0, 3.0)
        tab.write_cost(log, 0, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag")
    assert f"'{TAG}' in the run 'run' cannot be read" in shown.text(".notice")
    assert shown.frame.locator("#horizon canvas").is_visible()
    (refused,) = shown.errors  # The browser notes it; nothing else may be there.
    assert "400 (BAD REQUEST)" in refused
    shown.errors.clear()
