"""How often a measured step waits for a GPU, told on a CPU: by what asks for numbers that a GPU would still compute."""

from __future__ import annotations

import itertools
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import rnn_diag
from rnn_diag.callbacks import DiagnosticWarning, Doctor, GateWeights, GradientNorms, RNNDiagnostics
from rnn_diag.callbacks.session import session
from rnn_diag.callbacks.session.exchange import Completed
from rnn_diag.engine.precision import is_waited_for
from rnn_diag.pending import on_its_way
from rnn_diag.trace import Trace

NORM = "gradient_norms/encoder.l0/log10_max"
HOST = "engine/packing.py", "capture/watching.py"
"""What reads lengths of packed sequences, which are always on the CPU, and shows calls to the model's own `forward`."""

PACKAGE = str(Path(rnn_diag.__file__).parent)

ASKING = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select"}
"""Operations whose result the CPU must know before it can continue."""


class Waits(TorchDispatchMode):
    """Counts what this package asks for of tensors that were not brought to the CPU, by the line that asks."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.is_counting = False
        self.batch = 0
        self._thread = threading.get_ident()

    def on_its_way(self, tensors: Sequence[Tensor | None]) -> tuple[list[Tensor | None], Callable[[], None]]:
        """Return copies that count as on the CPU; they are waited for only within the batch that asked for them."""
        asked_in = self.batch
        copies = [None if tensor is None else self._brought(tensor.detach().clone()) for tensor in tensors]
        return copies, lambda: self._note("arrive") if asked_in == self.batch else None

    def mask_with(self, trace: Trace, values: Tensor) -> Tensor:
        """Return the mask where the values are."""
        return trace._mask_on_cpu if getattr(values, "is_here", False) else trace.mask

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [value for value in tree_leaves((args, kwargs or {})) if isinstance(value, Tensor)]
        is_here = any(getattr(value, "is_here", False) for value in given)
        name = func._schema.name.removeprefix("aten::")
        chosen = args[1] if name in ("index", "index_put_") else ()
        if (
            not is_here
            and given
            and (name in ASKING or any(one is not None and one.dtype == torch.bool for one in chosen))
        ):
            self._note(name)
        result = func(*args, **(kwargs or {}))
        if is_here:
            tree_leaves([self._brought(value) for value in tree_leaves(result) if isinstance(value, Tensor)])
        return result

    @staticmethod
    def _brought(tensor: Tensor) -> Tensor:
        tensor.is_here = True  # type: ignore[attr-defined]
        return tensor

    def _note(self, name: str) -> None:
        if not self.is_counting or threading.get_ident() != self._thread:
            return
        frame = sys._getframe(1)
        while frame is not None:
            path = frame.f_code.co_filename
            if path.startswith(PACKAGE):
                self.counts[f"{name} {path.removeprefix(PACKAGE)}:{frame.f_lineno}"] += not path.endswith(HOST)
                return
            frame = frame.f_back  # type: ignore[assignment]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    mode = Waits()
    fakes = {on_its_way: mode.on_its_way, is_waited_for: lambda tensor: not getattr(tensor, "is_here", False)}
    for module in [one for name, one in list(sys.modules.items()) if name.startswith("rnn_diag")]:
        for function, fake in fakes.items():
            if getattr(module, function.__name__, None) is function:
                monkeypatch.setattr(module, function.__name__, fake)
    completed = Completed.of

    def of_the_background(*arguments: Any) -> Completed:
        """Return spectra, which are computed on the CPU in a thread that the mode does not see."""
        found = completed(*arguments)
        for weights in found.found.values():
            _ = [mode._brought(one) for one in tree_leaves([*weights.spectra.values()]) if isinstance(one, Tensor)]
        return found

    monkeypatch.setattr(Completed, "of", of_the_background)
    monkeypatch.setattr(session, "trains_on_cpu", lambda trainer: False)
    monkeypatch.setattr(Trace, "mask_with", lambda trace, values: mode.mask_with(trace, values))
    with mode:
        yield mode


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}], ids=["one layer", "two layers"])
def test_a_measured_step_waits_for_nothing_and_is_published_with_the_next_batch(kind, options, waits, network, trainer):
    class Watch(pl.Callback):
        published: ClassVar[list[bool]] = []

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            waits.is_counting, waits.batch = 4 <= batch_idx <= 5, batch_idx
            trainer.callback_metrics.pop(NORM, None)

        def on_train_batch_end(self, trainer: Any, *arguments: Any) -> None:
            self.published.append(NORM in trainer.callback_metrics)

    batches = [(torch.randn(12, 9, 3), torch.randn(12, 1)) for _ in range(6)]
    watch = Watch()
    watch.published.clear()
    run = trainer(RNNDiagnostics(2, max_overhead=None), Doctor(2, max_overhead=None), watch, max_steps=6, logger=False)
    run.fit(network(kind, **options), torch.utils.data.DataLoader(batches, batch_size=None))
    assert watch.published == [True, False, False, True, False, True]  # the first is published at once
    assert not waits.counts.total(), "\n".join(f"{count} {where}" for where, count in waits.counts.items())


PACKED = nn.utils.rnn.pack_padded_sequence


class Lengths(pl.LightningModule):
    """A layer that reads sequences of unequal lengths, in a stack with dropout, and is clipped."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(3, 5, num_layers=2, dropout=0.5, bidirectional=True)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        output, _ = self.encoder(PACKED(*batch, enforce_sorted=False))
        return output.data.square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_nor_with_packed_sequences_and_clipping(waits, trainer):
    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            waits.is_counting, waits.batch = 4 <= batch_idx <= 5, batch_idx

    run = trainer(
        RNNDiagnostics(2, max_overhead=None), Doctor(2), Watch(), max_steps=6, logger=False, gradient_clip_val=0.1
    )
    batches = [(torch.randn(9, 12, 3), torch.randint(1, 10, (12,))) for _ in range(6)]
    run.fit(Lengths(), torch.utils.data.DataLoader(batches, batch_size=None))
    assert run.callback_metrics["gradient_norms/encoder.l1/log10_max"].isfinite()
    assert not waits.counts.total(), "\n".join(f"{count} {where}" for where, count in waits.counts.items())


