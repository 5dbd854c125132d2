"""The report of a run as one HTML file that needs nothing else: no script, no request, light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

from rnn_diag.lab.experiment import Check, Outcome, Table
from rnn_diag.lab.parts.figures import INK
from rnn_diag.lab.parts.words import written
from rnn_diag.lab.report.run import Attempt
from rnn_diag.reporting.page.frame import folding, framed
from rnn_diag.reporting.page.picture import inlined

ROWS: Final = {
    1: "BIBO",
    2: "Impulse response",
    3: "Scalar recursion",
    4: "Vector recursion",
    5: "Nonlinearities",
    6: "Memory length",
    7: "The chain",
    8: "Activation Jacobian",
    9: "Weights",
    10: "What to watch",
    11: "Memory that depends on the input",
    12: "Constant-error carousel",
    13: "Gates",
    14: "LSTM",
    15: "Peephole LSTM",
    16: "Its backward pass, written out",
    17: "GRU",
    18: "What gating does and does not do",
    19: "Complex eigenvalues",
    20: "Selective decay",
    21: "Exponential gate",
}
"""What the rows of docs/theory.md are called, for reports that are read without it."""

INKS: Final = {INK: "currentColor"}
"""What is ink in a figure has the colour of the page's text."""

_FEW_ROWS = 10
"""Tables up to this long are shown unfolded."""


def report(attempts: Sequence[Attempt], made: datetime) -> str:
    """Return the page.

    Args:
        attempts: In the order in which they are to stand there.
        made: When the run was started.
    """
    return framed("The stability lab", f"{_opening(attempts, made)}{''.join(map(_section, attempts))}")


def _opening(attempts: Sequence[Attempt], made: datetime) -> str:
    lines = "".join(_contents_line(attempt) for attempt in attempts)
    return (
        "<header>\n<h1>The stability lab</h1>\n"
        "<p>What the theory of recurrent networks predicts, beside what the instruments of rnn_diag measure. "
        "In the figures, thin dashed lines are the theory, drawn over the measurement.</p>\n"
        f'<p class="faint">{made:%d %B %Y, %H:%M} · {_summary(attempts)}</p>\n</header>\n'
        '<nav aria-label="Contents">\n<table class="contents">\n'
        f"<thead><tr><th>experiment</th><th>question</th><th>checks</th><th>time</th></tr></thead>\n{lines}"
        "</table>\n</nav>\n"
    )


def _summary(attempts: Sequence[Attempt]) -> str:
    failed = [attempt.name for attempt in attempts if attempt.outcome is None]
    differ = [attempt.name for attempt in attempts if attempt.disagreements]
    held = sum(check.holds for attempt in attempts if attempt.outcome for check in attempt.outcome.checks)
    total = sum(len(attempt.outcome.checks) for attempt in attempts if attempt.outcome)
    parts = [f"{len(attempts)} experiment{'s' * (len(attempts) != 1)}, {held} of {total} checks hold"]
    parts += [f"checks that do not hold in {', '.join(differ)}"] if differ else []
    parts += [f"failed: {', '.join(failed)}"] if failed else []
    return escape("; ".join(parts))


def _contents_line(attempt: Attempt) -> str:
    outcome = attempt.outcome
    held = "failed" if outcome is None else f"{sum(c.holds for c in outcome.checks)}/{len(outcome.checks)}"
    return (
        f'<tr><td><a href="#{attempt.name}">{escape(attempt.experiment.title)}</a></td>'
        f"<td>{escape(attempt.experiment.question)}</td>"
        f'<td class="number {"good" if attempt.holds else "bad"}">{held}</td>'
        f'<td class="number">{attempt.seconds:.1f} s</td></tr>\n'
    )


def _section(attempt: Attempt) -> str:
    rows = " ".join(f'<span class="row">row {row} · {escape(ROWS[row])}</span>' for row in attempt.experiment.theory)
    body = _failure(attempt) if attempt.outcome is None else _findings(attempt, attempt.outcome)
    return (
        f'<section id="{attempt.name}">\n<h2>{escape(attempt.experiment.title)}</h2>\n'
        f'<p class="question">{escape(attempt.experiment.question)}</p>\n<p class="rows">{rows}</p>\n'
        f"{body}{_how(attempt)}</section>\n"
    )


def _failure(attempt: Attempt) -> str:
    return (
        f'<p class="conclusion bad">This experiment failed: {escape(attempt.error)}</p>\n'
        f"<details><summary>Where</summary><pre>{escape(attempt.stack)}</pre></details>\n"
    )


def _findings(attempt: Attempt, outcome: Outcome) -> str:
    pictures = "".join(_pictures(attempt))
    passages = "".join(
        f'<h3>{escape(_sentence(name))}</h3>\n<div class="passage">{html}</div>\n'
        for name, html in outcome.passages.items()
    )
    return (
        f'<p class="conclusion">{escape(outcome.conclusion)}</p>\n{pictures}{passages}'
        f"{_checks(attempt)}{''.join(map(_table, outcome.tables))}"
    )


def _pictures(attempt: Attempt) -> Iterator[str]:
    passages = attempt.outcome.passages if attempt.outcome else {}
    for number, (name, picture) in enumerate(attempt.pictures.items()):
        if name in passages:
            continue
        description = escape(f"{attempt.experiment.title}: {name.replace('_', ' ')}")
        yield f"<figure>{inlined(picture.svg, f'{attempt.name}-{number}', description, INKS)}</figure>\n"


def _sentence(name: str) -> str:
    """Return a name as words with a capital in front."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _checks(attempt: Attempt) -> str:
    checks = attempt.outcome.checks if attempt.outcome else ()
    if not checks:
        return ""
    lines = "".join(map(_check_line, checks))
    unfolded = len(checks) <= _FEW_ROWS or bool(attempt.disagreements)
    return _folding(
        f"Theory against measurement: {attempt.verdict}",
        "<thead><tr><th>what</th><th>predicted</th><th>measured</th><th>tolerance</th><th></th></tr></thead>\n" + lines,
        unfolded,
    )


def _check_line(check: Check) -> str:
    bound = {"equal": "", "at most": "≤ ", "at least": "≥ "}[check.relation]
    mark = '<td class="good">holds</td>' if check.holds else '<td class="bad">does not hold</td>'
    return (
        f'<tr><td>{escape(check.what)}</td><td class="number">{bound}{written(check.predicted)}</td>'
        f'<td class="number">{written(check.measured)}</td><td class="number faint">{written(check.tolerance)}</td>'
        f"{mark}</tr>\n"
    )


def _table(table: Table) -> str:
    header = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in table.rows)
    return _folding(table.title, f"<thead><tr>{header}</tr></thead>\n{rows}", len(table.rows) <= _FEW_ROWS)


def _cell(value: Any) -> str:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    opening = '<td class="number">' if is_number else "<td>"
    return f"{opening}{escape(written(value))}</td>"


def _folding(title: str, content: str, unfolded: bool) -> str:
    return folding(title, f"<table>\n{content}</table>", unfolded)


def _how(attempt: Attempt) -> str:
    settings = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(written(value))}</td></tr>\n"
        for name, value in attempt.experiment.settings.items()
    )
    return (
        f'<p class="command"><code>{escape(attempt.command)}</code> '
        f'<span class="faint">took {attempt.seconds:.1f} s</span></p>\n{_folding("Settings", settings, False)}'
    )
