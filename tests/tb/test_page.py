"""What a person sees and does in the tab, in a real browser on a real TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from rnn_diag.tb import kinds as tab
from rnn_diag.tb import schema
from tests.tb.conftest import Start
from tests.tb.page import COLUMN, MAGENTA, Tab, brightness
from tests.tb.synthetic_runs import write_healthy

pytestmark = pytest.mark.slow

COUNT_OUTSIDE = """(canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let red = 0;
  for (let at = 0; at < data.length; at += 4) if (data[at] === 192 && data[at + 1] === 38 && data[at + 2] === 45) red++;
  return red;
}"""


def test_the_vanishing_run_darkens_towards_the_beginning_and_the_healthy_one_does_not(
    open_tab: Any, address: str
) -> None:
    shown = open_tab(f"{address}#rnn_diag")
    columns = [shown.canvas(f"#gradients figure:nth-child({place}) canvas", COLUMN, 0.95) for place in (1, 2)]
    healthy, vanishing = [np.array([brightness(pixel) for pixel in column]) for column in columns]
    assert (np.diff(vanishing) < 20).all()
    assert vanishing[0] - vanishing[-1] > 80
    assert abs(healthy[0] - healthy[-1]) < 40


def test_what_is_not_finite_is_magenta(open_tab: Any, address: str) -> None:
    shown = open_tab(f"{address}#rnn_diag")
    column = shown.canvas("#gradients figure:nth-child(2) canvas", COLUMN, 80.5 / 120)
    assert column[-1] == MAGENTA
    assert column[0] != MAGENTA
    assert sum(pixel == MAGENTA for pixel in column) == pytest.approx(0.75 * len(column), abs=1)


def test_the_cards_tell_the_runs_apart_in_the_words_of_their_findings(open_tab: Any, address: str) -> None:
    shown = open_tab(f"{address}#rnn_diag")
    healthy, vanishing = (shown.text(f".cards .column:nth-child({place}) .card") for place in (1, 2))
    assert "The gradient reaches the beginning of the sequence." in healthy
    assert "The gradient does not reach the beginning of the sequence." in vanishing
    assert "Try: Use a gated cell" in vanishing


def test_keys_on_the_slider_move_every_panel(open_tab: Any, address: str) -> None:
    shown = open_tab(f"{address}#rnn_diag")
    slider = shown.frame.locator("#step")
    before = shown.text("#spectrum .reading")
    slider.focus()
    slider.press("Home")
    shown.frame.locator("body").evaluate("() => new Promise((done) => setTimeout(done, 200))")
    assert slider.get_attribute("aria-valuetext") == "training step 0 of 5950"
    assert shown.text("#spectrum .reading") != before
    slider.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "training step 50 of 5950"


def test_a_link_opens_its_run_its_layer_and_its_step_and_follows_what_is_chosen(open_tab: Any, address: str) -> None:
    link = "#rnn_diag&p.rnn_diag.run=tanh_rnn&p.rnn_diag.layer=encoder.l0&p.rnn_diag.step=2000"
    shown = open_tab(address + link)
    assert shown.frame.locator("#gradients figure").count() == 1
    assert shown.text(".toolbar output").startswith("2\u202f000")
    shown.frame.locator("#step").press("ArrowRight")
    shown.page.wait_for_function("location.hash.includes('p.rnn_diag.step=2050')")
    assert "p.rnn_diag.run=tanh_rnn" in shown.page.url


def test_ticking_a_second_run_compares_the_two(open_tab: Any, address: str) -> None:
    shown = open_tab(f"{address}#rnn_diag&p.rnn_diag.run=lstm")
    assert shown.frame.locator("#gradients figure").count() == 1
    shown.frame.locator("aside input[value=tanh_rnn]").check()
    shown.frame.locator("#gradients figure:nth-child(2) canvas").wait_for()
    assert shown.frame.locator("#spectrum figure").count() == 2


def test_eigenvalues_outside_the_circle_are_alarming_in_a_plain_recurrence_alone(
    tmp_path: Path, open_tab: Any, tensorboard: Start
) -> None:
    runs = {"a_inside": ("hidden", 0.9), "b_outside": ("hidden", 1.5), "c_gate": ("forget", 1.5)}
    for name, (matrix, value) in runs.items():
        with SummaryWriter(str(tmp_path / name)) as log:
            tab.write_eigenvalues(log, "l0", 0, [complex(value)], matrix=matrix)
            tab.write_cost(log, 0, 1.0, 0.1)
    address = f"{tensorboard(tmp_path, runs=3)}#rnn_diag&p.rnn_diag.run="
    red = [open_tab(address + name).canvas("#spectrum .plane canvas", COUNT_OUTSIDE) for name in runs]
    assert (red[0], red[2]) == (0, 0)
    assert red[1] > 20


def test_hovering_says_what_is_under_the_pointer_and_a_click_chooses_the_step(open_tab: Any, address: str) -> None:
    shown = open_tab(f"{address}#rnn_diag")
    canvas = shown.frame.locator("#gradients figure:nth-child(2) canvas")
    canvas.scroll_into_view_if_needed()
    canvas.hover(position={"x": 300, "y": 200})
    assert "of 200 · ‖∂L/∂hₜ‖ = " in shown.text("#gradients figure:nth-child(2) .tip")
    canvas.click(position={"x": 68, "y": 200})
    assert shown.frame.locator("#step").get_attribute("aria-valuetext") == "training step 0 of 5950"


def test_the_numbers_are_there_as_a_table(open_tab: Any, address: str) -> None:
    shown = open_tab(f"{address}#rnn_diag&p.rnn_diag.run=tanh_rnn&p.rnn_diag.step=4000")
    shown.frame.locator("#gradients summary").click()
    shown.frame.locator("#gradients table").wait_for()
    table = shown.text("#gradients table")
    assert "not a number" in table
    assert "overflow (Inf)" in table


def test_the_dark_theme_is_followed(open_tab: Any, address: str) -> None:
    shown = open_tab(f"{address}?darkMode=true#rnn_diag")
    shown.frame.locator("body.dark").wait_for()
    colour = shown.frame.locator("body").evaluate("(body) => getComputedStyle(body).backgroundColor")
    assert colour == "rgb(27, 29, 33)"


def test_runs_are_called_by_what_tells_them_apart(tmp_path: Path, open_tab: Any, tensorboard: Start) -> None:
    for name in ("lstm", "lstm/again", "rnn"):
        with SummaryWriter(str(tmp_path / "sweeps/2026-01-01" / name)) as log:
            tab.write_cost(log, 0, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path, runs=3)}#rnn_diag")
    assert shown.frame.locator("aside li").all_inner_texts() == ["lstm", "lstm/again", "rnn"]
    assert shown.frame.locator("aside li label").first.get_attribute("title") == "sweeps/2026-01-01/lstm"


def test_a_run_that_is_not_there_is_named(open_tab: Any, address: str) -> None:
    shown = open_tab(f"{address}#rnn_diag&p.rnn_diag.run=gone")
    assert "“gone” has no RNN diagnostics" in shown.text(".notice")
    assert shown.frame.locator("#gradients figure").count() == 2


def test_an_empty_log_says_what_to_do(tmp_path: Path, open_tab: Any, tensorboard: Start) -> None:
    shown = open_tab(f"{tensorboard(tmp_path)}#rnn_diag")
    assert "Trainer(callbacks=[RNNDiagnostics()])" in shown.text("body")


def test_a_newer_format_is_a_sentence(
    tmp_path: Path, open_tab: Any, tensorboard: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "VERSION", 3)
    with SummaryWriter(str(tmp_path / "future")) as log:
        tab.write_cost(log, 0, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag")
    assert "format 3, written by a newer rnn_diag; this tab reads format 1" in shown.text(".notice")


@pytest.mark.parametrize("fast", ["true", "false"])
def test_beneath_a_prefix_a_reload_shows_the_steps_that_were_written_since(
    tmp_path: Path, open_tab: Any, tensorboard: Start, fast: str
) -> None:
    with SummaryWriter(str(tmp_path / "run")) as log:
        for step in range(3):
            tab.write_gradients(log, "l0", step, np.linspace(-3, -2, 20))
        tab.write_cost(log, 2, 1.0, 0.1)
        log.flush()
        arguments = (f"--load_fast={fast}", "--reload_interval=1", "--path_prefix=/pre/fix")
        shown = open_tab(f"{tensorboard(tmp_path, *arguments, prefix='/pre/fix', runs=1)}#rnn_diag")
        assert shown.text(".toolbar output") == "2 of 2"
        tab.write_gradients(log, "l0", 3, np.linspace(-3, -2, 20))
        log.flush()
        for _ in range(20):
            shown.page.wait_for_timeout(700)
            shown.page.locator("button[aria-label='Reload data'], .reload-button").first.click()
            shown.page.wait_for_timeout(500)
            if shown.text(".toolbar output") != "2 of 2":
                break
        assert shown.text(".toolbar output") == "3 of 3"


def test_ten_thousand_timesteps_of_changing_length_are_drawn(tmp_path: Path, open_tab: Any, tensorboard: Start) -> None:
    with SummaryWriter(str(tmp_path / "long")) as log:
        for step in range(40):
            tab.write_gradients(log, "l0", step, np.linspace(-9, -2, 10_000 - 100 * step))
        tab.write_cost(log, 39, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag")
    column = shown.canvas("#gradients canvas", COLUMN, 0.5)
    assert brightness(column[0]) - brightness(column[-10]) > 50
    assert "timesteps before the end" not in shown.text("#gradients header")


def test_a_series_that_breaks_its_own_description_is_named_and_the_others_are_drawn(
    tmp_path: Path, open_tab: Any, tensorboard: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SummaryWriter(str(tmp_path / "run")) as log:
        tab.write_gradients(log, "l0", 0, np.linspace(-3, -2, 20))
        tab.write_cost(log, 0, 1.0, 0.1)
        monkeypatch.setattr(schema, "content_of", lambda kind, layer, **_: b'{"v":1,"kind":"gates","layer":"l0"}')
        tab.write_gates(log, "l0", 0, {"forget": np.full((3, 5), 0.5)})
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag")
    assert "1 series that cannot be read: rnn_diag/l0/gates (labels is missing)" in shown.text(".notice")
    assert shown.frame.locator("#gradients canvas").is_visible()


def test_a_panel_that_fails_is_a_sentence_and_the_others_are_drawn(
    tmp_path: Path, browser: Any, tensorboard: Start
) -> None:
    with SummaryWriter(str(tmp_path / "run")) as log:
        tab.write_gradients(log, "l0", 0, np.linspace(-3, -2, 20))
        tab.write_gates(log, "l0", 0, {"forget": np.full((3, 5), 0.5)})
        tab.write_cost(log, 0, 1.0, 0.1)
    address = tensorboard(tmp_path, runs=1)
    page = browser.new_page()

    def without_labels(route: Any) -> None:
        route.fulfill(body=route.fetch().text().replace('"labels"', '"gone"'), content_type="application/json")

    page.route("**/rnn_diag/index", without_labels)
    shown = Tab(page).open(f"{address}#rnn_diag")
    assert "“What do the gates do over time?” could not be drawn" in " ".join(
        shown.frame.locator(".notice").all_inner_texts()
    )
    assert shown.frame.locator("#gradients canvas").is_visible()
    page.close()


def test_a_run_that_measured_nothing_but_its_cost_shows_that(tmp_path: Path, open_tab: Any, tensorboard: Start) -> None:
    with SummaryWriter(str(tmp_path / "run")) as log:
        tab.write_cost(log, 0, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag")
    assert shown.frame.locator("#cost canvas").is_visible()
    assert "Does the gradient reach the beginning?" in shown.text(".unmeasured")


def test_the_verdict_is_the_one_that_stood_at_the_chosen_step(
    tmp_path: Path, open_tab: Any, tensorboard: Start
) -> None:
    with SummaryWriter(str(tmp_path / "run")) as log:
        for step in range(0, 50, 10):
            tab.write_gradients(log, "l0", step, np.linspace(-3, -2, 20))
        sick = {"severity": "critical", "title": "It vanishes.", "evidence": "horizon 8", "advice": "take an LSTM"}
        tab.write_verdict(log, 10, [sick])
        tab.write_verdict(log, 30, [])
        tab.write_cost(log, 40, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag")
    shown.frame.locator(".findings .finding").wait_for()
    assert "Nothing wrong is found." in shown.text(".findings")
    slider = shown.frame.locator("#step")
    slider.press("ArrowLeft")
    slider.press("ArrowLeft")
    shown.frame.get_by_text("It vanishes.").wait_for()
    assert "Try: take an LSTM" in shown.text(".findings")
    slider.press("Home")
    shown.frame.get_by_text("It vanishes.").wait_for(state="detached")
    assert shown.text(".findings") == ""


def test_gates_over_training_turn_from_shut_to_open_where_they_do(
    tmp_path: Path, open_tab: Any, tensorboard: Start
) -> None:
    with SummaryWriter(str(tmp_path / "run")) as log:
        for step in range(20):
            mean = np.full(20, 0.0 if step < 10 else 1.0)
            tab.write_gates(log, "l0", step, {"forget": np.stack([mean, 1 - mean, mean])})
        tab.write_cost(log, 19, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag")
    choice = shown.frame.locator("#gates-over-training select")
    for view in ("mean", "shares"):
        choice.select_option(view)
        left, right = (shown.canvas("#gates-over-training canvas", COLUMN, share)[4] for share in (0.25, 0.75))
        assert (left[:3], right[:3]) == ([213, 94, 0], [0, 114, 178])


def test_what_a_panel_shows_can_be_downloaded(open_tab: Any, address: str) -> None:
    shown = open_tab(f"{address}#rnn_diag&p.rnn_diag.run=lstm")
    link = shown.frame.locator("#horizon .links a").first
    assert link.inner_text() == "CSV"
    with shown.page.expect_download() as download:
        link.click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert download.value.suggested_filename == "rnn_diag_encoder.l0_horizon.csv"
    assert lines[0] == "run,layer,step,wall_time,median,p10,p90"
    assert len(lines) == 1 + 24
    assert lines[1].startswith("lstm,encoder.l0,0,")
    assert lines[1].endswith(",60.0,40.0,80.0")


def test_the_absolute_scale_is_one_for_both_runs(open_tab: Any, address: str) -> None:
    shown = open_tab(f"{address}#rnn_diag")
    relative = shown.text("#gradients .legend")
    shown.frame.locator("#scale").select_option("absolute")
    absolute = shown.text("#gradients .legend")
    assert "vanished" in relative
    assert "absolute, in loss per unit of hidden state" in absolute
    assert "≤ 10⁻¹²" in absolute


def test_a_truncated_log_shows_what_is_before_the_cut(tmp_path: Path, open_tab: Any, tensorboard: Start) -> None:
    with SummaryWriter(str(tmp_path / "run")) as log:
        tab.write_cost(log, 0, 1.0, 0.1)
        for step in range(5):
            tab.write_gradients(log, "l0", step, np.linspace(-3, -2, 20))
    (file,) = (tmp_path / "run").iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag")
    assert shown.text(".toolbar output") == "3 of 3"


def test_every_ticked_run_has_a_map_of_one_size_and_every_canvas_has_a_name(
    tmp_path: Path, open_tab: Any, tensorboard: Start
) -> None:
    for name in ("a", "b", "c"):
        with SummaryWriter(str(tmp_path / name)) as log:
            write_healthy(log, steps=6, timesteps=30, units=8)
    shown = open_tab(f"{tensorboard(tmp_path, runs=3)}#rnn_diag")
    shown.frame.locator("aside input[value=c]").check()
    shown.frame.locator("#gradients figure").nth(2).wait_for()
    sizes = shown.frame.locator("#gradients canvas").evaluate_all("(all) => all.map((one) => one.clientWidth)")
    assert len(sizes) == 3 and max(sizes) - min(sizes) <= 1
    for panel in ("gates", "gates-over-training", "units", "spectrum", "gate-weights", "weight-maps"):
        assert shown.frame.locator(f"#{panel} figure").count() == 3, panel
    names = shown.frame.locator("canvas").evaluate_all("(all) => all.map((one) => one.getAttribute('aria-label'))")
    assert len(names) > 20 and all(names)


def test_a_panel_opens_large_by_its_button_and_by_its_link_and_escape_brings_the_others_back(
    open_tab: Any, address: str
) -> None:
    shown = open_tab(f"{address}#rnn_diag&p.rnn_diag.panel=weight-maps&p.rnn_diag.run=lstm")
    assert shown.frame.locator(".panel:visible").evaluate_all("(all) => all.map((one) => one.id)") == ["weight-maps"]
    assert not shown.frame.locator(".card").first.is_visible()
    shown.page.keyboard.press("Escape")
    shown.frame.locator("#gradients").wait_for()
    assert "panel=" not in shown.page.url
    height = shown.frame.locator("#gradients canvas").evaluate("(one) => one.clientHeight")
    shown.frame.locator("#gradients .opener").click()
    shown.frame.locator("#units").wait_for(state="hidden")
    assert "p.rnn_diag.panel=gradients" in shown.page.url
    assert shown.frame.locator("#gradients canvas").evaluate("(one) => one.clientHeight") > height
    shown.frame.locator("#gradients .opener").click()
    shown.frame.locator("#units").wait_for()


def test_runs_have_tensorboards_colours_and_its_filter(tmp_path: Path, open_tab: Any, tensorboard: Start) -> None:
    for name in ("lstm", "tanh_rnn"):
        with SummaryWriter(str(tmp_path / name)) as log:
            log.add_scalar("train/loss", 1.0, 0)
            tab.write_gradients(log, "l0", 0, [-1.0, 0.0])
            tab.write_cost(log, 0, 1.0, 0.1)
    address = tensorboard(tmp_path, runs=2)
    shown = open_tab(f"{address}?runFilter=^L#rnn_diag")
    assert shown.frame.locator("aside li:visible").all_inner_texts() == ["lstm"]
    shown.frame.locator("aside input[type=search]").fill("(")
    assert shown.frame.locator("aside li:visible").count() == 0
    shown.frame.locator("aside input[type=search]").fill("rnn|lstm")
    assert shown.frame.locator("aside li:visible").count() == 2
    own = shown.frame.locator("aside li .swatch").evaluate_all("(all) => all.map((one) => one.style.background)")
    shown.page.goto("about:blank")
    shown.page.goto(f"{address}#timeseries")
    circles = shown.page.locator(".run-color-swatch")
    circles.nth(1).wait_for()
    hosts = circles.evaluate_all("(all) => all.map((one) => getComputedStyle(one).backgroundColor)")
    assert sorted(own) == sorted(hosts)