def logged(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith("rnn_diag/")]
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in tags}


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize("accelerator", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_what_is_read_later_is_logged_under_the_same_steps(
    every, accelerator, network, batches, trainer, tmp_path, monkeypatch
):
    def run(name: str, is_later: bool) -> tuple[dict[str, list[tuple[int, float]]], dict[str, Tensor]]:
        monkeypatch.setattr(session, "trains_on_cpu", lambda trainer: not is_later)
        logger = TensorBoardLogger(tmp_path, name, "")
        suite = RNNDiagnostics(every, max_overhead=None, lyapunov=True)
        callbacks = suite, GateWeights(every, max_overhead=None), Doctor(every, max_overhead=None)
        run = trainer(*callbacks, logger=logger, accelerator=accelerator, max_epochs=2, log_every_n_steps=1)
        run.fit(network(num_layers=2), batches, val_dataloaders=batches)
        return logged(tmp_path / name), run.callback_metrics

    (now, metrics), (later, late_metrics) = run("now", False), run("later", True)
    assert later.keys() == now.keys()
    assert all(sorted(later[tag]) == sorted(now[tag]) for tag in now if not tag.startswith("spectrum"))
    assert metrics.keys() == late_metrics.keys()
    assert any(tag.startswith("spectrum") for tag in now)


def test_an_exception_loses_nothing_that_was_asked_for(network, batches, trainer, tmp_path, monkeypatch):
    class Stop(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 3:
                raise KeyError("broken")

    monkeypatch.setattr(session, "trains_on_cpu", lambda trainer: False)
    logger = TensorBoardLogger(tmp_path, "run", "")
    with pytest.raises(KeyError):
        trainer(RNNDiagnostics(1, max_overhead=None), Stop(), logger=logger).fit(network(), batches)
    assert [step for step, _ in logged(tmp_path / "run")[NORM]] == [0, 1, 2]


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("method", ["_ask", "_read", "_merge"])
def test_a_rank_that_fails_still_joins_the_others_when_they_read(method, step, network, batches, trainer, monkeypatch):
    joined: list[int] = []
    original, calls = getattr(session.Session, method), itertools.count(1)

    def fails_once(*arguments: Any) -> None:
        if next(calls) == step:
            raise ArithmeticError("broken")
        original(*arguments)

    def together(wire: Any, run: pl.Trainer, mine: Any) -> list[Any]:
        joined.append(run.global_step)
        return [mine]

    monkeypatch.setattr(session, "trains_on_cpu", lambda trainer: False)
    monkeypatch.setattr(session, "exchanged", together)
    monkeypatch.setattr(session.Session, method, fails_once)
    run = trainer(GradientNorms(1, max_overhead=None))
    with pytest.warns(DiagnosticWarning, match="ArithmeticError"):
        run.fit(network(), batches)
    assert joined == [1, 3, 4, 5, 6, 6]  # the first at once, the last at the end


def test_between_asking_and_reading_only_what_was_recorded_is_held(network, batches, trainer, monkeypatch):
    held = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *arguments: Any) -> None:
            asked = trainer.callbacks[0]._session._asked
            if trainer.global_step == 1:  # which is read at once
                assert asked is None
                return
            held.extend(one for trace in {one.trace for one in asked.current.asked} for one in vars(trace))
            held.extend(name for one in asked.current.asked for name in vars(one.trace.source) if name == "swept")

    monkeypatch.setattr(session, "trains_on_cpu", lambda trainer: False)
    run = trainer(RNNDiagnostics(1, max_overhead=None), Watch())
    run.fit(network(), batches)
    assert set(held) == {"provenance", "source", "mask", "_mask_pending", "_checking"}
