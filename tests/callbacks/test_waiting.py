"""How often a measured step waits for a GPU, told on a CPU: by what asks for numbers that a GPU would still compute."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import rnn_diag
from rnn_diag.callbacks import Doctor, RNNDiagnostics
from rnn_diag.diagnostics.numerics import precision
from rnn_diag.trace import Trace

AT_MOST = 27
"""Waits of one measured step of one layer, copies to the CPU included; seven of them are on a CPU alone."""

PACKAGE = str(Path(rnn_diag.__file__).parent)

ASKING = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select"}
"""Operations whose result the CPU must know before it can continue."""


class Waits(TorchDispatchMode):
    """Counts what this package asks for of tensors that were not brought to the CPU, by the line that asks."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.is_counting = False
        self._thread = threading.get_ident()

    def bring(self, *tensors: Tensor | None) -> list[Tensor]:
        """Return copies that count as brought to the CPU, after one wait."""
        self._note("on_cpu")
        return [self._brought(tensor.detach().clone()) for tensor in tensors if tensor is not None]

    def beside(self, values: Tensor, mask: Tensor) -> Tensor:
        """Return the mask where the values are."""
        return self._brought(mask.clone()) if getattr(values, "is_here", False) else mask

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
                self.counts[f"{name} {path.removeprefix(PACKAGE)}:{frame.f_lineno}"] += 1
                return
            frame = frame.f_back  # type: ignore[assignment]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    mode, original = Waits(), precision.on_cpu
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("rnn_diag") and getattr(module, "on_cpu", None) is original:
            monkeypatch.setattr(module, "on_cpu", mode.bring)
    monkeypatch.setattr(Trace, "mask_with", lambda trace, values: mode.beside(values, trace.mask))
    with mode:
        yield mode


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_measured_step_waits_a_few_times_and_no_more_often_for_more_steps(kind, waits, network, trainer):
    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            waits.is_counting = batch_idx == 4

    counted = []
    for steps in (6, 30):
        waits.counts.clear()
        batches = [(torch.randn(4, steps, 3), torch.randn(4, 1)) for _ in range(6)]
        run = trainer(Watch(), RNNDiagnostics(2, spectra_every_nth=1), Doctor(2), max_steps=6, logger=False)
        run.fit(network(kind), torch.utils.data.DataLoader(batches, batch_size=None))
        counted.append(dict(waits.counts))
    assert 0 < sum(counted[0].values()) <= AT_MOST, counted[0]
    assert counted[0] == counted[1]
