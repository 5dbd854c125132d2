"""Networks that people write around recurrent layers, healthy and with one thing wrong, and what should be said."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, dropout, one_hot
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

from rnn_diag.interventions.initialization import chrono, forget_gate_bias

STEPS, BATCH, FEATURES, UNITS, SYMBOLS = 14, 6, 5, 8, 7
LENGTHS = torch.tensor([14, 11, 11, 6, 3, 2])


class Network(nn.Module):
    """A network with a loss of its own; `sick` gives it the fault that its class names."""

    def __init__(self, sick: bool = False) -> None:
        super().__init__()
        self.sick = sick
        self.embedding = nn.Embedding(SYMBOLS, FEATURES)
        self.head = nn.Linear(UNITS, SYMBOLS)
        self.build()

    def build(self) -> None:
        """Make the recurrent layers."""

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        """Return the loss of `[T, B, features]` and `[T, B]` symbols."""
        raise NotImplementedError

    def predicted(self, states: list[Tensor] | Tensor, symbols: Tensor) -> Tensor:
        """Return the loss of predicting the symbols from states."""
        steps = states if isinstance(states, Tensor) else torch.stack(states)
        return cross_entropy(self.head(steps).flatten(0, -2), symbols[: len(steps)].flatten())


class Captioning(Network):
    """Attends over regions of a picture; finished captions leave the batch. Sick: detaches at every step."""

    def build(self) -> None:
        self.cell = nn.LSTMCell(FEATURES + UNITS, UNITS)
        self.score, self.start = nn.Linear(2 * UNITS, 1), nn.Linear(UNITS, UNITS)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        regions = torch.sin(torch.arange(BATCH * 4 * UNITS, dtype=torch.float64)).view(BATCH, 4, UNITS)
        hidden = memory = self.start(regions.mean(1)).tanh()
        losses = []
        for t in range(STEPS):
            left = int((t < LENGTHS).sum())
            hidden, memory = hidden[:left], memory[:left]
            if self.sick:
                hidden, memory = hidden.detach(), memory.detach()
            pairs = torch.cat((regions[:left], hidden.unsqueeze(1).expand(-1, 4, -1)), -1)
            context = (self.score(pairs).softmax(1) * regions[:left]).sum(1)
            step = torch.cat((self.embedding(symbols[t, :left]), context), -1)
            hidden, memory = self.cell(step, (hidden, memory))
            losses.append(cross_entropy(self.head(dropout(hidden, 0.2)), symbols[t, :left], reduction="sum"))
        return torch.stack(losses).sum() / int(LENGTHS.sum())


class ScheduledSampling(Network):
    """An attention decoder fed its own symbols now and then. Sick: the state is never handed on."""

    def build(self) -> None:
        self.encoder, self.cell = nn.GRU(FEATURES, UNITS), nn.LSTMCell(FEATURES + UNITS, UNITS)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        keys, _ = self.encoder(inputs)
        state, symbol, states = None, symbols[0], []
        for t in range(STEPS):
            query = keys[-1] if state is None else state[0]
            context = ((keys * query).sum(-1, keepdim=True).softmax(0) * keys).sum(0)
            new = self.cell(torch.cat((self.embedding(symbol), context), -1), None if self.sick else state)
            state = new
            states.append(state[0])
            own = torch.rand(BATCH) < 0.3
            symbol = torch.where(own, self.head(state[0]).argmax(-1), symbols[t])
        return self.predicted(states, symbols)


class PolicyWithResets(Network):
    """An actor whose state is cleared where an episode ended. Sick: cleared at every step."""

    def build(self) -> None:
        self.cell, self.value = nn.GRUCell(FEATURES, UNITS), nn.Linear(UNITS, 1)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        state, states = inputs.new_zeros(BATCH, UNITS), []
        for t in range(STEPS):
            masks = 0.0 if self.sick else (symbols[t] != 0).to(inputs.dtype).unsqueeze(1)
            state = self.cell(inputs[t], state * masks)
            states.append(state)
        steps = torch.stack(states)
        advantage = inputs.sum(-1) - self.value(steps).squeeze(-1)
        chosen = self.head(steps).log_softmax(-1).gather(-1, symbols.unsqueeze(-1)).squeeze(-1)
        return -(chosen * advantage.detach()).mean() + advantage.square().mean()


class BeamTraining(Network):
    """Reads, and writes several beams. What a state goes on into several rows is not followed."""

    def build(self) -> None:
        self.cell = nn.GRUCell(FEATURES, UNITS)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        state = inputs.new_zeros(BATCH, UNITS)
        for x in inputs:
            state = self.cell(x, state)
        beams, states = state.repeat_interleave(2, 0), []
        for t in range(4):
            beams = self.cell(self.embedding(symbols[t]).repeat_interleave(2, 0), beams)
            beams = beams[torch.arange(2 * BATCH).view(-1, 2).flip(1).flatten()]  # beams change places
            states.append(beams)
        return self.predicted(states, symbols.repeat_interleave(2, 1))


class Tree(Network):
    """A binary tree: a node's state is the sum of its children's."""

    def build(self) -> None:
        self.cell = nn.LSTMCell(FEATURES, UNITS)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        nodes = [self.cell(x) for x in inputs[:4]]
        while len(nodes) > 1:
            pairs = zip(nodes[::2], nodes[1::2], strict=True)
            zero = inputs.new_zeros(BATCH, FEATURES)
            nodes = [self.cell(zero, (one[0] + other[0], one[1] + other[1])) for one, other in pairs]
        return self.predicted([nodes[0][0]], symbols)


class Critic(Network):
    """A critic of sequences with a gradient penalty, which is differentiated twice."""

    def build(self) -> None:
        self.rnn = nn.LSTM(FEATURES, UNITS)
        self.head = nn.Linear(UNITS, 1)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        between = (0.5 * inputs + 0.5 * inputs.flip(0)).requires_grad_()
        (slope,) = torch.autograd.grad(self.of(between).sum(), between, create_graph=True)
        return self.of(inputs.flip(0)) - self.of(inputs) + (slope.norm(dim=(0, 2)) - 1).square().mean()

    def of(self, inputs: Tensor) -> Tensor:
        return self.head(self.rnn(inputs)[0][-1]).mean()


class MetaLearner(Network):
    """Takes a step of gradient descent on one half, and learns from the other: second order."""

    def build(self) -> None:
        self.rnn = nn.GRU(FEATURES, UNITS)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        fast = dict(self.rnn.named_parameters())
        support, query = inputs.chunk(2, dim=1)
        grads = torch.autograd.grad(self.inner(fast, support), tuple(fast.values()), create_graph=True)
        adapted = {name: value - 0.1 * grad for (name, value), grad in zip(fast.items(), grads, strict=True)}
        return self.inner(adapted, query)

    def inner(self, weights: dict[str, Tensor], inputs: Tensor) -> Tensor:
        return functional_call(self.rnn, weights, (inputs,))[0][-1].square().mean()


class OverlappingWindows(Network):
    """Windows that overlap by half, each from the detached state in the middle of the one before."""

    def build(self) -> None:
        self.rnn = nn.LSTM(FEATURES, UNITS)
        forget_gate_bias(self.rnn, 4.0 if self.sick else -4.0)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        state, losses = None, []
        for start in range(0, STEPS - 3, 4):
            output, middle = self.rnn(inputs[start : start + 4], state)
            losses.append(output.square().mean())
            state = tuple(part.detach() for part in middle)
        return torch.stack(losses).sum()


class Streaming(Network):
    """Trains on whole sequences, and streams in between, step by step and without a graph."""

    def build(self) -> None:
        self.rnn = nn.GRU(FEATURES, UNITS, num_layers=2)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        state = None
        with torch.no_grad():
            for x in inputs[:5]:
                _, state = self.rnn(x.unsqueeze(0), state)
        return self.predicted(self.rnn(inputs)[0], symbols)


class Decaying(Network):
    """A GRU whose state decays by a learned factor for the time that has passed (GRU-D)."""

    def build(self) -> None:
        self.cell, self.decay = nn.GRUCell(FEATURES, UNITS), nn.Linear(1, UNITS)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        state, states = inputs.new_zeros(BATCH, UNITS), []
        for t in range(STEPS):
            passed = symbols[t].to(inputs.dtype).unsqueeze(1)
            state = self.cell(inputs[t], state * torch.exp(-self.decay(passed).relu()))
            states.append(state)
        return self.predicted(states, symbols)


class Controller(Network):
    """A controller that writes to and reads from a memory outside (a neural Turing machine)."""

    def build(self) -> None:
        self.cell, self.key = nn.LSTMCell(FEATURES + UNITS, UNITS), nn.Linear(UNITS, UNITS)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        slots = torch.eye(4, UNITS, dtype=inputs.dtype).expand(BATCH, -1, -1)
        read, state, states = inputs.new_zeros(BATCH, UNITS), None, []
        for x in inputs:
            state = self.cell(torch.cat((x, read), -1), state)
            where = (slots @ self.key(state[0]).unsqueeze(-1)).softmax(1)
            slots = slots + where * state[0].unsqueeze(1)
            read = (where * slots).sum(1)
            states.append(state[0])
        return self.predicted(states, symbols)


class Translator(Network):
    """Two layers, one module after the other, the second from the last state of the first. Sick: cut between."""

    def build(self) -> None:
        self.encoder, self.decoder = nn.LSTM(FEATURES, UNITS), nn.LSTM(FEATURES, UNITS)
        for module in (self.encoder, self.decoder):
            chrono(module, STEPS)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        _, state = self.encoder(inputs)
        state = tuple(part.detach() for part in state) if self.sick else state
        return self.predicted(self.decoder(self.embedding(symbols), state)[0], symbols)


class Variational(Network):
    """A GRU that is fed a sample drawn from its own state (VRNN)."""

    def build(self) -> None:
        self.cell, self.prior = nn.GRUCell(FEATURES + 3, UNITS), nn.Linear(UNITS, 6)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        state, states = inputs.new_zeros(BATCH, UNITS), []
        for x in inputs:
            mean, spread = self.prior(state).chunk(2, -1)
            sample = mean + spread.exp() * torch.randn_like(mean)
            state = self.cell(torch.cat((x, sample), -1), state)
            states.append(state)
        return self.predicted(states, symbols)


class Hierarchical(Network):
    """Words to sentences to a document: sentences of two words are packed by hand into the batch."""

    def build(self) -> None:
        self.words, self.sentences = nn.GRU(FEATURES, UNITS), nn.GRU(UNITS, UNITS)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        words = inputs.view(STEPS // 2, 2, BATCH, FEATURES).transpose(0, 1).flatten(1, 2)
        _, ends = self.words(words)
        return self.predicted(self.sentences(ends.view(STEPS // 2, BATCH, UNITS))[0], symbols)


class Siamese(Network):
    """One LSTM for both of a pair."""

    def build(self) -> None:
        self.rnn = nn.LSTM(FEATURES, UNITS)
        chrono(self.rnn, STEPS)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        one, other = (self.rnn(side)[1][0][-1] for side in (inputs, inputs.flip(0)))
        return (one - other).square().mean() + self.head(one * other).square().mean()


class Checkpointed(Network):
    """A layer that is run again in the backward pass."""

    def build(self) -> None:
        self.rnn = nn.LSTM(FEATURES, UNITS)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        return self.predicted(checkpoint(lambda x: self.rnn(x)[0], inputs, use_reentrant=False), symbols)


class WeightNormed(Network):
    """A layer whose recurrent weight is a direction and a length."""

    def build(self) -> None:
        self.rnn = nn.LSTM(FEATURES, UNITS)
        parametrizations.weight_norm(self.rnn, "weight_hh_l0")

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        return self.predicted(self.rnn(inputs)[0], symbols)


class Dropped(nn.Module):
    """Drops entries of a weight."""

    def forward(self, weight: Tensor) -> Tensor:
        return dropout(weight, 0.3, training=self.training)


class WeightDropped(Network):
    """A cell some of whose recurrent weights are dropped, anew at every step (AWD)."""

    def build(self) -> None:
        self.cell = nn.LSTMCell(FEATURES, UNITS)
        parametrize.register_parametrization(self.cell, "weight_hh", Dropped())

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        state, states = None, []
        with parametrize.cached():
            for x in inputs:
                state = self.cell(x, state)
                states.append(state[0])
        return self.predicted(states, symbols)


class SpectralNormed(Network):
    """A GRU cell whose recurrent weight is divided by its largest singular value, iterated at every call."""

    def build(self) -> None:
        self.cell = nn.GRUCell(FEATURES, UNITS)
        parametrizations.spectral_norm(self.cell, "weight_hh")

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        state, states = inputs.new_zeros(BATCH, UNITS), []
        for x in inputs:
            state = self.cell(x, state)
            states.append(state)
        return self.predicted(states, symbols)


class LearnedStart(Network):
    """Packed, in any order, from a state that is learned. Sick: not packed, padding is read."""

    def build(self) -> None:
        self.rnn, self.start = nn.GRU(FEATURES, UNITS), nn.Parameter(torch.zeros(1, 1, UNITS))
        chrono(self.rnn, STEPS)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        lengths, start = LENGTHS.flip(0), self.start.expand(-1, BATCH, -1).contiguous()
        if self.sick:
            inputs = inputs * (torch.arange(STEPS).unsqueeze(1) < lengths).unsqueeze(-1)
            return self.predicted(self.rnn(inputs, start)[1], symbols)
        return self.predicted(self.rnn(pack_padded_sequence(inputs, lengths, enforce_sorted=False), start)[1], symbols)


class FrozenEncoder(Network):
    """A frozen encoder under a decoder that learns."""

    def build(self) -> None:
        self.encoder, self.decoder = nn.LSTM(FEATURES, UNITS), nn.GRU(UNITS, UNITS)
        self.encoder.requires_grad_(False)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        return self.predicted(self.decoder(self.encoder(inputs)[0])[0], symbols)


class ZonedOut(Network):
    """Units that keep their old value now and then (zoneout)."""

    def build(self) -> None:
        self.cell = nn.LSTMCell(FEATURES, UNITS)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        state, states = (inputs.new_zeros(BATCH, UNITS),) * 2, []
        for x in inputs:
            new = self.cell(x, state)
            keeps = torch.rand(BATCH, UNITS) < 0.2
            state = tuple(torch.where(keeps, old, one) for old, one in zip(state, new, strict=True))
            states.append(state[0])
        return self.predicted(states, symbols)


class Normalised(Network):
    """A normalised state between steps, which mixes units."""

    def build(self) -> None:
        self.cell, self.norm = nn.GRUCell(FEATURES, UNITS), nn.LayerNorm(UNITS)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        state, states = inputs.new_zeros(BATCH, UNITS), []
        for x in inputs:
            state = self.norm(self.cell(x, state))
            states.append(state)
        return self.predicted(states, symbols)


class InAList(Network):
    """Two layers, the second in a list. Sick: in a plain one, so that no optimiser is given it."""

    def build(self) -> None:
        layers = [nn.GRU(FEATURES, UNITS), nn.GRU(UNITS, UNITS)]
        for layer in layers:
            chrono(layer, STEPS)
        self.layers = [layer.double() for layer in layers] if self.sick else nn.ModuleList(layers)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        for layer in self.layers:
            inputs, _ = layer(inputs)
        return self.predicted(inputs[-1:], symbols)


class SwappedAxes(Network):
    """Reads whole sequences for one class each. Sick: the batch is read as time."""

    def build(self) -> None:
        self.rnn = nn.LSTM(FEATURES, UNITS, batch_first=True)
        chrono(self.rnn, STEPS)
        self.rnn.batch_first = not self.sick

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        return cross_entropy(self.head(self.rnn(inputs.transpose(0, 1))[0][:, -1]), symbols[0])


class OneHot(Network):
    """A tagger on symbols; a loss at every step, sequences that are short."""

    def build(self) -> None:
        self.rnn = nn.GRU(SYMBOLS, UNITS, bidirectional=True)
        self.head = nn.Linear(2 * UNITS, SYMBOLS)

    def loss(self, inputs: Tensor, symbols: Tensor) -> Tensor:
        return self.predicted(self.rnn(one_hot(symbols[:6], SYMBOLS).to(inputs.dtype))[0], symbols)


class Said(NamedTuple):
    """What the doctor should say.

    Attributes:
        healthy: Findings at the healthy network, the worst first; those for information only where allowed.
        sick: The first finding at the sick one; empty without.
        in_one_piece: Whether every cell of it is one sequence, all of whose total gradients are known.
    """

    healthy: tuple[str, ...] = ()
    sick: str = ""
    in_one_piece: bool = True


RECIPES: dict[Callable[[bool], Network], Said] = {
    Captioning: Said(sick="detached_at_every_step"),
    ScheduledSampling: Said(sick="state_not_handed_on"),
    PolicyWithResets: Said(),
    BeamTraining: Said(("state_not_followed",), in_one_piece=False),
    Tree: Said(("state_not_followed",), in_one_piece=False),
    Critic: Said(("not_followed",), in_one_piece=False),
    MetaLearner: Said(("not_followed",), in_one_piece=False),
    OverlappingWindows: Said(sick="truncation_too_short"),
    Streaming: Said(),
    Decaying: Said(),
    Controller: Said(),
    Translator: Said(sick="no_gradient"),
    Variational: Said(),
    Hierarchical: Said(),
    Siamese: Said(),
    Checkpointed: Said(),
    WeightNormed: Said(),
    WeightDropped: Said(),
    SpectralNormed: Said(),
    LearnedStart: Said(sick="padding_read"),
    FrozenEncoder: Said(),
    ZonedOut: Said(),
    Normalised: Said(("state_not_followed",)),
    InAList: Said(sick="not_optimized"),
    SwappedAxes: Said(sick="silent_sequences"),
    OneHot: Said(),
}
