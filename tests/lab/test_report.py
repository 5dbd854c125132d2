"""What a run of the lab leaves behind: the report, the files, the events."""

from __future__ import annotations

import csv
import json
import math
import re
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard.writer import SummaryWriter

from rnn_diag.lab.attempt import Attempt, attempted
from rnn_diag.lab.events import write_events
from rnn_diag.lab.experiment import Check, Relation, Table
from rnn_diag.lab.figure_style import spread
from rnn_diag.lab.files import write_files, write_results
from rnn_diag.lab.report import report
from rnn_diag.lab.theory import ROWS
from tests.lab.made_up import Broken, Doubling

ROOT = Path(__file__).parents[2]
MADE = datetime(2024, 2, 3, 4, 5)
VOID = {"meta", "br", "img", "link", "input", "hr"}


@pytest.fixture(scope="module")
def doubled() -> Attempt:
    return attempted("doubling", Doubling(), "rnn-diag-lab doubling")


@pytest.fixture(scope="module")
def page(doubled: Attempt) -> str:
    return report([doubled, attempted("broken", Broken(), "rnn-diag-lab broken")], MADE)


@pytest.mark.parametrize(
    ("relation", "measured", "holds"),
    [
        ("equal", 1.05, True),
        ("equal", 1.2, False),
        ("equal", 0.8, False),
        ("at most", 0.2, True),
        ("at most", 1.2, False),
        ("at least", 7.0, True),
        ("at least", 0.8, False),
        ("equal", math.nan, False),
        ("at most", math.nan, False),
        ("at least", math.nan, False),
        ("equal", math.inf, False),
    ],
)
def test_a_check_holds_within_its_tolerance_on_the_right_side(relation: Relation, measured: float, holds: bool) -> None:
    assert Check("x", 1.0, measured, 0.1, relation).holds is holds


def test_two_infinities_agree_and_opposite_ones_do_not() -> None:
    assert Check("x", math.inf, math.inf, 0.0).holds
    assert not Check("x", math.inf, -math.inf, 0.0).holds


def test_a_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"table 'sums': row \(1, 2, 3\); expected 2 values"):
        Table("sums", ("a", "b"), [(1, 2, 3)])


def test_every_element_of_the_page_is_closed(page: str) -> None:
    class Balance(HTMLParser):
        open: list[str]

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in VOID:
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass

    parser = Balance()
    parser.open = []
    parser.feed(page)
    assert parser.open == []


def test_the_page_asks_nobody_for_anything_and_runs_nothing(page: str) -> None:
    assert "<script" not in page
    assert "<link" not in page
    assert "@import" not in page
    assert re.findall(r'(?:src|(?<!:)href)="(?!#|data:)[^"]*"', page) == []
    assert re.findall(r"url\((?!#)[^)]*\)", page) == []


def test_words_are_escaped_and_passages_are_not(page: str) -> None:
    assert "Twice &lt;two&gt;" in page
    assert "It is &lt;four&gt;." in page
    assert "<two>" not in page
    assert "<b>bold</b>" in page


def test_the_contents_lead_to_every_experiment(page: str) -> None:
    assert re.findall(r'<a href="#(\w+)"', page) == ["doubling", "broken"]
    assert re.findall(r'<section id="(\w+)"', page) == ["doubling", "broken"]


def test_a_failed_experiment_is_named_with_its_error(page: str) -> None:
    assert "failed: broken" in page
    assert "RuntimeError: the &lt;apparatus&gt; broke" in page


def test_a_check_that_does_not_hold_is_named() -> None:
    page = report([attempted("doubling", Doubling(measured=5.0), "")], MADE)
    assert "1 of 2 checks hold; checks that do not hold in doubling" in page
    assert page.count("does not hold</td>") == 1


def test_pictures_take_the_colour_of_the_page_and_keep_their_names_apart(doubled: Attempt) -> None:
    picture = doubled.pictures["the_line"]
    one, other = (picture.inline(key, "twice") for key in ("a", "b"))
    names = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (one, other)]
    assert names[0] and not names[0] & names[1]
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', one)) <= names[0]
    assert "currentColor" in one
    assert "#000000" not in one
    assert 'aria-label="twice"' in one
    assert not re.search(r"<svg [^>]*\b(?:width|height)=", one)


def test_the_same_figure_gives_the_same_picture_on_white(doubled: Attempt) -> None:
    again = attempted("doubling", Doubling(), "").pictures["the_line"]
    assert again.svg == doubled.pictures["the_line"].svg
    np.testing.assert_array_equal(again.pixels, doubled.pictures["the_line"].pixels)
    assert again.pixels[0, 0].tolist() == [255, 255, 255]


def test_labels_that_would_touch_are_moved_apart_in_their_order() -> None:
    assert spread([0.2, 0.9], apart=0.1) == [0.2, 0.9]
    np.testing.assert_allclose(spread([0.5, 0.5, 0.5], apart=0.1), [0.4, 0.5, 0.6])
    np.testing.assert_allclose(spread([0.30, 0.32, 0.9], apart=0.1), [0.26, 0.36, 0.9])


def test_tables_and_figures_lie_in_a_folder_of_the_experiment(doubled: Attempt, tmp_path: Path) -> None:
    write_files(tmp_path, doubled)
    assert {file.name for file in (tmp_path / "doubling").iterdir()} == {
        "the_line.svg",
        "the_line.png",
        "sums_more.csv",
    }
    with (tmp_path / "doubling" / "sums_more.csv").open(newline="") as lines:
        assert list(csv.reader(lines)) == [["a|b", "sum"], ["x", "4.0"], ["y", "nan"], ["z", ""]]
    ElementTree.parse(tmp_path / "doubling" / "the_line.svg")
    assert (tmp_path / "doubling" / "the_line.png").read_bytes().startswith(b"\x89PNG")


def test_results_are_strict_json_with_words_for_what_is_not_finite(doubled: Attempt, tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", [doubled, attempted("broken", Broken(), "")])

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    found = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)["experiments"]
    assert found["doubling"]["settings"] == {"weights": [0.5, 1.0], "measured": 4.0}
    assert found["doubling"]["tables"][0]["rows"] == [["x", 4.0], ["y", "nan"], ["z", None]]
    assert found["doubling"]["checks"][1]["predicted"] == "inf"
    assert found["doubling"]["holds"] is True
    assert found["broken"]["holds"] is False
    assert found["broken"]["error"] == "RuntimeError: the <apparatus> broke"


def test_events_hold_the_checks_the_figure_and_the_tables(doubled: Attempt, tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        write_events(writer, doubled)
        write_events(writer, attempted("broken", Broken(), ""))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Scalars("doubling/2_2/measured")[0].value == 4.0
    assert events.Scalars("doubling/2_2/predicted")[0].value == 4.0
    assert events.Images("lab/doubling/the_line")[0].width == 1050
    texts = {
        tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode()
        for tag in events.Tags()["tensors"]
        if tag.endswith("/text_summary")
    }
    assert "It is <four>." in texts["lab/doubling/text_summary"]
    assert "| a\\|b | sum |" in texts["lab/doubling/sums_more/text_summary"]
    assert "RuntimeError" in texts["lab/broken/text_summary"]


def test_rows_of_the_theory_have_the_names_that_the_documentation_gives_them() -> None:
    lines = (ROOT / "docs" / "theory.md").read_text().splitlines()
    named = {
        int(found[1]): found[2].rstrip(".") for line in lines if (found := re.match(r"\| (\d+) \| \*\*(.+?)\*\*", line))
    }
    assert named == ROWS
