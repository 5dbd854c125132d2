"""Networks small enough to fit in a tenth of a second, and what loggers hold afterwards."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from rnn_diag.callbacks import DiagnosticWarning
from rnn_diag.callbacks.session.pace import Pace

STEPS, FEATURES = 6, 3


class Network(pl.LightningModule):
    """A recurrent layer called `encoder` and a linear head that reads its last output."""

    def __init__(self, encoder: nn.Module, features: int = 5) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(features, 1)
        self.losses: list[float] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        output, _ = self.encoder(batch[0])
        loss = (self.head(output[:, -1]) - batch[1]).square().mean()
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val/loss", self.encoder(batch[0])[0].mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        yield


@pytest.fixture(autouse=True)
def unhurried(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure a fit of milliseconds at all steps that are asked for, as if it were long."""
    if request.node.get_closest_marker("paced") is None:
        monkeypatch.setattr(Pace, "is_due", lambda self, schedule, step: schedule.falls_on(step))
        monkeypatch.setattr(Pace, "may_draw", lambda self: True)
        monkeypatch.setattr(Pace, "may_compute", lambda self, *_: True)


@pytest.fixture
def network() -> Callable[..., Network]:
    """Return a function that builds a network, the same at every call."""

    def build(kind: Callable[..., nn.Module] = nn.LSTM, features: int = 5, **options: Any) -> Network:
        torch.manual_seed(1)
        return Network(kind(FEATURES, 5, batch_first=True, **options), features)

    return build


@pytest.fixture
def batches() -> DataLoader[Any]:
    """Six batches of four sequences."""
    data = torch.Generator().manual_seed(2)
    inputs, targets = torch.randn(24, STEPS, FEATURES, generator=data), torch.randn(24, 1, generator=data)
    return DataLoader(TensorDataset(inputs, targets), batch_size=4)


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., pl.Trainer]:
    """Return a function that builds a trainer of one epoch that writes nothing but what it is told to."""

    def build(*callbacks: pl.Callback, package: Any = pl, **options: Any) -> pl.Trainer:
        defaults: dict[str, Any] = dict(
            max_epochs=1,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        return package.Trainer(callbacks=list(callbacks), **(defaults | options))

    return build


@pytest.fixture
def tensorboard(tmp_path: Path) -> Any:
    return pl.loggers.TensorBoardLogger(tmp_path / "events")


@pytest.fixture
def events() -> Callable[[Any], EventAccumulator]:
    """Return a function that reads all that a TensorBoardLogger wrote."""

    def read(logger: Any) -> EventAccumulator:
        everything = {"scalars": 0, "images": 0, "histograms": 0, "tensors": 0}
        return EventAccumulator(logger.log_dir, everything).Reload()

    return read


@pytest.fixture
def sick(network: Callable[..., Network]) -> Network:
    """Return a network whose input gates are always shut."""
    model = network()
    with torch.no_grad():
        model.encoder.bias_ih_l0[:5] = -20.0
    return model


@pytest.fixture
def told() -> Callable[..., list[str]]:
    """Return a function that fits, and returns what was warned of."""

    def told(run: pl.Trainer, model: pl.LightningModule, batches: DataLoader[Any]) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DiagnosticWarning)
            run.fit(model, batches)
        return [str(one.message) for one in caught if issubclass(one.category, DiagnosticWarning)]

    return told
