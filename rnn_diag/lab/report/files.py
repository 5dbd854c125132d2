"""What a run of the lab leaves next to the report: all numbers, every table and figure, and a run for TensorBoard."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rnn_diag.lab.experiment import Outcome, Table
from rnn_diag.lab.parts.words import written
from rnn_diag.lab.report.run import Attempt
from rnn_diag.reporting.tensorboard import Writer, write_picture, write_table


def write_files(folder: Path, attempt: Attempt) -> None:
    """Write the tables and the figures of an experiment into a folder of its name."""
    if attempt.outcome is None:
        return
    own = folder / attempt.name
    own.mkdir(parents=True, exist_ok=True)
    for table in attempt.outcome.tables:
        _write_table(own / f"{file_name(table.title)}.csv", table)
    for name, picture in attempt.pictures.items():
        (own / f"{file_name(name)}.svg").write_text(picture.svg_on_white, encoding="utf-8")
        (own / f"{file_name(name)}.png").write_bytes(picture.png)


def write_results(file: Path, attempts: Sequence[Attempt]) -> None:
    """Write all numbers of a run as JSON; those that are not finite as the words `nan`, `inf` and `-inf`."""
    content = {"experiments": {attempt.name: _result(attempt) for attempt in attempts}}
    file.write_text(json.dumps(for_json(content), indent=2, allow_nan=False, ensure_ascii=False), encoding="utf-8")


def for_json(value: Any) -> Any:
    """Return what JSON can hold; numbers that are not finite become the words `nan`, `inf` and `-inf`.

    Example:
        >>> for_json({"half_life": float("inf"), "weights": (0.5, 1)})
        {'half_life': 'inf', 'weights': [0.5, 1]}
    """
    if isinstance(value, Mapping):
        return {str(key): for_json(entry) for key, entry in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, Sequence):
        return [for_json(entry) for entry in value]
    return str(value)


def file_name(title: str) -> str:
    """Return a title as the name of a file.

    Example:
        >>> file_name("Half-life, by activation (steps)")
        'half-life_by_activation_steps'
    """
    return re.sub(r"[^\w-]+", "_", title.lower()).strip("_") or "untitled"


def _write_table(file: Path, table: Table) -> None:
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(table.header)
        writer.writerows(table.rows)


def _result(attempt: Attempt) -> dict[str, Any]:
    experiment, outcome = attempt.experiment, attempt.outcome
    about = {
        "title": experiment.title,
        "question": experiment.question,
        "theory": experiment.theory,
        "command": attempt.command,
        "settings": experiment.settings,
        "seconds": attempt.seconds,
        "holds": attempt.holds,
    }
    if outcome is None:
        return {**about, "error": attempt.error}
    return {
        **about,
        "conclusion": outcome.conclusion,
        "checks": [asdict(check) | {"holds": check.holds} for check in outcome.checks],
        "tables": [asdict(table) for table in outcome.tables],
    }


@runtime_checkable
class ScalarWriter(Writer, Protocol):
    """A writer that takes scalars as well."""

    def add_scalar(self, tag: str, scalar_value: Any, global_step: Any) -> Any:
        """Write a number."""


def write_events(writer: ScalarWriter, attempt: Attempt) -> None:
    """Write what became of an experiment, everything at step 0.

    Tags: `lab/<experiment>` the conclusion; `lab/<experiment>/checks` and one per table; one per figure; and
    `<experiment>/<check>/predicted` and `/measured`.
    """
    root = f"lab/{attempt.name}"
    if attempt.outcome is None:
        writer.add_text(root, f"**{attempt.experiment.title}** failed: {attempt.error}", 0)
        return
    writer.add_text(root, f"**{attempt.experiment.question}**\n\n{attempt.outcome.conclusion}", 0)
    _write_tables(writer, root, attempt.outcome)
    for name, picture in attempt.pictures.items():
        write_picture(writer, f"{root}/{file_name(name)}", picture.pixels, 0)
    for check in attempt.outcome.checks:
        tag = f"{attempt.name}/{file_name(check.what)}"
        writer.add_scalar(f"{tag}/predicted", check.predicted, 0)
        writer.add_scalar(f"{tag}/measured", check.measured, 0)


def _write_tables(writer: Writer, root: str, outcome: Outcome) -> None:
    checks = [
        [check.what, check.relation, written(check.predicted), written(check.measured), written(check.holds)]
        for check in outcome.checks
    ]
    write_table(writer, f"{root}/checks", ["what", "relation", "predicted", "measured", "holds"], checks, 0)
    for table in outcome.tables:
        rows = [[written(value) for value in row] for row in table.rows]
        write_table(writer, f"{root}/{file_name(table.title)}", list(table.header), rows, 0)
