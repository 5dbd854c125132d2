"""A training of two steps that has everything on, and what it leaves: to be the same whatever goes wrong in us."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import logging
import random
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from rnn_diag import RNNDiagnostics
from rnn_diag.callbacks import DiagnosticWarning, Doctor, GateWeights
from rnn_diag.capture import watching

STEPS = 2


class Network(pl.LightningModule):
    """One layer, or a cell in a loop, and a sum as its head; the input gates of an LSTM are shut.

    Args:
        kind: Of `KINDS`.
        name: What its recurrent module is called.
    """

    def __init__(self, kind: str, name: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ModuleDict({name: KINDS[kind]()})
        if kind == "lstm":
            with torch.no_grad():
                self.parts[name].bias_ih_l0[:2] = -20.0
        self.losses: list[float] = []

    def forward(self, inputs: Tensor) -> Tensor:
        (recurrent,) = self.parts.values()
        if not isinstance(recurrent, nn.RNNCellBase):
            return recurrent(inputs)[0][:, -1].sum(1)
        state = None
        for step in range(inputs.shape[1]):
            state = recurrent(inputs[:, step], state)
        assert isinstance(state, Tensor)
        return state.sum(1)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        loss = (self(batch[0]) - batch[1]).square().mean()
        self.losses.append(loss.item())
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.log("val_loss", self(batch[0]).mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


KINDS: dict[str, Callable[[], Any]] = {
    "lstm": lambda: nn.LSTM(2, 2, batch_first=True),
    "rnn": lambda: nn.RNN(2, 2, num_layers=2, dropout=0.5, bidirectional=True, batch_first=True),
    "gru": lambda: nn.GRU(2, 2, batch_first=True),
    "cell": lambda: nn.GRUCell(2, 2),
}


def batches() -> DataLoader[Any]:
    draw = torch.Generator().manual_seed(1)
    size = 4 * STEPS
    data = TensorDataset(torch.randn(size, 4, 2, generator=draw), torch.randn(size, generator=draw))
    return DataLoader(data, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(2))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Print nothing inside the block."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def suite() -> list[pl.Callback]:
    """Return every callback, measuring at every step."""
    return [
        RNNDiagnostics(1, max_overhead=None, lyapunov=True),
        GateWeights(1, max_overhead=None),
        Doctor(1, max_overhead=None, preflight="report", verbose=True),
    ]


@dataclass
class Ending:
    """What a fit leaves.

    Attributes:
        error: Of what it ended, in words; empty at its own end.
        state: Losses, weights, the optimizer's state and all random numbers: to be equal bit for bit.
        told: Warnings of ours.
        left: What of ours outlived it.
        files: What is missing or unreadable of what it should have written.
    """

    error: str
    state: dict[str, Any]
    told: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def fit(
    callbacks: Sequence[pl.Callback],
    kind: str = "lstm",
    around: contextlib.AbstractContextManager[Any] | None = None,
    checkpoint: str | None = None,
    root: Path | None = None,
    name: str = "recurrent",
    **options: Any,
) -> Ending:
    """Train, with something in the way, and look at what is left.

    Args:
        callbacks: Ours, or none.
        kind: Of network.
        around: Entered while the fit runs.
        checkpoint: From which it continues.
        root: Where it may leave files; a folder that is removed afterwards if None.
        name: Of the recurrent module.
        options: Of the trainer.
    """
    quieten()
    forwards = {owner: vars(owner)[attribute] for owner, attribute in watching.entrances()}
    with contextlib.ExitStack() as stack:
        caught = stack.enter_context(warnings.catch_warnings(record=True))
        folder = root or Path(stack.enter_context(TemporaryDirectory()))
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", DiagnosticWarning)
        default: dict[str, Any] = dict(
            max_epochs=1, accelerator="cpu", devices=1, logger=loggers(folder), enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, gradient_clip_val=0.1, num_sanity_val_steps=1,
            limit_val_batches=1, log_every_n_steps=1,
        )  # fmt: skip
        trainer, model = pl.Trainer(callbacks=list(callbacks), **default | options), Network(kind, name)
        torch.manual_seed(3), random.seed(3), np.random.seed(3)
        error = ""
        try:
            with around or contextlib.nullcontext():
                trainer.fit(model, batches(), batches(), ckpt_path=checkpoint)
        except BaseException as raised:  # whatever ends a fit is what is looked at
            error = f"{type(raised).__name__}: {raised}"
        drawn = [torch.rand(1).item(), random.random(), float(np.random.rand())]
        state = {"losses": model.losses, "weights": [one.detach().clone() for one in model.parameters()]}
        state |= {"optimizer": [one.state_dict() for one in trainer.optimizers], "drawn": drawn}
        told = [str(one.message) for one in caught if one.category is DiagnosticWarning]
        files = _missing(folder) if callbacks else []
        del callbacks, trainer  # a callback that was taken out ends with what refers to it
        gc.collect()
        return Ending(error, state, told, _left(model, forwards), files)


def loggers(folder: Path) -> list[Any]:
    return [TensorBoardLogger(folder, name="", version="tb"), CSVLogger(folder, name="", version="csv")]


def differences(one: Ending, other: Ending) -> list[str]:
    """Return what of two trainings is not the same, bit for bit."""
    return [name for name in one.state if not _equal(one.state[name], other.state.get(name))]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return (
            isinstance(other, Tensor)
            and one.dtype == other.dtype
            and torch.equal(one.isnan(), other.isnan())
            and (torch.equal(one.nan_to_num(), other.nan_to_num()))
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other or (one != one and other != other))


def _left(model: nn.Module, forwards: dict[type, Any]) -> list[str]:
    """Return what of ours is still at work: wrapped classes, hooks and threads."""
    left = ["an observer"] * len(watching._observers)
    left += [f"{one.__name__} wrapped" for one, name in watching.entrances() if vars(one)[name] != forwards[one]]
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    left += [f"hooks of {type(one).__name__}" for one in model.modules() if any(getattr(one, name) for name in hooks)]
    ours = [one for one in threading.enumerate() if one.name.startswith("rnn_diag")]
    for one in ours:  # what it computes when a run is broken off, it still ends
        one.join(10)
    return left + [one.name for one in ours if one.is_alive()]


def _missing(folder: Path) -> list[str]:
    """Return which files of a run are not there or cannot be read."""
    missing = []
    for events in folder.rglob("*tfevents*"):
        if not _is_whole(events.read_bytes()):
            missing.append("an event file that ends as it should")
    try:
        json.loads(next(folder.rglob("doctor.json")).read_text())
    except (StopIteration, ValueError) as error:
        missing.append(f"doctor.json: {type(error).__name__}")
    return missing


def _is_whole(content: bytes) -> bool:
    """Return whether a file is a sequence of records: a length, its check, that many bytes and theirs."""
    position = 0
    while position < len(content):
        position += 16 + int.from_bytes(content[position : position + 8], "little")
    return position == len(content)


_save = Image.Image.save


def _quickly(self: Image.Image, file: Any, format: str | None = None, **options: Any) -> None:
    _save(self.resize((8, 8)), file, format, **options)


def quieten() -> None:
    """Leave out what Lightning says, and packing pictures."""
    torch.set_num_threads(1)
    Image.Image.save = _quickly  # of what is measured here half the time would go into packing pictures
    for name in ("lightning.pytorch", "lightning.fabric", "rnn_diag"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
