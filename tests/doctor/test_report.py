"""Reports in words and in files: of this version, and of the one before it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rnn_diag import compare
from rnn_diag.coverage import Coverage, Status
from rnn_diag.doctor import Report, Vitals
from rnn_diag.doctor.finding import number
from rnn_diag.measurements.call import FirstNonFinite
from tests.doctor.small_networks import inputs, keeping, lstm, seen

OLD = Path(__file__).parent / "doctor_of_0.1.json"
"""What the version before wrote of an LSTM over 30 steps."""


def test_a_report_of_the_version_before_is_read_and_compared() -> None:
    before = Report.read(OLD)
    assert [one.id for one in before.findings] == ["vanishing", "forget_bias_low"]
    assert before.vitals["l0"].horizon == 9
    assert before.vitals["l0"].coverage == Coverage("l0", "", Status.EXACT, before.vitals["l0"].coverage.reason)
    after = seen(keeping(lstm(), 30), inputs(30))
    words = str(compare(before, after))
    assert "gone: warning: l0: vanishing" in words
    assert "l0: horizon in steps 9 → 29 (better)" in words


def test_a_number_of_the_version_before_that_was_not_finite_is_read_as_what_it_was() -> None:
    values = json.loads(OLD.read_text())["vitals"]["l0"] | {"non_finite": "hidden_grad at step 3, unit 1, is nan"}
    assert Vitals.from_dict(values).non_finite == FirstNonFinite("hidden_grad at step 3, unit 1, is nan", True)


def test_a_report_is_the_same_after_it_was_written_and_read(tmp_path: Path) -> None:
    batch = inputs()
    batch[7, 2, 1] = float("inf")
    for report in (seen(lstm(bidirectional=True)), seen(lstm(), batch)):
        file = tmp_path / "doctor.json"
        file.write_text(report.to_json())
        assert Report.read(file).to_json() == report.to_json()
        assert Report.read(file).findings == report.findings


def test_where_nothing_is_wrong_one_line_says_what_was_looked_at() -> None:
    assert str(seen(keeping(lstm()))).startswith("nothing wrong found in 1 layer over 1 measured step\n")
    layers = {f"l{k}": Vitals(f"l{k}", kind="gru", steps=9, has_gradients=True) for k in range(4)}
    assert Report((), layers, batches=20).nothing_wrong == "nothing wrong found in 4 layers over 20 measured steps"


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0"), (0.25, "0.25"), (999.4, "999"), (999.7, "1,000"), (1234.5, "1,234"), (1e246, "1·10^246")],
)
def test_numbers_are_written_as_people_write_them(value: float, words: str) -> None:
    assert number(value) == words


def test_names_that_hold_markup_are_in_every_table_letter_by_letter() -> None:
    name = "[/red].[bold].l0"
    found = seen(keeping(lstm(), 30), inputs(30))
    (vitals,) = found.vitals.values()
    findings = tuple(replace(one, layer=name) for one in seen(lstm(), inputs(30)).findings[:1])
    report = str(replace(found, findings=findings, vitals={name: replace(vitals, layer=name)}))
    assert report.count(name) == 2
