"""What people write around recurrent layers: trained bit for bit alike, followed exactly, and spoken of rightly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rnn_diag import RNNDiagnostics, examine, record
from rnn_diag.callbacks import Doctor
from rnn_diag.coverage import Status
from tests.networks.recipes import BATCH, FEATURES, RECIPES, STEPS, SYMBOLS, Network

lightning = pytest.importorskip("lightning.pytorch")


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(STEPS, BATCH, FEATURES, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(SYMBOLS, (STEPS, BATCH), generator=generator)


def network(make: Callable[[bool], Network], sick: bool = False) -> Network:
    torch.manual_seed(0)
    return make(sick).double()


class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
    """Trains a network on one batch."""

    def __init__(self, inner: Network) -> None:
        super().__init__()
        self.inner, self.losses = inner, []

    def training_step(self, data: Any, _: int) -> Tensor:
        loss = self.inner.loss(*data)
        self.losses.append(float(loss.detach()))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.01)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader([batch()] * 3, batch_size=None)  # type: ignore[arg-type]


def fitted(make: Callable[[bool], Network], callbacks: list[Any], folder: Any) -> tuple[Any, ...]:
    module = Module(network(make))
    torch.manual_seed(1)
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=callbacks,
        enable_model_summary=False,
        default_root_dir=folder,
        **silent,
    )
    trainer.fit(module)
    return module.losses, [one.detach().clone() for one in module.parameters()], torch.get_rng_state()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", RECIPES, ids=lambda make: make.__name__)
def test_training_is_the_same_bit_for_bit(make: Callable[[bool], Network], tmp_path: Any) -> None:
    bare = fitted(make, [], tmp_path)
    watched = fitted(make, [RNNDiagnostics(1, max_overhead=None), Doctor(1, max_overhead=None)], tmp_path)
    assert bare[0] == watched[0]
    assert all(torch.equal(one, other) for one, other in zip(bare[1], watched[1], strict=True))
    assert torch.equal(bare[2], watched[2])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", RECIPES, ids=lambda make: make.__name__)
def test_total_gradients_are_autograds(make: Callable[[bool], Network]) -> None:
    model, returned = network(make), {}
    cells = {name: one for name, one in model.named_modules() if isinstance(one, nn.RNNCellBase)}

    def keep(name: str, state: Any) -> None:
        hidden = state[0] if isinstance(state, tuple) else state
        hidden.retain_grad()
        returned.setdefault(f"{name}.l0", []).append(hidden)

    for name, cell in cells.items():
        cell.register_forward_hook(lambda _, __, state, name=name: keep(name, state))
    with record(model) as recording:
        model.loss(*batch()).backward()
    for coverage in recording.coverage:
        assert coverage.status is Status.EXACT or (coverage.status is Status.PARTIAL and not RECIPES[make].in_one_piece)
    for layer in recording.names:
        for trace in recording.calls(layer):
            assert trace.fidelity is None or trace.fidelity < 1e-12
    for layer, states in returned.items():
        grads = [torch.zeros_like(one) if one.grad is None else one.grad for one in states]
        traces = recording.calls(layer)
        ours = sum(trace.hidden_grad.square().sum() for trace in traces)
        torch.testing.assert_close(ours, sum(grad.square().sum() for grad in grads), rtol=1e-12, atol=0)
        if RECIPES[make].in_one_piece:
            (trace,) = traces
            for ours, grad in zip(trace.hidden_grad, grads, strict=True):
                torch.testing.assert_close(ours[: len(grad)], grad, rtol=0, atol=1e-14)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", RECIPES, ids=lambda make: make.__name__)
def test_of_a_healthy_network_nothing_is_said_that_is_not_so(make: Callable[[bool], Network]) -> None:
    report = examine(network(make), batch(), lambda model, data: model.loss(*data))
    usual = ("forget_bias_low", "hidden_vanishing", "vanishing")  # of fresh weights over few steps: true, and no fault
    assert tuple(dict.fromkeys(one.id for one in report.findings if one.id not in usual)) == RECIPES[make].healthy


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [one for one in RECIPES if RECIPES[one].sick], ids=lambda make: make.__name__)
def test_what_is_wrong_is_said_first(make: Callable[[bool], Network]) -> None:
    report = examine(network(make, sick=True), batch(), lambda model, data: model.loss(*data))
    assert [one.id for one in report.findings][:1] == [RECIPES[make].sick]
