"""The tab on real runs: the demonstration, shortened, with two cells."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from scripts.screenshots import PANELS
from tests.tb.conftest import Start
from tests.tb.page import COLUMN, MAGENTA
from tests.tb.test_cards import assert_agree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SHORT = (
    *(
        "experiment=demo",
        "callbacks=[default,lyapunov,gate_weights,doctor]",
        "max_overhead=null",
        "measure_every_n_steps=4",
    ),
    *(
        "cell.hidden_size=24",
        "trainer.max_steps=13",
        "trainer.limit_val_batches=1",
        "callbacks.lyapunov.every_n_steps=8",
    ),
)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    for cell in ("lstm", "rnn"):
        command = [sys.executable, "-m", "rnn_diag.cli.train", *SHORT, f"cell={cell}", f"hydra.run.dir={folder / cell}"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def real(runs: Path, tensorboard: Start) -> str:
    return tensorboard(runs, runs=2)


def tags_once_loaded(address: str, plugin: str, wanted: str) -> dict[str, Any]:
    """Return a plugin's tags by run; TensorBoard reads the runs one after the other."""
    for _ in range(60):
        tags: dict[str, Any] = json.loads(urllib.request.urlopen(f"{address}data/plugin/{plugin}/tags").read())
        if wanted in tags.get("lstm", ()):
            break
        time.sleep(1)
    return tags


def test_every_panel_shows_the_real_run_and_the_slider_moves_them(open_tab: Any, real: str) -> None:
    shown = open_tab(f"{real}#rnn_diag&p.rnn_diag.run=lstm")
    assert [panel for panel in PANELS if not shown.frame.locator(f"#{panel} canvas").first.is_visible()] == []
    assert shown.text(".unmeasured") == ""
    slider = shown.frame.locator("#step")
    assert slider.get_attribute("aria-valuetext") == "training step 12 of 12"
    before = shown.text("#spectrum .reading")
    slider.press("Home")
    shown.page.wait_for_function("location.hash.includes('step=0')")
    assert slider.get_attribute("aria-valuetext") == "training step 0 of 12"
    assert shown.text("#spectrum .reading") != before


def test_two_real_runs_stand_side_by_side(open_tab: Any, real: str) -> None:
    shown = open_tab(f"{real}#rnn_diag&p.rnn_diag.run=lstm")
    shown.frame.locator("aside input[value=rnn]").check()
    shown.frame.locator("#gradients figure:nth-child(2) canvas").wait_for()
    columns = [shown.canvas(f"#gradients figure:nth-child({place}) canvas", COLUMN, 0.5) for place in (1, 2)]
    assert columns[0] != columns[1]
    assert all(pixel[3] == 255 and pixel != MAGENTA for column in columns for pixel in column)
    assert "This recurrence has no gates" in shown.text("#gates figure:nth-child(2)")


def test_the_words_of_the_doctor_are_in_the_tab_and_among_the_texts(open_tab: Any, real: str) -> None:
    shown = open_tab(f"{real}#rnn_diag")
    shown.frame.locator(".findings .finding").first.wait_for()
    assert "Verdict of the doctor" in shown.text(".findings h3")
    assert "doctor/findings/text_summary" in tags_once_loaded(real, "text", "doctor/findings/text_summary")["lstm"]
    images = tags_once_loaded(real, "images", "saturation/recurrent.l0/gates_over_training")
    assert any(tag.endswith("/gates_over_training") for tag in images["lstm"])
    assert not any(tag.endswith("/gates_over_training") for tag in images["rnn"])


def test_card_text_and_scalar_of_a_real_run_agree(open_tab: Any, runs: Path, real: str) -> None:
    for run in ("lstm", "rnn"):
        (file,) = (runs / run).rglob("*tfevents*")
        log = EventAccumulator(str(file.parent), {"tensors": 0, "scalars": 0}).Reload()
        texts = {
            one.step: one.tensor_proto.string_val[0].decode() for one in log.Tensors("rnn_diag/verdict/text_summary")
        }
        (tag,) = (tag for tag in log.Tags()["scalars"] if tag.startswith("doctor/") and tag.endswith("/severity"))
        for scalar in log.Scalars(tag):
            shown = open_tab(f"{real}#rnn_diag&p.rnn_diag.run={run}&p.rnn_diag.step={scalar.step}")
            assert_agree(shown.frame.locator(".card.chosen"), scalar.value, texts, scalar.step)
