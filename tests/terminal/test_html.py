"""What notebooks show."""

from __future__ import annotations

import torch
from torch import nn

from rnn_diag import examine, record
from rnn_diag.doctor import Report, Vitals
from rnn_diag.terminal.html import paragraph, table


def test_names_of_others_are_text_and_lines_stay_lines() -> None:
    assert "<script>" not in table(["<script>"], [["<script>", "a\nb"]])
    assert "a<br>b" in table(["x"], [["a\nb"]])
    assert paragraph("<b>") == "<p>&lt;b&gt;</p>"


def test_a_report_has_a_short_repr_and_a_table() -> None:
    model = nn.ModuleDict({"<i>": nn.RNN(2, 8)})
    report = examine(model, torch.randn(60, 2, 2), lambda model, batch: model["<i>"](batch)[0][-1].sum())
    assert repr(report).startswith("Report(") and len(repr(report)) < 60
    shown = report._repr_html_()
    assert "vanishing: " in shown and "&lt;i&gt;.l0" in shown and "<i>" not in shown
    assert "nothing wrong found in 1 layer" in Report((), {"l0": Vitals("l0", steps=3)})._repr_html_()


def test_a_recording_names_its_layers_and_shows_how_they_were_captured() -> None:
    model = nn.ModuleDict({"rnn": nn.GRU(2, 3)})
    with record(model) as recording:
        assert repr(recording) == "Recording(torch.nn.ModuleDict: rnn.l0, running)"
        model["rnn"](torch.randn(4, 2, 2))[0].sum().backward()
    assert repr(recording) == "Recording(torch.nn.ModuleDict: rnn.l0)"
    assert "<td>rnn.l0</td>" in recording._repr_html_() and "<td>exact</td>" in recording._repr_html_()
