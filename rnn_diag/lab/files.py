"""What a run of the lab leaves in its folder beside the report: all numbers, every table and every figure."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rnn_diag.lab.attempt import Attempt
from rnn_diag.lab.experiment import Table
from rnn_diag.lab.numbers import for_json


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
