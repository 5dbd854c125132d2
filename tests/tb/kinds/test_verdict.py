"""Findings are written with a severity and a title, and read back worst first with the panel that shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnn_diag.doctor.finding import Severity
from rnn_diag.doctor.rules import RULE_IDS
from rnn_diag.tb import kinds
from rnn_diag.tb.kinds.verdict import PANELS, SEVERITIES, findings_in
from scripts.screenshots import PANELS as DRAWN
from tests.tb.serving import get, written


def test_a_finding_is_read_as_it_was_written_with_its_panel(tmp_path: Path) -> None:
    finding = {"severity": "advice", "layer": "l0", "title": "forget_bias_low: Raise it.", "id": "forget_bias_low"}
    client = written(tmp_path, lambda log: kinds.write_verdict(log, 3, [finding]))
    assert get(client, "verdict", run="run").json == [{"step": 3, "findings": [{**finding, "panel": "gates"}]}]


def test_findings_are_read_worst_first_with_texts_alone() -> None:
    text = b"""[
        {"severity": "ok", "title": NaN}, {"severity": [], "title": "odd"}, {"severity": "critical", "id": "vanishing"}
    ]"""
    assert findings_in(np.array(text, dtype=object)) == [
        {"severity": "critical", "id": "vanishing", "panel": "gradients"},
        {"severity": "info", "title": "odd"},
        {"severity": "ok"},
    ]


def test_a_severity_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ok, info, advice, warning, critical"):
        kinds.write_verdict(None, 0, [{"severity": "bad", "title": "x"}])


def test_every_severity_of_the_doctor_can_be_written() -> None:
    assert ("ok", *map(str, Severity)) == SEVERITIES


def test_findings_lead_to_panels_and_every_word_is_a_rule() -> None:
    assert set(PANELS.values()) <= set(DRAWN)
    assert set(PANELS) <= set(RULE_IDS)
    of_the_capture = {"unfaithful", "never_ran", "not_followed", "not_optimized"}
    of_the_calls = {"state_not_handed_on", "detached_at_every_step"}
    assert set(RULE_IDS) - set(PANELS) == of_the_capture | of_the_calls | {"dead_relu", "saturated_tanh"}
