"""What is asked of TensorBoard's data provider, and what is said where there is no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard import errors
from torch.utils.tensorboard import SummaryWriter

from rnn_diag.tb.folder import Folder
from rnn_diag.tb.kinds import write_horizon


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    with SummaryWriter(str(tmp_path / "run")) as log:
        for step in range(3):
            write_horizon(log, "l0", step, [step, 0, 9])
    return Folder(str(tmp_path))


def test_a_series_is_described_and_checked(folder: Folder) -> None:
    assert {run: list(tags) for run, tags in folder.listing().items()} == {"run": ["rnn_diag/l0/horizon"]}
    content, found = folder.series("run", "rnn_diag/l0/horizon")
    assert (content["kind"], content["layer"]) == ("horizon", "l0")
    assert [(event.step, event.values.tolist()) for event in found.events] == [(s, [s, 0, 9]) for s in range(3)]


@pytest.mark.parametrize("where", [("run", "rnn_diag/l1/horizon"), ("other", "rnn_diag/l0/horizon")])
def test_a_series_that_is_not_there_is_not_found(folder: Folder, where: Any) -> None:
    with pytest.raises(errors.NotFoundError, match="no series"):
        folder.series(*where)
