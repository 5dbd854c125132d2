"""Findings are told layer by layer, in Markdown that keeps its lines."""

from __future__ import annotations

from rnn_diag.reporting.markdown import Statement, as_markdown


def test_markdown_has_a_heading_per_layer_and_a_list_beneath_every_statement():
    statements = [
        Statement("critical", "l0", "It\nvanishes.", "horizon 8", "take an LSTM"),
        Statement("advice", "l0", "Clip less."),
        Statement("ok", "l1", "It works."),
    ]
    assert as_markdown(statements) == (
        "### l0\n\n✕ **critical: It vanishes.**\n\n- horizon 8\n- Try: take an LSTM\n\n"
        "i **advice: Clip less.**\n\n### l1\n\n✓ **ok: It works.**"
    )
    assert as_markdown([], "All is well.") == "✓ All is well."
