"""Every recurrence on a GPU, where graphs of kernels and scans run it: states and gradients are those of a CPU."""

from __future__ import annotations

import copy

import pytest
import torch

from rnn_diag import record
from rnn_diag.nn import Recurrent
from tests.reference.random_layers import EQUATIONS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("kind", [kind for kind in EQUATIONS if not kind.startswith("projected")])
def test_states_and_gradients_are_those_of_a_cpu(kind: str) -> None:
    torch.manual_seed(0)
    layer = Recurrent(EQUATIONS[kind], 3, 4, num_layers=2).double().eval()  # draws nothing
    inputs = torch.randn(7, 5, 3, dtype=torch.float64)
    found = []
    for device in ("cpu", "cuda"):
        there, given = copy.deepcopy(layer).to(device), inputs.to(device)
        for _ in range(2):  # captured, then replayed
            there.zero_grad()
            with record(there) as recording:
                output, _ = there(given)
                output.square().sum().backward()
        trace = recording["l0"]
        assert trace.fidelity is not None and trace.fidelity < 1e-10
        grads = [parameter.grad.cpu() for parameter in there.parameters()]  # type: ignore[union-attr]
        found.append([output.detach().cpu(), trace.hidden_grad.cpu(), *grads])
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-11)
