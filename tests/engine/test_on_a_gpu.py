"""On a GPU the engines give what float64 on the CPU gives, to the precision asked for, and leave what is not theirs."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnn_diag import nn as ours
from rnn_diag.engine import choice
from rnn_diag.engine.choice import engine_sweeper
from rnn_diag.engine.graphed import GRAPHS
from rnn_diag.engine.sweep import sweep
from rnn_diag.engine.unroll import unroll, unroll_from_states
from tests.reference.random_layers import EQUATIONS, FEATURES, WRITTEN, mask_of, random_state, random_weights

pytestmark = pytest.mark.gpu
LENGTHS = [12, 9, 5, 1, 12]
NARROW, WIDE = 20, 160  # all steps in one launch; one product and one kernel a step
LAYERS = {
    "LSTM": lambda *sizes: ours.LSTM(*sizes, backend="explicit"),
    "GRU": lambda *sizes: ours.GRU(*sizes, backend="explicit"),
    "RNN": lambda *sizes: ours.RNN(*sizes, backend="explicit"),
    "PeepholeLSTM": lambda *sizes: ours.PeepholeLSTM(*sizes),
}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    allowed = torch.backends.cudnn.allow_tf32
    GRAPHS.clear()
    yield
    torch.backends.cudnn.allow_tf32 = allowed


def trained(layer: nn.Module, inputs: Tensor, packed: bool) -> list[Tensor]:
    """Return the output and all gradients."""
    layer.zero_grad()
    leaf = inputs.detach().requires_grad_()
    given = pack_padded_sequence(leaf, torch.tensor(LENGTHS), enforce_sorted=False) if packed else leaf
    output, last = layer(given)
    output = pad_packed_sequence(output)[0] if packed else output
    (output.pow(2).sum() + (last[0] if isinstance(last, tuple) else last).sum()).backward()
    return [output, leaf.grad, *(parameter.grad for parameter in layer.parameters())]


def worst_error(kind: str, units: int, dtype: torch.dtype, packed: bool) -> float:
    """Return the largest relative error of four training steps: run as they are, captured, replayed."""
    reference = LAYERS[kind](7, units, 2).double()
    layer = copy.deepcopy(reference).to("cuda", dtype)
    reference.load_state_dict({name: value.double() for name, value in layer.state_dict().items()})
    errors = []
    for _ in range(4):
        inputs = torch.randn(12, len(LENGTHS), 7).to(dtype)
        found, expected = trained(layer, inputs.cuda(), packed), trained(reference, inputs.double(), packed)
        errors += [((a.cpu().double() - b).norm() / b.norm()).item() for a, b in zip(found, expected, strict=True)]
    return max(errors)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("units", [NARROW, WIDE])
@pytest.mark.parametrize("kind", LAYERS)
def test_layers_train_as_float64_on_the_cpu_does(kind: str, units: int, packed: bool) -> None:
    assert worst_error(kind, units, torch.float64, packed) < 1e-11
    assert worst_error(kind, units, torch.float32, packed) < 2e-3  # TF32
    assert worst_error(kind, units, torch.bfloat16, packed) < 4e-2


@pytest.mark.parametrize("units", [NARROW, WIDE])
def test_float32_products_are_exact_where_cudnn_may_not_take_tf32(units: int) -> None:
    torch.backends.cudnn.allow_tf32 = False
    assert worst_error("LSTM", units, torch.float32, packed=True) < 5e-6
    assert torch.backends.cuda.matmul.allow_tf32 is False


@pytest.mark.parametrize("engine", ["auto", "persistent", "graphed", "replay"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in WRITTEN if kind != "projected_lstm"])
def test_every_engine_sweeps_as_the_loop_does(kind: str, masked: bool, engine: str) -> None:
    equations, mask = EQUATIONS[kind], mask_of(LENGTHS) if masked else None
    weights, initial = random_weights(kind, scale=0.5), random_state(kind, len(LENGTHS))
    inputs = torch.randn(12, len(LENGTHS), FEATURES).double()
    ran = unroll(equations, weights, inputs, initial, mask)
    direct = torch.randn(12, 3, *ran.hidden.shape[1:]).double()
    direct = direct if mask is None else direct * mask[:, None, :, None]
    expected = sweep(equations, weights, ran, direct)
    cuda = weights.map(Tensor.cuda)
    states = type(initial)(*(None if part is None else part.cuda() for part in initial))
    given = None if mask is None else mask.cuda()
    again = unroll_from_states(equations, cuda, inputs.cuda(), states, ran.hidden.cuda(), given)
    for _ in range(3):
        swept = engine_sweeper(engine, equations, torch.device("cuda"))(equations, cuda, again, direct.cuda(), None)
        for name in ("hidden_grad", "projected_grad", "recurrent_grad", "cell_grad"):
            found, wanted = getattr(swept, name), getattr(expected, name)
            if wanted is not None:
                torch.testing.assert_close(found.cpu(), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("units", [NARROW, WIDE])
def test_a_layer_runs_inside_somebody_elses_graph_and_draws_no_number(units: int) -> None:
    layer, inputs = LAYERS["LSTM"](7, units).cuda(), torch.randn(12, 5, 7, device="cuda")
    states = torch.get_rng_state(), torch.cuda.get_rng_state()
    for _ in range(3):
        layer(inputs)[0].sum().backward()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.equal(torch.cuda.get_rng_state(), states[1])
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        output, _ = layer(inputs)
    inputs.normal_()
    graph.replay()
    with torch.no_grad():
        torch.testing.assert_close(output, layer(inputs)[0])


def test_one_layer_run_twice_before_its_backward_pass_and_backwards_twice() -> None:
    layer = LAYERS["GRU"](7, WIDE).cuda()
    for _ in range(3):
        a, b = torch.randn(2, 12, 5, 7, device="cuda")
        loss = layer(a)[0].pow(2).sum() + layer(b)[0].pow(2).sum()
        layer.zero_grad()
        loss.backward(retain_graph=True)
        both = layer.weight_hh_l0.grad.clone()
        layer.zero_grad()
        loss.backward()
        torch.testing.assert_close(layer.weight_hh_l0.grad, both)
        layer.zero_grad()
        for one in (a, b):
            layer(one)[0].pow(2).sum().backward()
        torch.testing.assert_close(layer.weight_hh_l0.grad, both, rtol=1e-3, atol=1e-4)


def test_without_triton_the_loop_itself_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "statements_of", lambda *_: None)
    assert worst_error("PeepholeLSTM", NARROW, torch.float64, packed=True) < 1e-11


def test_graphs_stay_valid_when_cublas_workspaces_are_freed_between_two_fits() -> None:
    """Lightning frees them, and all cached memory, after every fit; what is freed goes to other tensors."""
    inputs = torch.randn(20, 64, 32, device="cuda")

    def trained() -> list[torch.Tensor]:
        torch.manual_seed(0)
        layer = ours.PeepholeLSTM(32, 256, device="cuda")
        for _ in range(4):
            layer(inputs)[0].square().mean().backward()
        return [parameter.grad.clone() for parameter in layer.parameters()]

    first = trained()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    others = [torch.full((1 << 20,), 7.0, device="cuda") for _ in range(64)]
    second = trained()
    torch.cuda.synchronize()
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert all(bool((other == 7.0).all()) for other in others)
