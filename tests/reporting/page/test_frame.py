"""A page needs nothing else, and what it is called is text."""

from __future__ import annotations

from rnn_diag.reporting.page.frame import folding, framed


def test_a_page_holds_its_look_and_asks_for_nothing() -> None:
    page = framed("a <b>", "<p>body</p>")
    assert page.startswith("<!doctype html>") and "<title>a &lt;b&gt;</title>" in page and "<p>body</p>" in page
    assert "prefers-color-scheme: dark" in page
    assert "http" not in page and "<script" not in page and "<link" not in page


def test_what_is_folded_can_be_open() -> None:
    assert folding("T & T", "x", True).startswith("<details open><summary>T &amp; T</summary>")
