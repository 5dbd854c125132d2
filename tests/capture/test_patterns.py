"""Glob patterns of layer names."""

from __future__ import annotations

from rnn_diag.capture.patterns import matching


def test_patterns_keep_the_models_order_and_take_each_layer_once() -> None:
    names = ["encoder.l0", "encoder.l1", "decoder.l0"]
    assert matching(names, ["decoder*", "*.l0", "encoder.l1"]) == names
    assert matching(names, "*coder.l0") == ["encoder.l0", "decoder.l0"]
    assert matching([], "*") == []
