"""What a log holds comes back as numbers, and since when a finding has stood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from rnn_diag.reporting.run.logged import gates_in_time, profiles, runs_in, shares
from rnn_diag.tb import kinds

VANISHING = {"severity": "warning", "layer": "l0", "title": "vanishing: It reaches 7 steps."}


def test_profiles_and_gates_come_back_at_every_timestep(tmp_path: Path) -> None:
    norms = torch.linspace(-4, 0, 5)
    with SummaryWriter(str(tmp_path)) as log:
        kinds.write_gradients(log, "l0", 3, norms, cell="lstm")
        kinds.write_gates(log, "l0", 3, {"forget": np.full((3, 5), 0.5)})
        kinds.write_eigenvalues(log, "l0", 3, torch.tensor([1 + 1j]), matrix="forget")
    layer = runs_in(str(tmp_path))["."].layers["l0"]
    np.testing.assert_allclose(profiles(layer.series["grad"].last)[0], norms, atol=2e-3)
    np.testing.assert_allclose(gates_in_time(layer.series["gates"].last), np.full((1, 3, 5), 0.5), atol=2e-3)
    assert layer.by_matrix["eig"]["forget"].last.tolist() == [[1.0, 1.0]]
    assert layer.series["grad"].steps == [3]


def test_a_bin_stands_for_each_of_its_timesteps_and_a_missing_byte_is_no_number() -> None:
    assert profiles(np.array([[1, 2], [0, 0], [3, 3], [1, 2]])).tolist() == [[1, 2, 2], [0, 0, 0], [3, 3, 3]]
    assert np.isnan(shares(np.array([255], np.uint8))).all() and shares(np.array([254], np.uint8)).tolist() == [1.0]


def test_a_finding_stands_since_it_last_came_up_whatever_its_number(tmp_path: Path) -> None:
    other = {"severity": "info", "layer": "l1", "title": "rounding: It differs."}
    with SummaryWriter(str(tmp_path)) as log:
        for step, found in {0: [VANISHING], 10: [other], 20: [VANISHING, other]}.items():
            kinds.write_verdict(log, step, found)
        kinds.write_verdict(log, 30, [VANISHING | {"title": "vanishing: It reaches 5 steps."}, other])
    run = runs_in(str(tmp_path))["."]
    assert [(one["layer"], run.since(one)) for one in run.standing] == [("l0", 20), ("l1", 10)]


def test_what_cannot_be_read_is_said_and_the_rest_is_there(tmp_path: Path, monkeypatch) -> None:
    with SummaryWriter(str(tmp_path)) as log:
        kinds.write_horizon(log, "good", 0, [1, 1, 1])
        monkeypatch.setattr("rnn_diag.tb.schema.VERSION", 2)
        kinds.write_horizon(log, "newer", 0, [1, 1, 1])
    monkeypatch.undo()
    run = runs_in(str(tmp_path))["."]
    assert list(run.layers) == ["good"] and len(run.unreadable) == 1 and "format 2" in run.unreadable[0]
