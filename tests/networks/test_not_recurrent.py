"""What is called again and again and is no recurrence with inputs is not taken for one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from rnn_diag import record
from rnn_diag.capture import Recording

WIDTH, BATCH, TIMES = 6, 3, 5


class Block(nn.Module):
    """A block of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.inside = Norm(), nn.Linear(WIDTH, WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor | None = None, time: Tensor | float | None = None) -> Tensor:
        x = x + self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]
        return x + self.inside(self.norm(x if time is None else x + time)).relu()


class Norm(nn.Module):
    """A normalisation as people write it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x / x.square().mean(-1, keepdim=True).add(1e-6).sqrt()


class Two(nn.Module):
    """Any function of two arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return (self.one(x) + self.other(other)).tanh()


class Loop(nn.Module):
    """Calls its part as it is told."""

    def __init__(self, part: nn.Module, loop: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.part, self.loop = part, loop
        self.embedding = nn.Embedding(9, WIDTH)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.loop(self, inputs)


class Scale(nn.Module):
    """An embedding of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(9, WIDTH))

    def forward(self, symbols: Tensor, position: Tensor) -> Tensor:
        return self.table[symbols] + position


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.sigmoid()


def repeated(call: Callable[[nn.Module, Tensor, int], Tensor]) -> Callable[[nn.Module, Tensor], Tensor]:
    def loop(model: nn.Module, x: Tensor) -> Tensor:
        for k in range(TIMES):
            x = call(model, x, k)
        return x.square().mean()

    return loop


def each_step(call: Callable[[nn.Module, Tensor], Tensor]) -> Callable[[nn.Module, Tensor], Tensor]:
    return lambda model, x: torch.stack([call(model, x[:, k]) for k in range(x.shape[1])]).square().mean()


def equilibrium(model: nn.Module, x: Tensor) -> Tensor:
    z = torch.zeros_like(x)
    for _ in range(TIMES):
        z = model.part(z, x)
    return z.square().mean()


def decoded(model: nn.Module, x: Tensor) -> Tensor:
    symbols, losses = torch.zeros(len(x), dtype=torch.long), []
    for k in range(TIMES):
        scores = model.part(model.embedding(symbols), x[:, k])
        symbols = scores.argmax(-1)
        losses.append(scores.square().mean())
    return torch.stack(losses).sum()


def twice_in_turn(model: nn.Module, x: Tensor) -> Tensor:
    fake = model.part(x, x.roll(1, 0))
    return model.part(fake, x).mean() + model.part(x, x.roll(2, 0)).mean()


def embedded(model: nn.Module, x: Tensor) -> Tensor:
    symbols = torch.arange(BATCH * TIMES).view(TIMES, BATCH) % 9
    return torch.stack([model.part(one, torch.full((WIDTH,), float(k))) for k, one in enumerate(symbols)]).mean()


class Cached(nn.Module):
    """Attention over all that it has read."""

    def __init__(self) -> None:
        super().__init__()
        self.keys = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        cache = torch.cat((cache, self.keys(x).unsqueeze(1)), 1)
        return (cache * (cache * x.unsqueeze(1)).sum(-1, keepdim=True).softmax(1)).sum(1), cache


def cached(model: nn.Module, x: Tensor) -> Tensor:
    cache = torch.zeros(len(x), 1, WIDTH)
    for one in x.unbind(1):
        y, cache = model.part(one, cache)
    return y.square().mean()


CONDITION = torch.randn(TIMES, WIDTH)

NAMED: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module, Tensor], Tensor]]] = {
    "weight-tied block": (Block, repeated(lambda model, x, k: model.part(x))),
    "weight-tied block with a mask": (Block, repeated(lambda model, x, k: model.part(x, torch.zeros(TIMES, TIMES)))),
    "block that is told its number": (Block, repeated(lambda model, x, k: model.part(x, None, torch.tensor(0.1 * k)))),
    "block with an embedding of its number": (Block, repeated(lambda model, x, k: model.part(x, None, CONDITION[k]))),
    "block with times for a batch": (
        Block,
        repeated(lambda model, x, k: model.part(x, None, torch.full((BATCH, 1, 1), 0.1 * k))),
    ),
    "diffusion or flow": (Block, repeated(lambda model, x, k: x - 0.1 * model.part(x, None, 0.1 * k))),
    "normalisation again and again": (Norm, repeated(lambda model, x, k: model.part(x))),
    "equilibrium": (Two, equilibrium),
    "equilibrium with dropout on its input": (
        Two,
        lambda model, x: repeated(lambda model, z, k: model.part(z, dropout(x, 0.3)))(model, torch.zeros_like(x)),
    ),
}
"""An output returns, and no input is new."""

SILENT: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module, Tensor], Tensor]]] = {
    "normalisation at each step": (Norm, each_step(lambda model, x: model.part(x))),
    "perceptron at each step": (Two, each_step(lambda model, x: model.part(x, x.sin()))),
    "embedding at each step": (Scale, embedded),
    "decoding by argmax": (Two, decoded),
    "attention over a cache that grows": (Cached, cached),
    "generator and discriminator": (Two, twice_in_turn),
    "activation between layers": (
        Swish,
        repeated(lambda model, x, k: x @ model.embedding.weight[:WIDTH] + model.part(x)),
    ),
}
"""No output returns, or the module is shared."""


def recorded(make: Callable[[], nn.Module], loop: Callable[[nn.Module, Tensor], Tensor]) -> Recording:
    torch.manual_seed(0)
    model = Loop(make(), loop)
    with record(model) as recording:
        model(torch.randn(BATCH, TIMES, WIDTH)).backward()
    return recording


@pytest.mark.parametrize("what", NAMED)
def test_without_a_new_input_nothing_is_followed_and_the_table_says_why(what: str) -> None:
    recording = recorded(*NAMED[what])
    assert recording.names == []
    (row,) = recording.coverage
    assert (row.layer, row.status, row.hint) == ("part", "not followed", "register")
    assert row.reason == (
        "output 0 returns as input 0 but no input is new at each call; a recurrence without inputs needs "
        "rnn_diag.register"
    )


@pytest.mark.parametrize("what", SILENT)
def test_of_what_does_not_return_nothing_is_said(what: str) -> None:
    recording = recorded(*SILENT[what])
    assert recording.names == [] and recording.coverage == []


class Gate(nn.Module):
    """A part of a cell, given input and state."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * WIDTH, outputs * WIDTH)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.mix(torch.cat((x, h), -1))


class Cell(nn.Module):
    """A cell of parts: with or without a way for the state past them."""

    def __init__(self, leaks: bool) -> None:
        super().__init__()
        self.gate, self.leaks = Gate(), leaks

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        new = self.gate(x, h).tanh()
        return 0.5 * h + 0.5 * new if self.leaks else new


class Layers(nn.Module):
    """A stack that is called once for every step."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([Cell(True), Cell(False)])

    def forward(self, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        new = []
        for cell, h in zip(self.cells, states, strict=True):
            x = cell(x, h)
            new.append(x)
        return x, new


class Looped(nn.Module):
    """Reads a sequence with a stack of cells, between an attention over what was there and a head that is fed back."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.layers, self.cell = kind, Layers(), Cell(True)
        self.mixer, self.head = Two(), Two()

    def forward(self, inputs: Tensor) -> Tensor:
        states, y = [torch.zeros(BATCH, WIDTH), torch.zeros(BATCH, WIDTH)], torch.zeros(BATCH, WIDTH)
        for x in inputs.unbind(1):
            if self.kind == "a stack":
                y, states = self.layers(x, states)
            elif self.kind == "a mixer before the cell":
                states[0] = y = self.cell(self.mixer(x, states[0]), states[0])
            else:
                states[0] = self.cell(self.mixer(x, y), states[0])
                y = self.head(states[0], x)
        return y.square().mean()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("a stack", ["layers.cells.0.l0", "layers.cells.1.l0"]),
        ("a mixer before the cell", ["cell.l0"]),
        ("a head that is fed back", ["cell.l0"]),
    ],
)
def test_the_cell_is_followed_and_not_what_is_around_it_inside_it_or_next_to_it(kind: str, names: list[str]) -> None:
    model = Looped(kind)
    with record(model) as recording:
        model(torch.randn(BATCH, TIMES, WIDTH)).backward()
    assert recording.names == names
    assert [one.layer for one in recording.coverage] == names
