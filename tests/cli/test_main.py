"""The first word of `rnn-diag` says which command runs."""

from __future__ import annotations

import sys

import pytest

from rnn_diag.cli import main as program


@pytest.mark.parametrize("word", program.COMMANDS)
def test_every_command_gets_the_words_behind_it(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(program, "outlive_the_terminal", lambda: None)
    monkeypatch.setattr(f"rnn_diag.cli.{word}.main", lambda: seen.append(sys.argv[1:]))
    monkeypatch.setattr(sys, "argv", ["rnn-diag", word, "one", "--two"])
    program.main()
    assert seen == [["one", "--two"]]


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_names_every_command(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(program, "outlive_the_terminal", lambda: None)
    monkeypatch.setattr(sys, "argv", ["rnn-diag", *words])
    program.main()
    shown = capsys.readouterr().out
    assert all(f"\n  {word} " in shown for word in program.COMMANDS)


def test_an_unknown_command_is_named_with_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "outlive_the_terminal", lambda: None)
    monkeypatch.setattr(sys, "argv", ["rnn-diag", "repot"])
    with pytest.raises(SystemExit, match="unknown command 'repot'; choices: train, doctor, lab, report"):
        program.main()
