"""A card shows the doctor's words and plain facts: one verdict for one state, and no judgement of the page's own."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

import rnn_diag
from rnn_diag.tb import kinds as tab
from tests.tb.conftest import Start

GOLDEN = Path(__file__).parent / "golden"
STATIC = Path(rnn_diag.__file__).parent / "tb" / "static"
SEVERITIES = ("info", "advice", "warning", "critical")
VANISHING = {
    "severity": "critical",
    "layer": "l0",
    "id": "vanishing",
    "title": "vanishing: It fades.",
    "evidence": "horizon in steps: 3",
    "advice": "take an LSTM",
}
HINT = {"severity": "advice", "layer": "l0", "id": "forget_bias_low", "title": "forget_bias_low: Raise it."}


def test_no_file_of_the_page_holds_a_threshold() -> None:
    own = {file.name: file.read_text() for file in STATIC.glob("*.js") if file.stem != "uplot"}
    assert "health.js" not in own
    words = r"NEVER_WRITES|STUCK|HARMFUL|AT_EITHER_END|reachOf|middleOf|healthOf|LEVELS"
    assert {name: found for name, text in own.items() if (found := re.findall(rf"\b(?:{words})\b", text))} == {}
    for name in ("cards.js", "facts.js", "verdict.js", "units.js"):
        compared = re.findall(r"[<>]=?\s*-?\d+\.\d+|[<>]=?\s*-[1-9]", own[name])
        assert compared == [], f"{name} compares with {compared}"


def write_layer(log: Any, layer: str, step: int, horizon: float = 3.0) -> None:
    gates = {"forget": np.stack([np.full(20, 0.9), np.full(20, 0.0), np.full(20, 1.0)])}
    tab.write_gradients(log, layer, step, np.linspace(-5, -2, 20), cell="lstm")
    tab.write_gates(log, layer, step, gates)
    tab.write_gate_units(log, layer, step, gates)
    tab.write_horizon(log, layer, step, [horizon, 2.0, 4.0])
    tab.write_lyapunov(log, layer, step, [-0.25, -0.5])


@pytest.mark.slow
def test_a_card_says_how_far_a_layer_remembers_then_what_is_wrong_then_what_was_measured(
    tmp_path: Path, open_tab: Any, tensorboard: Start
) -> None:
    with SummaryWriter(str(tmp_path / "run")) as log:
        write_layer(log, "l0", 0)
        tab.write_verdict(log, 0, [HINT, VANISHING])
        tab.write_cost(log, 0, 1.0, 0.1)
    card = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag").frame.locator(".card")
    lines = [" ".join(text.split()) for text in card.locator("li").all_inner_texts()]
    assert lines == [
        "Memory horizon: 3 timesteps, p10 to p90: 2 to 4",
        "✕ vanishing: It fades. horizon in steps: 3 Try: take an LSTM",
        "i forget_bias_low: Raise it.",
        "Gradient at t = 0: 1.0 · 10⁻³ of the end",
        "Lyapunov exponent: −0.250 per timestep",
        "Gates shut / open: forget 0 % / 100 %",
    ]
    signs = card.locator("li.finding .sign").evaluate_all("(all) => all.map((one) => one.title)")
    assert signs == ["critical", "advice"]


@pytest.mark.slow
def test_facts_carry_no_judgement_and_a_run_without_a_verdict_says_so(
    tmp_path: Path, open_tab: Any, tensorboard: Start
) -> None:
    for name, shares in {"open": (0.99, 0.0, 1.0), "shut": (0.01, 1.0, 0.0)}.items():
        with SummaryWriter(str(tmp_path / name)) as log:
            tab.write_gates(log, "l0", 0, {"forget": np.repeat([shares], 8, axis=0).T})
            tab.write_gradients(log, "l0", 0, np.linspace(-30, -2, 20))
            tab.write_cost(log, 0, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path, runs=2)}#rnn_diag")
    for place in (1, 2):
        card = shown.frame.locator(f".cards .column:nth-child({place}) .card")
        assert card.locator("li").first.inner_text() == "Memory horizon: not measured"
        assert "No verdict in this run." in card.inner_text()
        assert card.locator(".sign").count() == 0
        colours = card.locator(".fact b").evaluate_all("(all) => all.map((one) => getComputedStyle(one).color)")
        assert len(set(colours)) == 1


@pytest.mark.slow
def test_a_layer_of_which_nothing_is_said_says_that_nothing_is_wrong(
    tmp_path: Path, open_tab: Any, tensorboard: Start
) -> None:
    with SummaryWriter(str(tmp_path / "run")) as log:
        for step in (0, 10):
            for layer in ("l0", "l1"):
                write_layer(log, layer, step)
        tab.write_verdict(log, 10, [{**VANISHING, "layer": "l1"}])
        tab.write_cost(log, 10, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag")
    assert shown.frame.locator(".card .name").all_inner_texts() == ["l1", "l0"]
    assert shown.text(".card.chosen .name") == "l1"
    assert "Nothing wrong found." in shown.text(".card:not(.chosen)")
    assert "Nothing wrong found." not in shown.text(".card.chosen")
    shown.frame.locator("#step").press("Home")
    shown.frame.locator(".card.chosen").get_by_text("No verdict by this step.").wait_for()


@pytest.mark.slow
def test_a_finding_leads_to_the_panel_that_shows_it(tmp_path: Path, open_tab: Any, tensorboard: Start) -> None:
    stuck = {"severity": "warning", "layer": "l1", "id": "stuck_gate", "title": "stuck_gate: Shut."}
    unseen = {"severity": "info", "layer": "l1", "id": "transient_growth", "title": "transient_growth: It grows."}
    with SummaryWriter(str(tmp_path / "run")) as log:
        for layer in ("l0", "l1"):
            write_layer(log, layer, 0)
        tab.write_verdict(log, 0, [VANISHING, stuck, unseen])
        tab.write_cost(log, 0, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag&p.rnn_diag.layer=l0")
    card = shown.frame.locator(".card", has=shown.frame.locator(".name", has_text="l1"))
    assert card.locator("button.link").all_inner_texts() == ["stuck_gate: Shut."]
    card.locator("button.link").click()
    shown.frame.locator(".card.chosen .name", has_text="l1").wait_for()
    shown.page.wait_for_timeout(1000)
    assert 0 <= shown.frame.locator("#units").evaluate("(one) => one.getBoundingClientRect().top") < 400


@pytest.mark.slow
def test_what_is_found_of_no_layer_with_a_card_stands_above_the_cards(
    tmp_path: Path, open_tab: Any, tensorboard: Start
) -> None:
    clipped = {"severity": "info", "layer": "", "title": "clipping_nearly_always: Nearly always."}
    unfollowed = {"severity": "warning", "layer": "odd", "title": "not_followed: It cannot be."}
    with SummaryWriter(str(tmp_path / "run")) as log:
        write_layer(log, "l0", 0)
        tab.write_verdict(log, 0, [VANISHING, clipped, unfollowed])
        tab.write_cost(log, 0, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag")
    assert shown.frame.locator(".findings .finding").all_inner_texts() == [
        "✕\n1 × critical · 1 × warning · 1 × info",
        "!\nodd: not_followed: It cannot be.",
        "i\nclipping_nearly_always: Nearly always.",
    ]


LAYERS = [
    f"model.backbone.bidirectional_encoder_{k:02d}.recurrent.l0{end}" for k in range(20) for end in ("", "_reverse")
]


def write_forty_layers(log: Any) -> None:
    for layer in LAYERS:
        tab.write_gradients(log, layer, 0, np.linspace(-5, -2, 20), cell="lstm")
        tab.write_horizon(log, layer, 0, 3.0)
    hint = {**HINT, "layer": LAYERS[3]}
    tab.write_verdict(
        log, 0, [{**VANISHING, "layer": LAYERS[24]}, {**HINT, "severity": "warning", "layer": LAYERS[39]}, hint]
    )
    tab.write_cost(log, 0, 1.0, 0.1)


@pytest.mark.slow
def test_many_layers_are_a_strip_worst_first_and_one_is_chosen_by_a_click(
    tmp_path: Path, open_tab: Any, tensorboard: Start
) -> None:
    with SummaryWriter(str(tmp_path / "run")) as log:
        write_forty_layers(log)
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag")
    chips, card = shown.frame.locator(".strip > .chips .chip"), shown.frame.locator(".card")
    assert [chip.get_attribute("title") for chip in chips.all()] == [LAYERS[24], LAYERS[39], LAYERS[3]]
    assert chips.locator(".sign").evaluate_all("(all) => all.map((one) => one.title)") == [
        "critical",
        "warning",
        "advice",
    ]
    assert card.count() == 1 and card.locator(".name").get_attribute("title") == LAYERS[24]
    assert shown.text(".strip summary") == "37 layers with nothing wrong found"
    shown.frame.locator(".strip input").fill("encoder_07")
    rest = shown.frame.locator(".strip details .chip:visible")
    assert [chip.get_attribute("title") for chip in rest.all()] == LAYERS[14:16]
    rest.last.click()
    shown.frame.locator(f'.card .name[title="{LAYERS[15]}"]').wait_for()
    assert shown.frame.locator(".strip input").input_value() == "encoder_07"
    shown.frame.locator("#gradients figcaption").get_by_text("encoder_07").wait_for()


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1024, 1440])
def test_forty_layers_with_long_names_overflow_nothing_and_no_box_scrolls(
    tmp_path: Path, open_tab: Any, tensorboard: Start, width: int
) -> None:
    with SummaryWriter(str(tmp_path / "run_with_a_long_name,lr=0.001,hidden=512")) as log:
        write_forty_layers(log)
    shown = open_tab(f"{tensorboard(tmp_path, runs=1)}#rnn_diag", width=width)
    shown.frame.locator(".strip summary").click()
    page = shown.frame.locator("html")
    assert page.evaluate("(one) => one.scrollWidth <= one.clientWidth")
    scrolling = shown.frame.locator("main").evaluate(
        """(main) => [...main.querySelectorAll('*')]
            .filter((one) => /auto|scroll/.test(getComputedStyle(one).overflowY) && one.scrollHeight > one.clientHeight)
            .map((one) => one.className)"""
    )
    assert scrolling == []
    too_wide = shown.frame.locator("main").evaluate(
        """(main) => [...main.querySelectorAll('.chip, .card, .panel')]
            .filter((one) => one.scrollWidth > one.clientWidth + 1)
            .map((one) => `${one.className} ${one.id}`)"""
    )
    assert too_wide == []


@pytest.mark.slow
def test_a_log_folder_that_is_itself_the_run_has_its_folders_name(
    tmp_path: Path, open_tab: Any, tensorboard: Start
) -> None:
    with SummaryWriter(str(tmp_path / "my_run")) as log:
        write_layer(log, "l0", 0)
        tab.write_cost(log, 0, 1.0, 0.1)
    shown = open_tab(f"{tensorboard(tmp_path / 'my_run', runs=1)}#rnn_diag")
    assert shown.text("aside li") == "my_run"
    assert shown.text(".column .run") == "my_run"


def assert_agree(card: Any, severity: float, texts: dict[int, str], step: int) -> None:
    """Compare what a card shows at a step with the scalar of that step and the text that stood then."""
    signs = card.locator(".finding .sign").evaluate_all("(all) => all.map((one) => one.title)")
    assert max(map(SEVERITIES.index, signs), default=0) == severity
    told = html.unescape(texts[max(known for known in texts if known <= step)].replace("\\", ""))
    for title in card.locator(".finding .link, .finding b").all_inner_texts():
        assert title in told


@pytest.mark.slow
def test_card_text_and_scalar_of_a_step_agree(open_tab: Any, tensorboard: Start) -> None:
    log = EventAccumulator(str(GOLDEN / "fit"), {"tensors": 0, "scalars": 0}).Reload()
    texts = {one.step: one.tensor_proto.string_val[0].decode() for one in log.Tensors("doctor/findings/text_summary")}
    address = tensorboard(GOLDEN, runs=2)
    for layer in ("encoder.l0", "decoder.l0"):
        scalars = {one.step: int(one.value) for one in log.Scalars(f"doctor/{layer}/severity")}
        assert scalars
        for step, severity in scalars.items():
            link = f"#rnn_diag&p.rnn_diag.run=fit&p.rnn_diag.layer={layer}&p.rnn_diag.step={step}"
            card = open_tab(address + link).frame.locator(".card.chosen")
            assert card.locator(".name").inner_text() == layer
            assert_agree(card, severity, texts, step)
