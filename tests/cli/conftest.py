"""Runs of the command line's configuration, in this process or in one of their own."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rnn_diag.cli.build import Run
from rnn_diag.cli.compose import checked_overrides, composed
from rnn_diag.cli.train import train
from tests.tasks.small import small_overrides

QUICK = ["callbacks=none", "trainer.enable_progress_bar=false", "trainer.num_sanity_val_steps=0", "cell.hidden_size=4"]
STEPS = [
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=3",
    "trainer.limit_val_batches=2",
    "trainer.log_every_n_steps=1",
]


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of small source files."""
    folder = tmp_path_factory.mktemp("text")
    for number in range(20):
        lines = [f"int f{number}_{line}(int x) {{ if (x) {{ return x + {line}; }} return 0; }}\n" for line in range(20)]
        (folder / f"file{number}.h").write_text("".join(lines))
    return folder


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with pictures in MNIST's format, 24 of each class."""
    folder = tmp_path_factory.mktemp("mnist")
    labels = bytes(range(10)) * 24
    for part in ("train", "t10k"):
        pixels = b"".join(bytes([20 * label]) * 28 * 28 for label in labels)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, len(labels), 28, 28) + pixels)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, len(labels)) + labels)
    return folder


@pytest.fixture
def small(text: Path, mnist: Path) -> Callable[[str], list[str]]:
    """Return a function from a task to the overrides that make it small."""

    def overrides(task: str) -> list[str]:
        data = {
            "source_text": [f"task.path={text}"],
            "braces": [f"task.path={text}"],
            "smnist": [f"task.folder={mnist}"],
        }
        return [*small_overrides(task), *data.get(task, [])]

    return overrides


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """Return a function that does the run of some overrides in this process."""

    def run_in_process(*overrides: str, folder: str = "run") -> Run:
        words = checked_overrides([*overrides, f"output_dir={tmp_path / folder}"])
        return train(composed("train", words))

    return run_in_process


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the console command in an empty folder."""

    def run_command(*words: str) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("rnn-diag-train")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        return subprocess.run(
            [str(program), *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110
        )

    return run_command
