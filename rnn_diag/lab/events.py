"""A run of the lab in TensorBoard: figures, tables, conclusions, and checks as scalars."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from rnn_diag.lab.attempt import Attempt
from rnn_diag.lab.experiment import Outcome
from rnn_diag.lab.files import file_name
from rnn_diag.lab.numbers import written
from rnn_diag.reporting.tensorboard import Writer, write_picture, write_table


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
