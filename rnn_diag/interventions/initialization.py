"""Initial weights that the theory asks for, set in place in every recurrent layer and direction of a model."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from rnn_diag.arguments import number
from rnn_diag.cells.equations import Equations
from rnn_diag.cells.gate import Gate, Role
from rnn_diag.cells.of_module import recurrent_modules, suffixes_of
from rnn_diag.cells.product import Dense
from rnn_diag.cells.weights import Weights, weights_of


@torch.no_grad()
def orthogonal_per_gate(module: nn.Module, gain: float = 1.0) -> None:
    r"""Make every gate's recurrent matrix orthogonal, :math:`W_k^T W_k = gain^2 I`: all its singular values are `gain`.

    One orthogonal `4H×H` stack, which `torch.nn.init.orthogonal_(weight_hh)` would give, leaves each gate's own matrix
    far from orthogonal. With `proj_size` the columns of each `W_hh,k [H, P]` are orthogonal; `W_hr` is left as it is.

    Args:
        module: A recurrent module of torch's or this package's, or a model that holds some.
        gain: The singular value.

    Raises:
        ValueError: If there is no recurrent module inside, or its weights are parametrised.

    Example:
        >>> layer = nn.LSTM(2, 3)
        >>> orthogonal_per_gate(layer)
        >>> forget = layer.weight_hh_l0[3:6]
        >>> torch.allclose(forget.T @ forget, torch.eye(3), atol=1e-6)
        True

    Reference:
        Saxe, McClelland, Ganguli 2014, https://arxiv.org/abs/1312.6120
    """
    for layer in _with_matrices(module):
        for block in layer.equations.by_block(layer.weights.weight_hh, dim=0).values():
            block.copy_(nn.init.orthogonal_(torch.empty_like(block, dtype=torch.float64), gain))


@torch.no_grad()
def identity(module: nn.Module, scale: float = 1.0) -> None:
    """Make every gate's recurrent matrix `scale · I`; a plain recurrence also gets zero biases, and is then an IRNN.

    Without input, a ReLU recurrence then keeps (`scale=1`) or forgets exponentially (`scale=0.01`) a positive state.
    With `proj_size` each `W_hh,k [H, P]` holds the first `P` columns of `scale · I`; `W_hr` is left as it is.

    Args:
        module: A recurrent module of torch's or this package's, or a model that holds some.
        scale: The eigenvalue.

    Raises:
        ValueError: If there is no recurrent module inside, or its weights are parametrised.

    Example:
        >>> layer = nn.RNN(2, 3, nonlinearity="relu")
        >>> identity(layer)
        >>> layer(torch.zeros(100, 2), torch.ones(1, 3))[1]
        tensor([[1., 1., 1.]], grad_fn=<SqueezeBackward1>)

    Reference:
        Le, Jaitly, Hinton 2015, https://arxiv.org/abs/1504.00941
    """
    for layer in _with_matrices(module):
        for block in layer.equations.by_block(layer.weights.weight_hh, dim=0).values():
            nn.init.eye_(block).mul_(scale)
        if not layer.equations.gates:
            for bias in (layer.weights.bias_ih, layer.weights.bias_hh):
                if bias is not None:
                    bias.zero_()


@torch.no_grad()
def rescale_spectral_radius(module: nn.Module, radius: float) -> None:
    r"""Scale every gate's recurrent matrix to a spectral radius: :math:`W_k ← W_k · radius / \max_j |λ_j(W_k)|`.

    With `proj_size` the recurrent matrix of a gate is `W_hh,k · W_hr`: its radius is set, by scaling `W_hh,k` alone.

    Args:
        module: A recurrent module of torch's or this package's, or a model that holds some.
        radius: The largest absolute eigenvalue to reach.

    Raises:
        ValueError: If the radius is negative or not finite, a matrix has no eigenvalue but 0, there is no recurrent
            module inside, or its weights are parametrised.

    Example:
        >>> layer = nn.RNN(2, 3)
        >>> rescale_spectral_radius(layer, 0.9)
        >>> round(torch.linalg.eigvals(layer.weight_hh_l0).abs().max().item(), 5)
        0.9

    Reference:
        Jaeger 2001, https://www.ai.rug.nl/minds/uploads/EchoStatesTechRep.pdf
    """
    number("radius", radius, at_least=0)
    layers = _with_matrices(module)
    radii = [{name: _spectral_radius(m) for name, m in _recurrent_maps(layer).items()} for layer in layers]
    for layer, found in zip(layers, radii, strict=True):
        for name in [name for name, value in found.items() if value == 0]:
            raise ValueError(f"{layer.name}: the {name} matrix has no eigenvalue but 0, which no scale makes {radius}")
    for layer, found in zip(layers, radii, strict=True):
        for name, block in layer.equations.by_block(layer.weights.weight_hh, dim=0).items():
            block.mul_(radius / found[name])


@torch.no_grad()
def forget_gate_bias(module: nn.Module, value: float) -> None:
    """Set the bias of the gate that keeps the memory, in torch a *sum*: `b_ih` becomes `value`, `b_hh` zero.

    It is an LSTM's forget gate and a GRU's update gate (`Equations.memory_gate`); no other gate's rows change. A gate
    that keeps when it is shut, such as a minimal gated unit's, gets `-value`.

    Args:
        module: A recurrent module of torch's or this package's, or a model that holds some.
        value: The sum `b_ih + b_hh`. At 1 it keeps σ(1) = 0.73 at first, a memory of 1 / (1 - 0.73) = 3.7 steps.

    Raises:
        ValueError: If a recurrent module has no gate that keeps or no biases, there is none, or one is parametrised.

    Example:
        >>> layer = nn.LSTM(2, 3)
        >>> forget_gate_bias(layer, 1.0)
        >>> (layer.bias_ih_l0 + layer.bias_hh_l0)[3:6].tolist()
        [1.0, 1.0, 1.0]

    Reference:
        Jozefowicz, Zaremba, Sutskever 2015, https://proceedings.mlr.press/v37/jozefowicz15.html
    """
    layers = _layers(module)
    gates = [layer.memory_gate() for layer in layers]
    for layer, gate in zip(layers, gates, strict=True):
        layer.set_bias(gate.name, torch.tensor(value if gate.keeps_when == "open" else -value))


@torch.no_grad()
def chrono(module: nn.Module, longest: float, generator: torch.Generator | None = None) -> None:
    r"""Spread the units' memories over all time scales up to the longest dependency.

    .. math:: b_f ∼ \log U[1, T-1], \qquad b_i = -b_f

    A gate at `σ(b_f)` forgets in `1 / (1 - σ(b_f)) = 1 + e^{b_f}` steps: between 2 and `T`. `b_f` is the bias of
    `Equations.memory_gate`, in a GRU the update gate's; a gate that keeps when it is shut gets `-b_f`. `b_i` is that of
    a gate that only writes. All are sums `b_ih + b_hh`: `b_hh` becomes zero in these rows.

    Args:
        module: A recurrent module of torch's or this package's, or a model that holds some.
        longest: `T`, in steps.
        generator: Where the random numbers come from.

    Raises:
        ValueError: If `longest` is below 2, a recurrent module has no gate that remembers or no biases, there is none,
            or its weights are parametrised.

    Example:
        >>> layer = nn.LSTM(2, 100)
        >>> chrono(layer, longest=50)
        >>> forget = torch.sigmoid(layer.bias_ih_l0[100:200])
        >>> bool((1 / (1 - forget)).min() >= 2), bool((1 / (1 - forget)).max() <= 50.01)
        (True, True)

    Reference:
        Tallec, Ollivier 2018, https://arxiv.org/abs/1804.11188
    """
    number("longest", longest, at_least=2)
    layers = _layers(module)
    gates = [layer.memory_gate() for layer in layers]
    for layer, gate in zip(layers, gates, strict=True):
        device = "cpu" if generator is None else generator.device
        times = torch.empty(layer.biases, dtype=torch.float64, device=device)
        remembering = times.uniform_(1.0, longest - 1.0, generator=generator).log()
        layer.set_bias(gate.name, remembering if gate.keeps_when == "open" else -remembering)
        if Role.WRITES in layer.equations.by_role:
            layer.set_bias(layer.equations.by_role[Role.WRITES], -remembering)


class _Layer(NamedTuple):
    """One layer in one direction, with its parameters, which are changed in place."""

    name: str
    equations: Equations
    weights: Weights

    @property
    def biases(self) -> int:
        """How many a gate has: one for each unit, or for each channel of an image."""
        assert self.weights.bias_ih is not None
        return len(self.weights.bias_ih) // len(self.equations.blocks)

    def memory_gate(self) -> Gate:
        """Return the gate that keeps the memory, once it is sure that it has a bias."""
        if self.weights.bias_ih is None or self.weights.bias_hh is None:
            raise ValueError(f"{self.name} has no biases (bias=False); expected bias=True")
        name = self.equations.memory_gate
        if name is None:
            names = ", ".join(block.name for block in self.equations.blocks)
            raise ValueError(f"{self.name} has no gate that remembers; its blocks: {names}")
        return self.equations.block(name)

    def set_bias(self, block: str, value: Tensor) -> None:
        """Make the sum of both biases `value` in one block's rows."""
        assert self.weights.bias_ih is not None and self.weights.bias_hh is not None
        self.equations.by_block(self.weights.bias_ih, dim=0)[block].copy_(value)
        self.equations.by_block(self.weights.bias_hh, dim=0)[block].zero_()


