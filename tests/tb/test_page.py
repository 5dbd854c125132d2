"""What a person sees and does in the tab, in a real browser on a real TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from rnn_diag.tb import schema
from rnn_diag.tb import writer as tab
from tests.tb.conftest import Start

pytestmark = pytest.mark.slow

COLUMN = """([canvas, share, offset]) => {
  const ratio = devicePixelRatio, context = canvas.getContext('2d');
  const x = Math.round((66 + share * (canvas.clientWidth - 80)) * ratio);
  const pixels = [];
  for (let y = 10; y < 256; y += 6) pixels.push([...context.getImageData(x, Math.round(y * ratio), 1, 1).data]);
  return pixels;
}"""
MAGENTA = [255, 0, 255, 255]
COUNT_OUTSIDE = """(canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let red = 0;
  for (let at = 0; at < data.length; at += 4) if (data[at] === 192 && data[at + 1] === 38 && data[at + 2] === 45) red++;
  return red;
}"""


class Tab:
    """The tab in a page, and what went wrong in it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.frame = page.frame_locator("iframe")
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.note(message))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname or ""))

    def note(self, message: Any) -> None:
        where = message.location.get("url", "")
        if message.type == "error" and "font-roboto" not in where:  # TensorBoard's own, missing beneath a prefix.
            self.errors.append(f"{message.text} {where}")

    def open(self, address: str) -> Tab:
        self.page.goto(address)
        self.frame.locator("body[data-ready]").wait_for(timeout=40_000)
        return self

    def text(self, selector: str) -> str:
        return str(self.frame.locator(selector).first.inner_text())

    def drawn(self) -> int:
        return int(self.frame.locator("body").get_attribute("data-ready"))

    def canvas(self, selector: str, script: str, *arguments: float) -> Any:
        handle = self.frame.locator(selector).element_handle()
        return (
            handle.evaluate(script, *arguments)
            if not arguments
            else handle.evaluate(f"(canvas, given) => ({script})([canvas, ...given])", list(arguments))
        )


@pytest.fixture
def open_tab(browser: Any) -> Iterator[Callable[..., Tab]]:
    tabs: list[Tab] = []

    def make(address: str) -> Tab:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        tabs.append(Tab(page))
        return tabs[-1].open(address)

    yield make
    for opened in tabs:
        opened.page.close()
        assert opened.errors == []
        assert {host for host in opened.hosts if host} == {"127.0.0.1"}


@pytest.fixture(scope="session")
def address(tensorboard: Start, logdir: Path) -> str:
    return tensorboard(logdir, runs=2)


def brightness(pixel: list[int]) -> float:
    return 0.2 * pixel[0] + 0.7 * pixel[1] + 0.1 * pixel[2]


def test_the_vanishing_run_darkens_towards_the_beginning_and_the_healthy_one_does_not(
    open_tab: Any, address: str
) -> None:
    shown = open_tab(f"{address}#rnn_diag")
    columns = [shown.canvas(f"#gradients figure:nth-child({place}) canvas", COLUMN, 0.95) for place in (1, 2)]
    healthy, vanishing = [np.array([brightness(pixel) for pixel in column]) for column in columns]
    assert (np.diff(vanishing) < 12).all()
    assert vanishing[0] - vanishing[-1] > 80
    assert abs(healthy[0] - healthy[-1]) < 15


def test_what_is_not_finite_is_magenta(open_tab: Any, address: str) -> None:
    shown = open_tab(f"{address}#rnn_diag")
    column = shown.canvas("#gradients figure:nth-child(2) canvas", COLUMN, 80.5 / 120)
    assert column[-1] == MAGENTA
    assert column[0] != MAGENTA
    assert sum(pixel == MAGENTA for pixel in column) == pytest.approx(0.75 * len(column), abs=1)


def test_the_cards_tell_the_runs_apart_in_words(open_tab: Any, address: str) -> None:
    shown = open_tab(f"{address}#rnn_diag")
    healthy, vanishing = (shown.text(f".cards .column:nth-child({place})") for place in (1, 2))
    assert "Gradient reaches the start" in healthy
    assert "Gradient vanishes" in vanishing
    assert "The gradient does not reach the beginning" in vanishing


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


def test_eigenvalues_outside_the_circle_are_alarming_and_those_inside_are_not(open_tab: Any, address: str) -> None:
    shown = open_tab(f"{address}#rnn_diag")
    healthy, vanishing = (
        shown.canvas(f"#spectrum figure:nth-child({place}) .plane canvas", COUNT_OUTSIDE) for place in (1, 2)
    )
    assert vanishing == 0
    assert healthy > 20


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


def test_a_series_that_breaks_its_own_description_costs_its_panel_alone(
    tmp_path: Path, open_tab: Any, tensorboard: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SummaryWriter(str(tmp_path / "run")) as log:
        tab.write_gradients(log, "l0", 0, np.linspace(-3, -2, 20))
        tab.write_cost(log, 0, 1.0, 0.1)
        monkeypatch.setattr(schema, "content_of", lambda kind, layer, **_: b'{"v":1,"kind":"gates","layer":"l0"}')
        tab.write_gates(log, "l0", 0, {"forget": np.full((3, 5), 0.5)})
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag")
    assert "“What do the gates do over time?” could not be drawn" in shown.text(".notice")
    assert shown.frame.locator("#gradients canvas").is_visible()


def test_a_run_that_measured_nothing_but_its_cost_shows_that(tmp_path: Path, open_tab: Any, tensorboard: Start) -> None:
    with SummaryWriter(str(tmp_path / "run")) as log:
        tab.write_cost(log, 0, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag")
    assert shown.frame.locator("#cost canvas").is_visible()
    assert "Does the gradient reach the beginning?" in shown.text(".unmeasured")
