"""The tables at the end of a run."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from rnn_diag.cli.assembly import Run
from rnn_diag.cli.summary import STATISTICS_PER_LAYER, print_summary
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


def test_diagnostics_are_shown_by_layer_and_only_the_first_few(finished: Run) -> None:
    for number in range(STATISTICS_PER_LAYER + 2):
        finished.trainer.callback_metrics[f"spectrum/recurrent.l0/s{number}"] = torch.tensor(float(number))
    finished.trainer.callback_metrics["gradient_norms/recurrent.l0/first_to_last"] = torch.tensor(0.125)
    text = printed(finished)
    assert "0.125" in text
    assert text.index("gradient_norms") < text.index("spectrum")
    assert f"s{STATISTICS_PER_LAYER - 1}" in text
    assert f"s{STATISTICS_PER_LAYER}" not in text


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
