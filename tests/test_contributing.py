"""The guide to adding a cell, a diagnostic and a task is followed to the letter, in a package of its own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"
BLOCK = re.compile(r"^```(?:python|yaml)\n# (my_rnn/\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SMALL = ("trainer.max_steps=20", "measure_every_n_steps=5", "task.train_size=200", "max_overhead=null")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the guide, written to a folder of its own."""
    folder = tmp_path_factory.mktemp("package")
    blocks = BLOCK.findall(GUIDE.read_text())
    assert len(blocks) == 6, "a cell, a diagnostic and a task, each with its configuration"
    for name, text in blocks:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


@pytest.fixture(scope="module")
def finished(package: Path) -> subprocess.CompletedProcess[str]:
    """The guide's command, run in the folder with a few options that make it short."""
    (command,) = re.findall(r"^rnn-diag-train .*my_rnn.*$", GUIDE.read_text(), re.MULTILINE)
    words = [sys.executable, "-m", "rnn_diag.cli.train", *shlex.split(command)[1:], *SMALL, "hydra.run.dir=run"]
    path = os.pathsep.join((str(package), str(GUIDE.parent), os.environ.get("PYTHONPATH", "")))
    environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "160"}
    return subprocess.run(words, cwd=package, env=environment, capture_output=True, text=True, timeout=200, check=False)


def test_the_guides_command_trains(finished: subprocess.CompletedProcess[str]) -> None:
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert "Parity · Recurrent" in finished.stdout
    assert "switched off" not in finished.stderr


def test_the_diagnostic_is_in_the_coverage_table_and_in_the_table_at_the_end(
    finished: subprocess.CompletedProcess[str],
) -> None:
    coverage, _, end = finished.stdout.partition("What happened inside")
    assert "state_norm" in coverage
    assert re.search(r"state_norm\W+recurrent\.l0\W+mean\W+\d", end)


def test_tensorboard_holds_the_diagnostic_and_the_gates_of_the_cell(
    package: Path, finished: subprocess.CompletedProcess[str]
) -> None:
    (events,) = (package / "run").rglob("*tfevents*")
    held = EventAccumulator(str(events)).Reload()
    assert {"state_norm/recurrent.l0/mean", "saturation/recurrent.l0/forget/left"} <= set(held.Tags()["scalars"])
    assert len(held.Scalars("state_norm/recurrent.l0/mean")) == 4
    (layout,) = held.Tensors("custom_scalars__config__")
    assert b"state norm" in layout.tensor_proto.string_val[0]


def test_the_gradients_of_the_cell_pass_their_self_check(
    package: Path, finished: subprocess.CompletedProcess[str]
) -> None:
    (events,) = (package / "run").rglob("*tfevents*")
    held = EventAccumulator(str(events)).Reload()
    assert max(event.value for event in held.Scalars("gradient_norms/recurrent.l0/fidelity")) < 1e-4
