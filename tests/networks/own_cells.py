"""Recurrent cells as people write them, of many shapes, each called once for every step and registered by nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, layer_norm, softplus

BATCH, STEPS, FEATURES, UNITS = 3, 6, 4, 5


class Network(nn.Module):
    """A loop over a cell that remembers every state that the cell returned.

    Attributes:
        names: What the parts of the state should be called.
        found: What should be said of how it was found.
        states: The parts of the state at every step.
    """

    names: tuple[str, ...] = ("hidden",)
    found = "found: output 0 returns as input 1"

    def __init__(self) -> None:
        super().__init__()
        self.states: list[tuple[Tensor, ...]] = []
        self.build()

    def build(self) -> None:
        """Make the cell."""

    def keep(self, *states: Tensor) -> None:
        """Remember the states of a step, so that autograd leaves their gradients."""
        for one in states:
            if one.requires_grad:
                one.retain_grad()
        self.states.append(states)

    def inputs(self) -> Tensor:
        """Return a batch."""
        return torch.randn(STEPS, BATCH, FEATURES, dtype=torch.float64)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return a loss that every state enters."""
        raise NotImplementedError


class ConvGRUCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Conv2d(2 + 3, 6, 3, padding=1)
        self.candidate = nn.Conv2d(2 + 3, 3, 3, padding=1)

    def forward(self, frame: Tensor, h: Tensor) -> Tensor:
        r, z = self.gates(torch.cat((frame, h), 1)).sigmoid().chunk(2, 1)
        return (1 - z) * h + z * self.candidate(torch.cat((frame, r * h), 1)).tanh()


class ConvolutionalGRU(Network):
    """State of channels, height and width."""

    def build(self) -> None:
        self.cell = ConvGRUCell()

    def inputs(self) -> Tensor:
        return torch.randn(STEPS, BATCH, 2, 4, 4, dtype=torch.float64)

    def forward(self, inputs: Tensor) -> Tensor:
        h = inputs.new_zeros(BATCH, 3, 4, 4)
        for frame in inputs:
            h = self.cell(frame, h)
            self.keep(h)
        return h.square().mean()


class GraphGRUCell(nn.Module):
    def __init__(self, nodes: int) -> None:
        super().__init__()
        self.register_buffer("adjacency", torch.rand(nodes, nodes).softmax(-1))
        self.gates, self.candidate = nn.Linear(2 * (FEATURES + UNITS), 2 * UNITS), nn.Linear(FEATURES + UNITS, UNITS)

    def forward(self, x: Tensor, adjacency: Tensor, h: Tensor) -> Tensor:
        both = torch.cat((x, h), -1)
        r, z = self.gates(torch.cat((both, adjacency @ both), -1)).sigmoid().chunk(2, -1)
        return z * h + (1 - z) * self.candidate(torch.cat((x, r * h), -1)).tanh()


class GraphConvolutionalGRU(Network):
    """State of nodes and features; the graph is an argument that does not change."""

    found = "found: output 0 returns as input 2"

    def build(self) -> None:
        self.cell = GraphGRUCell(4)

    def inputs(self) -> Tensor:
        return torch.randn(STEPS, BATCH, 4, FEATURES, dtype=torch.float64)

    def forward(self, inputs: Tensor) -> Tensor:
        h = inputs.new_zeros(BATCH, 4, UNITS)
        for x in inputs:
            h = self.cell(x, self.cell.adjacency, h)
            self.keep(h)
        return h.square().mean()


class ResidualLSTMCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ih, self.hh = nn.Linear(FEATURES, 4 * UNITS), nn.Linear(UNITS, 4 * UNITS)
        self.shortcut = nn.Linear(FEATURES, UNITS, bias=False)

    def forward(self, x: Tensor, hidden: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h, c = hidden[0].squeeze(0), hidden[1].squeeze(0)
        i, f, g, o = (self.ih(x) + self.hh(h)).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * (c.tanh() + self.shortcut(x))
        return h, (h, c)


class ResidualLSTM(Network):
    """The first state has an axis more than those that follow; the output is the state once more."""

    names = ("hidden", "cell")
    found = "found: output 1[0] returns as input 1[0], output 1[1] returns as input 1[1]"

    def build(self) -> None:
        self.cell = ResidualLSTMCell()

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = (inputs.new_zeros(1, BATCH, UNITS), inputs.new_zeros(1, BATCH, UNITS))
        outputs = []
        for x in inputs:
            output, hidden = self.cell(x, hidden)
            self.keep(*hidden)
            outputs.append(output)
        return torch.stack(outputs).square().mean()


class ExponentialCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w, self.r = nn.Linear(FEATURES, 4 * UNITS), nn.Linear(UNITS, 4 * UNITS, bias=False)

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        h, c, n, m = state
        i, f, z, o = (self.w(x) + self.r(h)).chunk(4, -1)
        log_f = -softplus(-f)
        new = torch.maximum(log_f + m, i)
        i, f = (i - new).exp(), (log_f + m - new).exp()
        c, n = f * c + i * z.tanh(), f * n + i
        h = o.sigmoid() * c / n
        return h, (h, c, n, new)


class ExponentialGates(Network):
    """Four parts of a state, of which two are normaliser and stabiliser."""

    names = ("hidden", "state_1", "state_2", "state_3")
    found = "found: output 1[0] returns as input 1[0], output 1[1] returns as input 1[1]"

    def build(self) -> None:
        self.cell = ExponentialCell()

    def forward(self, inputs: Tensor) -> Tensor:
        state = tuple(inputs.new_zeros(BATCH, UNITS) for _ in range(4))
        total = inputs.new_zeros(())
        for x in inputs:
            h, state = self.cell(x, state)
            self.keep(*state)
            total = total + h.square().mean()
        return total


class AttentionCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.ih = nn.Linear(UNITS, FEATURES), nn.Linear(2 * FEATURES, UNITS)
        self.hh = nn.Linear(UNITS, UNITS)

    def forward(self, token: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weights = (self.query(state).unsqueeze(1) * memory).sum(-1).softmax(-1)
        context = (weights.unsqueeze(-1) * memory).sum(1)
        state = (self.ih(torch.cat((token, context), -1)) + self.hh(state)).tanh()
        return context, weights, state


class AttentionDecoder(Network):
    """The state is one of several outputs, and is dropped out before it returns."""

    found = "found: output 2 returns as input 1 (changed)"

    def build(self) -> None:
        self.encoder, self.cell = nn.Linear(FEATURES, FEATURES), AttentionCell()

    def forward(self, inputs: Tensor) -> Tensor:
        memory = self.encoder(inputs.transpose(0, 1))
        h = memory.new_zeros(BATCH, UNITS)
        for token in inputs:
            context, _, h = self.cell(token, h, memory)
            self.keep(h)
            h = dropout(h, 0.2)
        return h.square().mean() + context.mean()


class TuringCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.controller = nn.LSTMCell(FEATURES + 3, UNITS)
        self.key, self.erase, self.add = nn.Linear(UNITS, 3), nn.Linear(UNITS, 3), nn.Linear(UNITS, 3)

    def forward(self, x: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        memory, read, controller = state
        h, c = self.controller(torch.cat((x, read), -1), controller)
        address = (memory * self.key(h).unsqueeze(1)).sum(-1).softmax(-1).unsqueeze(-1)
        memory = memory * (1 - address * self.erase(h).sigmoid().unsqueeze(1)) + address * self.add(h).unsqueeze(1)
        read = (address * memory).sum(1)
        return read, (memory, read, (h, c))


class TuringMachine(Network):
    """A memory with slots around an LSTM: what neither of them holds alone."""

    names = ("hidden", "state_1", "state_2", "state_3")
    found = "found: output 1[0] returns as input 1[0]"

    def build(self) -> None:
        self.cell = TuringCell()

    def forward(self, inputs: Tensor) -> Tensor:
        h = inputs.new_zeros(BATCH, UNITS)
        state: tuple[Any, ...] = (inputs.new_full((BATCH, 2, 3), 0.1), inputs.new_zeros(BATCH, 3), (h, h.clone()))
        for x in inputs:
            read, state = self.cell(x, state)
            self.keep(state[0], state[1], *state[2])
        return read.square().mean() + state[0].mean()


class StochasticStateCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.gates = nn.Linear(3 + FEATURES, UNITS), nn.Linear(2 * UNITS, 2 * UNITS)
        self.posterior = nn.Linear(UNITS + FEATURES, 6)

    def forward(self, state: dict[str, Tensor], action: Tensor, embedded: Tensor) -> dict[str, Tensor]:
        mixed = self.mix(torch.cat((state["stoch"], action), -1)).relu()
        update, candidate = self.gates(torch.cat((mixed, state["deter"]), -1)).chunk(2, -1)
        update = (update - 1).sigmoid()
        deter = update * candidate.tanh() + (1 - update) * state["deter"]
        mean, std = self.posterior(torch.cat((deter, embedded), -1)).chunk(2, -1)
        stoch = mean + softplus(std) * 0.3
        return {"mean": mean, "std": std, "stoch": stoch, "deter": deter}


class StateSpaceModel(Network):
    """The state is a dict, and the first argument."""

    names = ("stoch", "deter")
    found = "found: output 'stoch' returns as input 0['stoch'], output 'deter' returns as input 0['deter']"

    def build(self) -> None:
        self.cell = StochasticStateCell()

    def forward(self, inputs: Tensor) -> Tensor:
        state = {"stoch": inputs.new_zeros(BATCH, 3), "deter": inputs.new_zeros(BATCH, UNITS)}
        for x in inputs:
            state = self.cell(state, x, x.sin())
            self.keep(state["stoch"], state["deter"])
        return state["deter"].square().mean() + state["mean"].mean()


@dataclass
class Memory:
    fast: Tensor
    slow: Tensor
    steps: int = 0


class TwoSpeedCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read, self.recur = nn.Linear(FEATURES, UNITS), nn.Linear(2 * UNITS, UNITS)

    def forward(self, x: Tensor, memory: Memory) -> Memory:
        both = torch.cat((memory.fast, memory.slow), -1)
        fast = (self.read(x) + self.recur(both)).tanh()
        return Memory(fast, 0.9 * memory.slow + 0.1 * fast, memory.steps + 1)


class StateInDataclass(Network):
    """The state is a dataclass, reset by a mask after some steps."""

    names = ("fast", "slow")
    found = "found: output 'fast' returns as input 1['fast'], output 'slow' returns as input 1['slow']"

    def build(self) -> None:
        self.cell = TwoSpeedCell()

    def forward(self, inputs: Tensor) -> Tensor:
        memory = Memory(inputs.new_zeros(BATCH, UNITS), inputs.new_zeros(BATCH, UNITS))
        for t, x in enumerate(inputs):
            memory = self.cell(x, memory)
            self.keep(memory.fast, memory.slow)
            starts = torch.tensor([[t == 2], [False], [t == 4]])
            memory.fast = torch.where(starts, torch.zeros_like(memory.fast), memory.fast)
        return memory.fast.square().mean() + memory.slow.mean()


class LiquidCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(FEATURES + UNITS, UNITS)
        self.one, self.other, self.a, self.b = (nn.Linear(UNITS, UNITS) for _ in range(4))

    def forward(self, input: Tensor, hx: Tensor, ts: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(torch.cat((input, hx), 1)).tanh()
        gate = (self.a(x) * ts + self.b(x)).sigmoid()
        new = self.one(x).tanh() * (1 - gate) + gate * self.other(x).tanh()
        return new, new


class LiquidTimeConstants(Network):
    """Time deltas enter, too; the state is returned twice; called by keywords."""

    found = "returns as input 1"

    def build(self) -> None:
        self.cell = LiquidCell()

    def forward(self, inputs: Tensor) -> Tensor:
        h = inputs.new_zeros(BATCH, UNITS)
        total = inputs.new_zeros(())
        for x in inputs:
            output, h = self.cell(hx=h, ts=x[:, :1].square() + 0.1, input=x)
            self.keep(h)
            total = total + output.square().mean()
        return total


class NormalisedGRUCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ih, self.hh = nn.Linear(FEATURES, 3 * UNITS), nn.Linear(UNITS, 3 * UNITS)
        self.norm = nn.LayerNorm(3 * UNITS)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        h = x.new_zeros(len(x), UNITS) if h is None else h
        (r, z, n), (hr, hz, hn) = self.norm(self.ih(x)).chunk(3, -1), self.norm(self.hh(h)).chunk(3, -1)
        z = (z + hz).sigmoid()
        return z * h + (1 - z) * (n + (r + hr).sigmoid() * hn).tanh()


class NormalisedGRU(Network):
    """Starts without a state; the state is normalised, with a residual, between steps."""

    found = "found: output 0 returns as input 1 (changed)"

    def build(self) -> None:
        self.cell = NormalisedGRUCell()

    def forward(self, inputs: Tensor) -> Tensor:
        h = None
        for x in inputs:
            new = self.cell(x, h)
            self.keep(new)
            h = layer_norm(new, (UNITS,)) + (0 if h is None else h)
        return h.square().mean()


class ReversibleCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f, self.g = nn.Linear(FEATURES + UNITS, UNITS), nn.Linear(FEATURES + UNITS, UNITS)

    def forward(self, x: Tensor, halves: list[Tensor]) -> list[Tensor]:
        one, other = halves
        one = one + self.f(torch.cat((x, other), -1)).tanh()
        return [one, other + self.g(torch.cat((x, one), -1)).tanh()]


class Reversible(Network):
    """Two halves of a state in a list, each changed by the other."""

    names = ("hidden", "cell")
    found = "found: output 0 returns as input 1[0], output 1 returns as input 1[1]"

    def build(self) -> None:
        self.cell = ReversibleCell()

    def forward(self, inputs: Tensor) -> Tensor:
        halves = [inputs.new_zeros(BATCH, UNITS), inputs.new_zeros(BATCH, UNITS)]
        for x in inputs:
            halves = self.cell(x, halves)
            self.keep(*halves)
        return torch.cat(halves).square().mean()


class ConcatenatedCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(FEATURES + UNITS, UNITS)

    def forward(self, both: Tensor) -> Tensor:
        return self.step(both).tanh()


class Concatenated(Network):
    """Input and state are one argument."""

    found = "found: output 0 returns as input 0[part]"

    def build(self) -> None:
        self.cell = ConcatenatedCell()

    def forward(self, inputs: Tensor) -> Tensor:
        h = inputs.new_zeros(BATCH, UNITS)
        for x in inputs:
            h = self.cell(torch.cat((x, h), -1))
            self.keep(h)
        return h.square().mean()


class StackedStateCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(FEATURES + UNITS, UNITS), nn.Linear(2 * UNITS, UNITS)

    def forward(self, x: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        low = self.one(torch.cat((x, states[0]), -1)).tanh()
        top = self.two(torch.cat((low, states[1]), -1)).tanh()
        return top, torch.stack((low, top))


class StackedState(Network):
    """Layers come before the batch, as in torch's own states; sequences are tokens, embedded inside."""

    found = "found: output 1 returns as input 1"

    def build(self) -> None:
        self.cell, self.embedding = StackedStateCell(), nn.Embedding(7, FEATURES)

    def inputs(self) -> Tensor:
        return torch.randint(7, (STEPS, BATCH))

    def forward(self, inputs: Tensor) -> Tensor:
        states = self.embedding.weight.new_zeros(2, BATCH, UNITS)
        total = states.new_zeros(())
        for symbols in inputs:
            top, states = self.cell(self.embedding(symbols), states)
            self.keep(states)
            total = total + top.square().mean()
        return total


NETWORKS: tuple[type[Network], ...] = (
    ConvolutionalGRU,
    GraphConvolutionalGRU,
    ResidualLSTM,
    ExponentialGates,
    AttentionDecoder,
    TuringMachine,
    StateSpaceModel,
    StateInDataclass,
    LiquidTimeConstants,
    NormalisedGRU,
    Reversible,
    Concatenated,
    StackedState,
)
