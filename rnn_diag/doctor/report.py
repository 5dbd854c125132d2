"""A report: the findings at a network's layers, the vital signs that they rest on, and how it was looked at."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rnn_diag.coverage import Status
from rnn_diag.doctor.finding import Finding, Severity, alike, number, ways_of
from rnn_diag.doctor.signs import SIGNS
from rnn_diag.doctor.vitals import Vitals
from rnn_diag.terminal import SIMPLE_HEAD, Console, Group, RenderableType, Table, Text
from rnn_diag.terminal.html import paragraph, table

STYLES = {
    Severity.INFO: "dim",
    Severity.ADVICE: "cyan",
    Severity.WARNING: "yellow",
    Severity.CRITICAL: "bold red",
}

WIDTH = 120
"""Columns of a report that is turned into text."""


ENDLESS = 1e9
"""Steps beyond which a memory is shown as without end: no sequence is as long."""


@dataclass(frozen=True, repr=False)
class Report:
    """What the doctor says of a network.

    It prints as text, renders in rich and in notebooks, and goes to JSON and back.

    Attributes:
        findings: The worst first; among equally bad ones, causes before their effects.
        vitals: Every layer's numbers, by name.
        loss: The loss of the batch that was looked at; NaN where there is none.
        seconds: What took how long: `step` (forward and backward), `measuring`.
        batches: Over how many measured batches of the run this was judged.
    """

    findings: tuple[Finding, ...]
    vitals: dict[str, Vitals]
    loss: float = math.nan
    seconds: dict[str, float] = field(default_factory=dict)
    batches: int = 1

    @property
    def nothing_wrong(self) -> str:
        """What is said where there is no finding, in one line, with what could not be judged.

        Example:
            >>> Report((), {"cell.l0": Vitals("cell.l0", steps=20, has_gradients=True)}, batches=20).nothing_wrong
            'nothing wrong found in 1 layer over 20 measured steps; not judged: gates, weights and horizon of cell.l0'
        """
        layers = sum(not _unseen(one) for one in self.vitals.values())
        words = f"nothing wrong found in {_counted(layers, 'layer')} over {_counted(self.batches, 'measured step')}"
        return f"{words}; {self.not_judged}" if self.not_judged else words

    @property
    def not_judged(self) -> str:
        """What could not be judged, in one line; empty where all was."""
        parts: dict[str, list[str]] = {}
        for layer, one in self.vitals.items():
            if what := _not_judged(one):
                parts.setdefault(what, []).append(layer)
        words = ", ".join(f"{what} of {' and '.join(layers)}" for what, layers in parts.items())
        return f"not judged: {words}" if words else ""

    @property
    def severity(self) -> Severity:
        """That of the worst finding; `INFO` where there is none."""
        return max((finding.severity for finding in self.findings), default=Severity.INFO)

    def of(self, id: str, layer: str | None = None) -> list[Finding]:
        """Return the findings of one rule, at all layers or at one."""
        return [one for one in self.findings if one.id == id and layer in (None, one.layer)]

    def for_command_line(self) -> Report:
        """Return the report with advice in the options of this package's commands, where there are some."""
        return replace(self, findings=tuple(replace(one, from_command_line=True) for one in self.findings))

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dump` takes."""
        return {
            "severity": str(self.severity),
            "findings": [finding.to_dict() for finding in self.findings],
            "vitals": {layer: vitals.to_dict() for layer, vitals in self.vitals.items()},
            "loss": self.loss if math.isfinite(self.loss) else str(self.loss),
            "seconds": self.seconds,
            "batches": self.batches,
        }

    def to_json(self) -> str:
        """Return the report as JSON; numbers that are not finite are the words `nan`, `inf` and `-inf`."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Report:
        """Return what `to_dict` gave."""
        return cls(
            tuple(map(Finding.from_dict, values["findings"])),
            {layer: Vitals.from_dict(vitals) for layer, vitals in values["vitals"].items()},
            float(values["loss"]),
            dict(values["seconds"]),
            int(values.get("batches", 1)),
        )

    @classmethod
    def read(cls, file: str | Path) -> Report:
        """Return the report that a JSON file holds.

        Raises:
            ValueError: If it holds none.
        """
        try:
            return cls.from_dict(json.loads(Path(file).read_text()))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{str(file)!r} holds no report of the doctor; expected a doctor.json") from error

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = [findings_table(self.findings)] if self.findings else [Text(self.nothing_wrong)]
        if self.findings and self.not_judged:
            parts.append(Text(f" {self.not_judged}", "dim"))
        if _known_columns(self.vitals):
            parts += [vitals_table(self.vitals), legend(self.vitals)]
        return Group(*parts)

    def __repr__(self) -> str:
        found = _counted(len(self.findings), "finding") + (f", {self.severity}" if self.findings else "")
        return f"Report({found}; {_counted(len(self.vitals), 'layer')})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        rows = [
            (one.severity, one.layer, f"{one.id}: {one.meaning}", "\n".join(map(str, one.evidence)), one.advice)
            for one in self.findings
        ]
        heads = ("severity", "layer", "finding", "numbers", "try")
        told = table(heads, rows) if rows else paragraph(self.nothing_wrong)
        return told + vitals_html(self.vitals)

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=WIDTH, color_system=None)
        console.print(self)
        return str(console.file.getvalue()).rstrip()  # type: ignore[attr-defined]


def findings_table(findings: tuple[Finding, ...], title: str = "What the doctor found") -> Table:
    """Return one row for each finding; what differs in its layer and numbers alone is one row, with the first's."""
    table = Table(
        "severity", "layer", "finding", title=title, title_justify="left", title_style="bold", show_lines=True
    )
    for column in table.columns:
        column.overflow = "fold"
    for first, *others in alike(findings):
        text = Text(f"{first.id}: ", style="bold").append(first.meaning, style="not bold")
        numbers = "; ".join(map(str, first.evidence))
        whose = f"at {first.layer}: " if others else ""
        text.append(f"\n{whose}{numbers}" if numbers else "", style="not bold dim")
        text.append(f"\nTry: {first.remedy}" if first.remedy else "", style="not bold")
        ways = ways_of((first, *others))
        text.append(f"\n{ways}" if ways else "", style="not bold italic")
        layers = "\n".join(one.layer for one in (first, *others))
        table.add_row(Text(str(first.severity), STYLES[first.severity]), layers, text)
    return table


def vitals_table(vitals: Mapping[str, Vitals]) -> Table:
    """Return one row for each layer: how far it reaches, against how far it would have to, and how it starts."""
    title = "Every layer and direction"
    table = Table(
        "layer", "kind", title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.columns[0].overflow = "fold"
    known = _known_columns(vitals)
    for name in known:
        table.add_column(SIGNS[name].column, justify="right", no_wrap=True)
    for layer, one in vitals.items():
        values = [_shown(one, name) for name in known]
        table.add_row(layer, one.kind, *("" if math.isnan(value) else number(value) for value in values))
    return table


def vitals_html(vitals: Mapping[str, Vitals]) -> str:
    """Return the table of layers as HTML, with what its columns mean beneath."""
    known = _known_columns(vitals)
    rows = (
        (layer, one.kind, *("" if math.isnan(value := _shown(one, name)) else number(value) for name in known))
        for layer, one in vitals.items()
    )
    meanings = "; ".join(f"{SIGNS[name].column}: {SIGNS[name].meaning}" for name in known)
    heads = ("layer", "kind", *(SIGNS[name].column for name in known))
    return table(heads, rows) + (paragraph(meanings) if meanings else "")


def legend(vitals: Mapping[str, Vitals]) -> Table:
    """Return what the columns of the table of layers mean, one a row."""
    rows = Table.grid(padding=(0, 1))
    for name in _known_columns(vitals):
        rows.add_row(Text(f" {SIGNS[name].column}", "dim"), Text(SIGNS[name].meaning, "dim"))
    return rows


def _known_columns(vitals: Mapping[str, Vitals]) -> list[str]:
    """Return the fields of `Vitals` that have a column, those that any layer has a number for."""
    shown = (name for name, sign in SIGNS.items() if sign.column)
    return [name for name in shown if any(not math.isnan(_shown(one, name)) for one in vitals.values())]


def _shown(one: Vitals, name: str) -> float:
    value = math.nan if _unseen(one) else float(getattr(one, name))
    return math.inf if name in ("predicted_horizon", "longest_memory") and value > ENDLESS else value


def _unseen(one: Vitals) -> bool:
    """Return whether nothing was measured of a layer."""
    return one.steps == 0


def _not_judged(one: Vitals) -> str:
    """Return what of a layer could not be judged, or empty."""
    if one.coverage is not None and one.coverage.status is Status.NEVER_RAN:
        return "all"
    if _unseen(one) or one.non_finite is not None:
        return "" if one.non_finite is not None else "all"
    if not one.kind:
        return "gates, weights and horizon" if one.has_gradients else "gates, weights and gradients"
    if one.is_frozen:
        return "training (frozen)"
    if not one.has_gradients:
        return "gradients"
    return "horizon" if one.state_changed else ""


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
