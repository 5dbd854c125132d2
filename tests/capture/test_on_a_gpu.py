from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from rnn_diag import Trace, record

pytestmark = pytest.mark.gpu


def of_a_loop(cell: nn.LSTMCell, inputs: torch.Tensor) -> Trace:
    state = None
    with record(cell) as recording:
        for step in inputs:
            state = cell(step, state)
        (state[0].sum() + state[1].pow(2).sum()).backward()
    return recording["l0"]


def test_a_memory_cells_gradient_is_total_also_where_one_kernel_makes_both_states() -> None:
    cell, inputs = nn.LSTMCell(3, 4).double(), torch.randn(6, 2, 3, dtype=torch.float64)
    on_cpu = of_a_loop(cell, inputs)
    on_gpu = of_a_loop(cell.cuda(), inputs.cuda())
    for field in ("hidden", "cell", "hidden_grad", "hidden_grad_direct", "cell_grad"):
        torch.testing.assert_close(getattr(on_gpu, field).cpu(), getattr(on_cpu, field), rtol=0, atol=1e-12)
    assert on_gpu.fidelity < 1e-12


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_that_runs_again_on_another_thread_is_seen(reentrant: bool) -> None:
    module = nn.GRU(3, 4, num_layers=2).double().cuda()
    inputs = torch.randn(6, 2, 3, dtype=torch.float64, device="cuda", requires_grad=True)
    with record(module) as recording:
        checkpoint(module, inputs, use_reentrant=reentrant)[0].sum().backward()
    assert recording["l0"].fidelity < 1e-11
    assert recording["l1"].fidelity < 1e-11


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_autocast_is_within_its_tolerance(kind: type[nn.RNNBase], dtype: torch.dtype) -> None:
    module, inputs = kind(5, 8, num_layers=2).cuda(), torch.randn(12, 4, 5, device="cuda")
    with record(module) as recording:
        with torch.autocast("cuda", dtype):
            output, _ = module(inputs)
        (64 * output.float().pow(2).mean()).backward()
    assert all(trace.is_faithful for trace in recording.values()), list(recording.values())


@pytest.mark.parametrize("rounded_to", ["TF32", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_rounding_that_a_network_amplifies_is_told_from_wrong_equations(
    kind: type[nn.RNNBase], rounded_to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", rounded_to == "TF32")
    module, inputs = kind(64, 256).cuda(), torch.randn(200, 16, 64, device="cuda")
    with torch.no_grad():
        module.weight_hh_l0.mul_(2.5)
    half = None if rounded_to == "TF32" else getattr(torch, rounded_to)
    with record(module, sequences=8) as recording:
        with torch.autocast("cuda", half, enabled=half is not None):
            output, _ = module(inputs)
        (output[-1].float().square().mean() * 1024).backward()
    trace = recording["l0"]
    assert trace.is_faithful and trace.fidelity < 1e-9, trace.fidelity_reason
    assert trace.precision == rounded_to
    assert trace.rounding > 1e-5
