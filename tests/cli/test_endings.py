"""However a run ends, its table, its files and a line on how to continue are there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from rnn_diag.batch import Batch
from rnn_diag.cli.build import Run
from rnn_diag.cli.compose import checked_overrides, composed
from rnn_diag.cli.train import reported
from rnn_diag.models import SequenceRegressor
from tests.cli.conftest import QUICK, STEPS
from tests.tasks.small import small_overrides

MEASURED = [
    *small_overrides("adding"),
    "callbacks=[rnn_diagnostics,doctor]",
    "cell.hidden_size=4",
    "measure_every_n_steps=1",
    "max_overhead=null",
    "trainer.limit_val_batches=1",
]

pytestmark = pytest.mark.timeout(400)


def started(folder: Path, *words: str, redirected: str = "") -> subprocess.Popen[str]:
    """Start the command in a folder, its output in two files."""
    line = f'exec "$0" -m rnn_diag.cli.train "$@" {redirected or "> out 2> err"}'
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": root}
    words = (*MEASURED, "hydra.run.dir=run", *words)

    def listens_to_ctrl_c() -> None:  # which a process that was started in the background does not
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    call = ["bash", "-c", line, sys.executable, *words]
    return subprocess.Popen(call, cwd=folder, env=environment, text=True, preexec_fn=listens_to_ctrl_c)


def assert_all_is_there(folder: Path) -> None:
    assert (folder / "run" / "doctor.json").is_file()
    (events,) = (folder / "run").glob("*tfevents*")
    held = EventAccumulator(str(events)).Reload()
    assert held.Scalars("gradient_norms/recurrent.l0/log10_max")


@pytest.mark.parametrize(
    ("number", "status"), [pytest.param(signal.SIGINT, 1, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_a_signal_ends_a_run_with_its_table_and_a_line_on_how_to_continue(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    process = started(tmp_path, "trainer.max_epochs=100000")
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.2)
    process.send_signal(number)
    try:
        assert process.wait(timeout=100) == status, (tmp_path / "err").read_text()
    finally:
        process.kill()
    told = (tmp_path / "out").read_text()
    assert "train/mse" in told and "What happened inside" in told
    assert "to continue: the same command with checkpoint=run/checkpoints/last.ckpt\n" in told
    assert "Traceback" not in (tmp_path / "err").read_text()
    assert_all_is_there(tmp_path)


@pytest.mark.parametrize("redirected", ["2>&- >&-", pytest.param("2>&1 > >(head -n 1)", marks=pytest.mark.slow)])
def test_a_run_that_nobody_reads_reaches_its_end(redirected: str, tmp_path: Path) -> None:
    process = started(tmp_path, "trainer.max_steps=3", "trainer.val_check_interval=2", redirected=redirected)
    assert process.wait(timeout=300) == 0
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    assert_all_is_there(tmp_path)


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Return a function that makes the third training step fail."""
    step = SequenceRegressor.training_step

    def fails_with(error: Exception) -> None:
        def failing(self: SequenceRegressor, batch: Batch, index: int) -> Tensor:
            if index == 2:
                raise error
            return step(self, batch, index)

        monkeypatch.setattr(SequenceRegressor, "training_step", failing)

    return fails_with


def test_an_error_shows_the_table_first_and_is_raised(
    fails: Callable[[Exception], None], run: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(KeyError("mine"))
    with pytest.raises(KeyError, match="mine"):
        run(*MEASURED, *STEPS, "trainer.enable_progress_bar=false")
    told = capsys.readouterr().out
    assert "2 steps" in told and "no checkpoint was written yet; the same command starts anew" in told
    assert_all_is_there(tmp_path)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("of the GPU"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_memory_that_runs_out_is_told_in_one_line(
    error: Exception, fails: Callable[[Exception], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(error)
    words = [*small_overrides("adding"), *QUICK, *STEPS, "logger=none", f"output_dir={tmp_path}"]
    with pytest.raises(SystemExit) as ended:
        reported(composed("train", checked_overrides(words)))
    message = str(ended.value.code)
    assert message.startswith("rnn-diag-train: out of memory; try a smaller task.batch_size: ") and "\n" not in message
    assert "2 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "more"),
    [("trainer.max_steps=2", "trainer.max_steps"), ("trainer.max_epochs=1", "trainer.max_epochs")],
)
def test_a_run_that_has_done_its_steps_says_which_option_adds_more(
    word: str, more: str, run: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    run(*small_overrides("adding"), *QUICK, *STEPS, "logger=none", word)
    assert f"/checkpoints/last.ckpt and a larger {more}\n" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"garbage", b""])
def test_a_checkpoint_that_is_none_is_told_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "some.ckpt").write_bytes(content)
    words = [*small_overrides("adding"), *QUICK, *STEPS, "logger=none", f"output_dir={tmp_path}"]
    with pytest.raises(SystemExit) as ended:
        reported(composed("train", checked_overrides([*words, f"checkpoint={tmp_path / 'some.ckpt'}"])))
    message = str(ended.value.code)
    assert "some.ckpt' cannot be read as a checkpoint of rnn-diag-train: " in message and "\n" not in message
