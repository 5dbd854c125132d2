"""What a run of the lab leaves: tables, figures, numbers and events."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard.writer import SummaryWriter

from rnn_diag.lab.report.files import write_events, write_files, write_results
from rnn_diag.lab.report.run import Attempt, attempted
from tests.lab.known_experiments import Broken, Doubling


@pytest.fixture(scope="module")
def doubled() -> Attempt:
    return attempted("doubling", Doubling(), "rnn-diag-lab doubling")


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
