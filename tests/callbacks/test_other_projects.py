"""What other projects do with a trainer and its callbacks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from rnn_diag import RNNDiagnostics, register
from rnn_diag.callbacks import DiagnosticWarning, Doctor
from rnn_diag.capture import registry

ONLY_THE_OLDER_PACKAGE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == "lightning" or name.startswith("lightning."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())

import copy, pickle
import pytorch_lightning as pl
import torch
from torch import nn

from rnn_diag import RNNDiagnostics, examine, record
from rnn_diag.callbacks import Doctor

class Network(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.encoder = nn.GRU(2, 3, batch_first=True)

    def training_step(self, batch, batch_idx):
        return self.encoder(batch)[0][:, -1].square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

callbacks = [RNNDiagnostics(1), Doctor(1)]
silent = dict.fromkeys(
    ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
)
trainer = pl.Trainer(max_steps=2, accelerator="cpu", callbacks=callbacks, default_root_dir=sys.argv[1], **silent)
trainer.fit(Network(), torch.utils.data.DataLoader(torch.randn(8, 4, 2), batch_size=4))
pickle.dumps(copy.deepcopy(callbacks))
assert isinstance(callbacks[0], pl.Callback)
assert not any(name.split(".")[0] == "lightning" for name in sys.modules)
print(float(trainer.callback_metrics["gradient_norms/encoder.l0/log10_max"]) < 0)
"""


def test_diagnostics_need_no_other_package_than_pytorch_lightning(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", ONLY_THE_OLDER_PACKAGE, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "True"


class OwnCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.Linear(5, 5)

    def forward(self, inputs: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(inputs + self.recurrent(state))


@pytest.fixture
def own_cell_is_registered() -> Iterator[None]:
    before = dict(registry._registrations)
    register(OwnCell)
    yield
    registry._registrations.clear()
    registry._registrations.update(before)


def test_registered_cell_without_equations_has_gradient_norms_and_switches_nothing_off(
    own_cell_is_registered, network, batches, trainer, recwarn
):
    model = network()
    model.cell = OwnCell()

    def training_step(batch, batch_idx):
        state = torch.zeros(len(batch[0]), 5)
        for step in model.encoder(batch[0])[0].unbind(1):
            state = model.cell(step, state)
        return model.head(state).square().mean()

    model.training_step = training_step
    doctor = Doctor(1)
    run = trainer(RNNDiagnostics(1), doctor)
    run.fit(model, batches)
    assert [finding.id for finding in doctor.report.findings if finding.layer == "cell.l0"] == []
    assert [str(one.message) for one in recwarn if one.category is DiagnosticWarning] == []
    measured = {tuple(name.split("/")[:2]) for name in run.callback_metrics if name.count("/") > 1}
    everything = {"gradient_norms", "memory_horizon", "saturation", "spectrum", "doctor"}
    assert measured == {(name, "encoder.l0") for name in everything} | {
        ("gradient_norms", "cell.l0"),
        ("doctor", "cell.l0"),
    }
