"""What the core asks for: torch, TensorBoard and either Lightning; what other parts need is imported where used."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
ABSENT = ("jaxtyping", "rich", "hydra", "omegaconf", "sklearn", "matplotlib")

PROGRAM = """
import importlib.util, sys
import torch
from torch import nn
pl = __import__(sys.argv[1], fromlist=["Trainer"])
for name in sys.argv[2].split(","):
    assert importlib.util.find_spec(name) is None, name

from rnn_diag import RNNDiagnostics, examine, record
from rnn_diag.callbacks import Doctor

class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.LSTM(3, 4), nn.Linear(4, 1)
    def loss(self, batch):
        return self.head(self.encoder(batch)[0][-1]).square().mean()
    def training_step(self, batch, index):
        return self.loss(batch)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

model, batches = Model(), [torch.randn(30, 2, 3) for _ in range(3)]
callbacks = [RNNDiagnostics(every_n_steps=1, max_overhead=None), Doctor(every_n_steps=1, max_overhead=None)]
trainer = pl.Trainer(max_epochs=1, callbacks=callbacks, accelerator="cpu", default_root_dir=sys.argv[3],
    enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1)
trainer.fit(model, torch.utils.data.DataLoader(batches, batch_size=None))
print(trainer.logger.__class__.__name__, len(trainer.callback_metrics) > 20)
with record(model) as recording:
    model.loss(batches[0]).backward()
print(recording["encoder.l0"].fidelity < 1e-5)
print(examine(model, batches[0], lambda model, batch: model.loss(batch)))
"""


def closure(names: list[str]) -> dict[str, Distribution]:
    """Return the distributions that pip installs for some, by name."""
    found: dict[str, Distribution] = {}
    while names:
        name = names.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # one for another platform
        requirements = map(Requirement, found[name].requires or [])
        names += [one.name for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """Return a framework, and a folder of packages as `pip install torch tensorboard <framework>` fills it."""
    framework = request.param.split(".")[0]
    site = tmp_path / "site"
    site.mkdir()
    for one in closure(["torch", "tensorboard", framework]).values():
        for entry in {file.parts[0] for file in one.files or [] if file.parts[0] != ".."}:
            if not (site / entry).exists():
                (site / entry).symlink_to(Path(str(one.locate_file(entry))))
    return request.param, site


def test_the_core_runs_beside_torch_tensorboard_and_either_lightning(
    environment: tuple[str, Path], tmp_path: Path
) -> None:
    framework, site = environment
    absent = [*ABSENT, *(["lightning"] if framework == "pytorch_lightning" else [])]
    done = subprocess.run(
        [sys.executable, "-S", "-c", PROGRAM, framework, ",".join(absent), str(tmp_path / "logs")],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{site}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for words in (
        "TensorBoardLogger True",
        "\nTrue\n",
        "rnn_diag: recurrent layers",
        "encoder.l0  torch.nn.LSTM",
        "steps",
    ):
        assert words in done.stdout