def _layers(model: nn.Module) -> list[_Layer]:
    """Return every layer and direction of the recurrent modules inside a model, once it is sure that all can be set."""
    found = []
    for module, equations in recurrent_modules(model):
        if is_parametrized(module):  # and merely reading some parametrised weights changes them
            raise ValueError(f"{type(module).__name__} is parametrised; expected plain weights: initialise them first")
        for suffix in suffixes_of(module):
            found.append(_Layer(f"{type(module).__name__} {suffix}", equations, weights_of(module, suffix)))
    if not found:
        raise ValueError(
            f"no recurrent module in {type(model).__name__}; expected torch's or this package's RNN, LSTM, GRU"
        )
    return found


def _with_matrices(model: nn.Module) -> list[_Layer]:
    """Return every layer as `_layers` does, once it is sure that the hidden state enters each by a matrix."""
    layers = _layers(model)
    for layer in layers:
        if layer.equations.recurrent_product != Dense():
            raise ValueError(
                f"{layer.name} is {layer.equations.name}, whose state enters by no matrix "
                f"({type(layer.equations.recurrent_product).__name__}); expected recurrent matrices to set"
            )
    return layers


def _recurrent_maps(layer: _Layer) -> dict[str, Tensor]:
    return layer.equations.recurrent_maps(layer.weights.to(torch.float64))


def _spectral_radius(matrix: Tensor) -> float:
    return float(torch.linalg.eigvals(matrix.cpu()).abs().max())
