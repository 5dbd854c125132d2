"""A log folder is read whole: all steps of our series and of scalars, without a server."""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from rnn_diag.tb.folder import Folder
from rnn_diag.tb.kinds import write_horizon


def test_all_steps_are_read_and_a_folder_that_is_a_run_is_called_by_a_dot(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as log:
        for step in range(1500):
            log.add_scalar("train/loss", 1 / (step + 1), step)
            write_horizon(log, "l0", step, [step, 0, 9])
    folder = Folder(str(tmp_path))
    assert list(folder.listing()) == ["."]
    assert len(folder.series(".", "rnn_diag/l0/horizon")[1].events) == 1500
    losses = folder.metrics(".")["train/loss"]
    assert len(losses) == 1500 and losses[1] == (1, 0.5)


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    assert not Folder(str(tmp_path)).listing() and not Folder(str(tmp_path)).metrics(".")
