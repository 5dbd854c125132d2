"""Large logs are drawn: hundreds of runs, hundreds of layers, thousands of steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from rnn_diag.tb import kinds as tab
from tests.tb.conftest import Start
from tests.tb.page import COLUMN, brightness

pytestmark = pytest.mark.slow


def test_hundreds_of_runs_are_listed_and_one_is_found_by_its_name(
    tmp_path: Path, open_tab: Any, tensorboard: Start
) -> None:
    for run in range(200):
        with SummaryWriter(str(tmp_path / f"run_{run}")) as log:
            tab.write_gradients(log, "l0", 0, np.linspace(-3, -2, 20))
            tab.write_cost(log, 0, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path, runs=200)}#rnn_diag")
    assert shown.frame.locator("aside li").count() == 200
    assert shown.frame.locator("aside input:checked").count() == 2
    shown.frame.locator("aside input[type=search]").fill("run_137")
    assert shown.frame.locator("aside li:visible").all_inner_texts() == ["run_137"]
    shown.frame.locator("aside input[value=run_137]").check()
    shown.frame.locator("#profile .legend").get_by_text("run_137").wait_for()


def test_of_hundreds_of_layers_any_can_be_chosen(tmp_path: Path, open_tab: Any, tensorboard: Start) -> None:
    with SummaryWriter(str(tmp_path / "run")) as log:
        for layer in range(300):
            tab.write_gradients(log, f"stack.l{layer}", 0, np.linspace(-2 - layer / 20, -2, 20))
        tab.write_cost(log, 0, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag")
    assert shown.frame.locator("#layer option").count() == 300
    shown.frame.locator("#layer").select_option("stack.l299")
    chosen = shown.frame.locator(".card.chosen")
    chosen.get_by_text("Gradient at t = 0").wait_for()
    assert chosen.is_visible()
    shown.frame.locator("#gradients figcaption").get_by_text("stack.l299").wait_for()


def test_five_thousand_steps_are_all_kept_when_asked_for_and_a_spike_among_them_is_seen(
    tmp_path: Path, open_tab: Any, tensorboard: Start
) -> None:
    with SummaryWriter(str(tmp_path / "run")) as log:
        for step in range(5000):
            norms = np.linspace(-3, -2, 20)
            norms[0] = np.nan if step == 2500 else norms[0]
            tab.write_gradients(log, "l0", step, norms)
        tab.write_cost(log, 4999, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path, '--samples_per_plugin=rnn_diag=5000', runs=1)}#rnn_diag")
    assert shown.text(".toolbar output").replace("\u202f", "") == "4999 of 4999"
    assert shown.frame.locator("#step").get_attribute("max") == "4999"
    column = shown.canvas("#gradients canvas", COLUMN, 2500.5 / 5000)
    assert column[-1] == [255, 0, 255, 255]
    assert brightness(column[0]) > 200
