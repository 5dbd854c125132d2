"""The command `rnn-diag report`: one run on one page, in one HTML file that needs nothing else."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rnn_diag.errors import ends_with_one_line, needs

PROGRAM: Final = "rnn-diag report"
DOCTORS: Final = "doctor.json"


def main(words: Sequence[str] | None = None) -> None:
    """Write the page of the run that is named, and say where it is."""
    arguments = _parser().parse_args(words)
    with ends_with_one_line(PROGRAM, ValueError, OSError, ModuleNotFoundError):
        page = page_of_run(Path(arguments.run), arguments.layers)
        file = Path(arguments.output or Path(arguments.run) / "report.html")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
    print(f"report: {os.path.relpath(file)}")


def page_of_run(folder: Path, layers: Sequence[str] = ()) -> str:
    """Return the page of the run that a folder holds.

    Args:
        folder: Where a TensorBoardLogger wrote, or `Doctor` its file, or above it.
        layers: Glob patterns of the layers whose figures are drawn.

    Raises:
        ValueError: If the folder holds no run, or several.
        ModuleNotFoundError: If matplotlib is not installed.
    """
    with needs("a page with figures", "'rnn_diag[plot]'"):
        import matplotlib  # noqa: F401

    from rnn_diag.doctor.report import Report, vitals_html
    from rnn_diag.reporting.run.logged import LoggedRun, runs_in
    from rnn_diag.reporting.run.page import page_of

    if not folder.is_dir():
        raise ValueError(f"{str(folder)!r}; expected the folder of a run")
    runs = runs_in(str(folder))
    if len(runs) > 1:
        named = ", ".join(str(folder / run) for run in sorted(runs))
        raise ValueError(f"{str(folder)!r} holds {len(runs)} runs; expected one of: {named}")
    name, run = next(iter(runs.items()), (".", LoggedRun()))
    own = folder / name
    file = next((one / DOCTORS for one in (own, folder) if (one / DOCTORS).is_file()), None)
    if not runs and file is None:
        raise ValueError(
            f"{str(folder)!r} holds no diagnostics; expected a folder that RNNDiagnostics wrote to by a "
            "TensorBoardLogger, or one with a doctor.json"
        )
    report = None if file is None else Report.read(file)
    vitals, nothing = (vitals_html(report.vitals), report.nothing_wrong) if report else ("", "")
    return page_of("/".join(own.resolve().parts[-2:]), run, layers=layers, vitals=vitals, nothing_wrong=nothing)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        PROGRAM, description="Write one self-contained HTML page of a run: the verdict, numbers and figures."
    )
    parser.add_argument("run", metavar="RUN", help="folder of the run, such as lightning_logs/version_0")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write; RUN/report.html unless given")
    parser.add_argument(
        "--layers",
        metavar="PATTERN",
        action="append",
        default=[],
        help="layers whose figures are drawn, such as 'encoder.*'",
    )
    return parser
