"""The tables at the end of a run."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from rnn_diag.callbacks.diagnostic import Diagnostic
from rnn_diag.cli.build import Run
from rnn_diag.cli.summary import STATISTICS_PER_LAYER, print_summary
from rnn_diag.measurements.statistics import Statistic
from tests.cli.conftest import QUICK, STEPS


@pytest.fixture
def finished(run: Callable[..., Run], small: Callable[[str], list[str]]) -> Run:
    return run(*small("adding"), *QUICK, *STEPS, "logger=none")


def printed(run: Run, output_dir: str = "somewhere") -> str:
    screen = io.StringIO()
    print_summary(run, 61.4, output_dir, Console(file=screen, width=160))
    return screen.getvalue()


def test_metrics_stand_beside_their_baselines(finished: Run) -> None:
    row = next(line for line in printed(finished).splitlines() if "val/mse" in line)
    mse = f"{float(finished.trainer.callback_metrics['val/mse']):.4g}"
    assert row.replace("│", " ").split() == ["val/mse", mse, mse, "0.1667"]


def test_the_headline_counts_parameters_and_time(finished: Run) -> None:
    # LSTM: 4 gates x 4 units x (2 inputs + 4 units + 2 biases); head: 4 weights + 1 bias
    assert "Adding · LSTM · 133 parameters · 3 steps · 1 min 1 s" in printed(finished)


def test_headlines_of_known_diagnostics_and_the_first_few_of_others_are_shown(finished: Run) -> None:
    values = {f"other/recurrent.l0/s{number}": 0.0 for number in range(STATISTICS_PER_LAYER + 1)}
    values |= {"gradient_norms/recurrent.l0/log10_max": 0.125, "gradient_norms/recurrent.l0/log10_median": 0.25}
    values |= {f"saturation/recurrent.l0/{gate}/left": 0.5 for gate in ("input", "forget", "output")}
    finished.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
    rows = [line.replace("│", " ").split() for line in printed(finished).splitlines()]
    assert ["gradient_norms", "recurrent.l0", "log10_max", "0.125"] in rows
    shown = " ".join(" ".join(row) for row in rows)
    assert "log10_median" not in shown
    assert all(f"{gate}/left 0.5" in shown for gate in ("input", "forget", "output"))
    assert f"s{STATISTICS_PER_LAYER - 1} 0" in shown
    assert f"s{STATISTICS_PER_LAYER} 0" not in shown


def test_a_long_sweep_is_shown_by_its_own_folder(finished: Run, tmp_path: Path) -> None:
    run_folder = tmp_path / "sweep" / "0_adding_gru"
    run_folder.mkdir(parents=True)
    assert "sweep/0_adding_gru" in printed(finished, str(run_folder))
    (tmp_path / "sweep" / "multirun.yaml").touch()
    assert "sweep/0_adding_gru" not in printed(finished, str(run_folder))


def test_without_a_table_on_other_ranks(finished: Run) -> None:
    class SecondRank:
        global_rank = 1

    assert printed(replace(finished, trainer=SecondRank())) == ""  # type: ignore[arg-type]


def test_a_diagnostic_of_ones_own_shows_the_headlines_that_it_declares(finished: Run) -> None:
    class Energy(Diagnostic):
        name = "energy"
        statistics = (Statistic("z", "J", "last", headline=True), Statistic("a", "J", "first"))

    values = {"energy/recurrent.l0/z": 0.5, "energy/recurrent.l0/a": 4.29e246}
    finished.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
    finished.trainer.callbacks.append(Energy())  # type: ignore[attr-defined]
    rows = [line.replace("│", " ").split() for line in printed(finished).splitlines()]
    assert ["energy", "recurrent.l0", "z", "0.5"] in rows
    assert not any("4.29" in part for row in rows for part in row)
