"""Networks as they are in other people's projects, healthy and sick, each with a batch and its loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_diag.interventions.initialization import chrono, forget_gate_bias, identity, rescale_spectral_radius

SYMBOLS = 6


class Patient(NamedTuple):
    """A network, what it is fed, and its loss."""

    model: nn.Module
    batch: Any
    loss: Callable[[Any, Any], Tensor]


def trained(patient: Patient, draw: Callable[[], Any], steps: int, learning_rate: float = 0.01) -> Patient:
    """Return the patient after some steps of Adam on fresh batches, with gradients clipped to 1."""
    optimizer = torch.optim.Adam(patient.model.parameters(), learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        patient.loss(patient.model, draw()).backward()
        nn.utils.clip_grad_norm_(patient.model.parameters(), 1.0)
        optimizer.step()
    return patient


class Translator(nn.Module):
    """An encoder, and a decoder that starts from its last state and is fed the truth."""

    def __init__(self, kind: type = nn.GRU, units: int = 48, cut: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS + 1, 16)
        self.encoder = kind(16, units, batch_first=True)
        self.decoder = kind(16, units, batch_first=True)
        self.head = nn.Linear(units, SYMBOLS)
        self.cut = cut

    def forward(self, source: Tensor, shifted: Tensor) -> Tensor:
        _, state = self.encoder(self.embedding(source))
        if self.cut:
            state = state.detach()
        output, _ = self.decoder(self.embedding(shifted), state)
        return self.head(output)


def to_reverse(length: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.randint(SYMBOLS, (32, length))
    target = source.flip(1)
    return source, torch.cat((torch.full((32, 1), SYMBOLS), target[:, :-1]), 1), target


def translation_loss(model: Translator, batch: tuple[Tensor, ...]) -> Tensor:
    source, shifted, target = batch
    return cross_entropy(model(source, shifted).flatten(0, 1), target.flatten())


def healthy_translator() -> Patient:
    return trained(Patient(Translator(), to_reverse(), translation_loss), to_reverse, 150)


def translator_cut_in_two() -> Patient:
    return Patient(Translator(cut=True), to_reverse(), translation_loss)


class Sentiment(nn.Module):
    """Both directions' last states say which of two symbols came more often."""

    def __init__(self, packed: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 24, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, 2)
        self.packed = packed

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        embedded = self.embedding(tokens)
        if not self.packed:
            return self.head(self.lstm(embedded)[0][:, -1])
        _, (h, _) = self.lstm(pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False))
        return self.head(torch.cat((h[-2], h[-1]), -1))


def reviews() -> tuple[Tensor, Tensor, Tensor]:
    tokens, lengths = torch.randint(1, SYMBOLS, (32, 12)), torch.randint(6, 13, (32,))
    tokens[torch.arange(12) >= lengths[:, None]] = 0
    return tokens, lengths, ((tokens == 1).sum(1) > (tokens == 2).sum(1)).long()


def review_loss(model: Sentiment, batch: tuple[Tensor, ...]) -> Tensor:
    return cross_entropy(model(*batch[:2]), batch[2])


def healthy_packed_classifier() -> Patient:
    return trained(Patient(Sentiment(packed=True), reviews(), review_loss), reviews, 150)


def classifier_that_reads_the_last_output_of_both() -> Patient:
    return Patient(Sentiment(packed=False), reviews(), review_loss)


TEXT = "the quick brown fox jumps over the lazy dog and then the dog sleeps while the fox runs home again. " * 20
LETTERS = sorted(set(TEXT))


class Letters(nn.Module):
    """A character language model."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(LETTERS), 16)
        self.recurrent = recurrent
        self.head = nn.Linear(int(recurrent.hidden_size), len(LETTERS))  # type: ignore[arg-type]
        self.state: Any = None

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        output, state = self.recurrent(self.embedding(tokens), state)
        return self.head(output), state


def windows(length: int, rows: int = 16) -> Tensor:
    codes = torch.tensor([LETTERS.index(letter) for letter in TEXT])
    starts = torch.randint(len(codes) - length - 1, (rows,))
    return torch.stack([codes[start : start + length + 1] for start in starts.tolist()])


def letter_loss(model: Letters, batch: Tensor) -> Tensor:
    logits, _ = model(batch[:, :-1])
    return cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def healthy_language_model() -> Patient:
    model = Letters(nn.GRU(16, 48, batch_first=True))
    return trained(Patient(model, windows(50), letter_loss), lambda: windows(50), 60)


def language_model_with_enormous_recurrent_weights() -> Patient:
    model = Letters(nn.RNN(16, 48, batch_first=True))
    rescale_spectral_radius(model, 6.0)
    return Patient(model, windows(50), letter_loss)


def letter_loss_in_chunks(length: int) -> Callable[[Letters, Tensor], Tensor]:
    def loss(model: Letters, batch: Tensor) -> Tensor:
        state, total = None, torch.zeros(())
        for start in range(0, batch.shape[1] - 1, length):
            chunk = batch[:, start : start + length + 1]
            logits, state = model(chunk[:, :-1], state)
            total = total + cross_entropy(logits.flatten(0, 1), chunk[:, 1:].flatten())
            state = tuple(part.detach() for part in state)
        return total

    return loss


def healthy_truncated_backpropagation() -> Patient:
    model = Letters(nn.LSTM(16, 48, batch_first=True))
    return trained(Patient(model, windows(80), letter_loss_in_chunks(40)), lambda: windows(80), 40)


def chunks_of_four_steps_for_long_memories() -> Patient:
    model = Letters(nn.LSTM(16, 48, batch_first=True))
    chrono(model, 200)
    return Patient(model, windows(40), letter_loss_in_chunks(4))


class Loop(nn.Module):
    """A cell in a loop of the user's own."""

    def __init__(self, features: int = 4, units: int = 16) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(features, units)
        self.head = nn.Linear(units, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        state = None
        outputs = []
        for step in inputs:
            state = self.cell(step, state)
            outputs.append(self.head(state[0]))
        return torch.stack(outputs)


def average_loss(model: nn.Module, inputs: Tensor) -> Tensor:
    """The mean of the last three inputs' first feature, at every step."""
    first = inputs[..., :1]
    target = (first + first.roll(1, 0) + first.roll(2, 0)) / 3
    return mse_loss(model(inputs), target)


def healthy_loop_over_a_cell() -> Patient:
    return Patient(Loop(), torch.randn(15, 8, 4), average_loss)


def loop_fed_with_raw_sensor_values() -> Patient:
    return Patient(Loop(), 2000 + 500 * torch.randn(15, 8, 4), lambda m, x: m(x)[-1].pow(2).mean())


class Last(nn.Module):
    """A recurrent module whose last output is classified."""

    def __init__(self, recurrent: nn.Module, classes: int = 3) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.head = nn.Linear(int(recurrent.hidden_size), classes)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.recurrent(inputs)[0][-1])


def last_loss(model: Last, batch: tuple[Tensor, Tensor]) -> Tensor:
    return cross_entropy(model(batch[0]), batch[1])


def signals(steps: int, features: int = 3, rows: int = 16) -> tuple[Tensor, Tensor]:
    """Which feature had the largest sum."""
    inputs = torch.randn(steps, rows, features)
    return inputs, inputs.sum(0).argmax(-1)


def deep_sequence_labels() -> Patient:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stack = nn.LSTM(3, 32, num_layers=3, dropout=0.2)
            self.head = nn.Linear(32, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.head(self.stack(inputs)[0])

    def draw() -> tuple[Tensor, Tensor]:
        inputs = torch.randn(10, 16, 3)
        return inputs, (inputs + inputs.roll(1, 0)).argmax(-1)

    def loss(model: Tagger, batch: tuple[Tensor, Tensor]) -> Tensor:
        return cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())

    return trained(Patient(Tagger(), draw(), loss), draw, 80)


def deep_tanh_stack_read_once_after_a_hundred_steps() -> Patient:
    return Patient(Last(nn.RNN(3, 32, num_layers=3)), signals(100), last_loss)


def first_symbols() -> tuple[Tensor, Tensor]:
    """One-hot symbols, of which the third counts."""
    symbols = torch.randint(SYMBOLS, (10, 32))
    return one_hot(symbols, SYMBOLS).float(), symbols[2] % 3


def healthy_one_hot_classifier() -> Patient:
    return trained(Patient(Last(nn.GRU(SYMBOLS, 32)), first_symbols(), last_loss), first_symbols, 200)


def one_hot_relu_units_that_are_all_off() -> Patient:
    model = Last(nn.RNN(SYMBOLS, 32, nonlinearity="relu"))
    with torch.no_grad():
        model.recurrent.bias_ih_l0.sub_(1.5)  # type: ignore[union-attr, operator]
    return Patient(model, first_symbols(), last_loss)


def healthy_tiny_network_over_five_steps() -> Patient:
    return Patient(Last(nn.RNN(3, 3)), signals(5), last_loss)


def tiny_network_that_forgets_at_once() -> Patient:
    model = Last(nn.LSTM(3, 2))
    forget_gate_bias(model, -5.0)
    return Patient(model, signals(20), last_loss)


def healthy_chrono_network_over_five_hundred_steps() -> Patient:
    model = Last(nn.LSTM(3, 32))
    chrono(model, 500)
    return Patient(model, signals(500, rows=4), last_loss)


def default_lstm_over_five_hundred_steps() -> Patient:
    return Patient(Last(nn.LSTM(3, 32)), signals(500, rows=4), last_loss)


def healthy_single_sequence() -> Patient:
    class Filter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(1, 8)
            self.head = nn.Linear(8, 1)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.head(self.gru(inputs)[0])

    return Patient(Filter(), torch.randn(30, 1), average_loss)


def single_sequence_with_a_gap_in_the_data() -> Patient:
    patient = healthy_single_sequence()
    inputs = patient.batch.clone()
    inputs[11] = float("nan")
    return Patient(patient.model, inputs, lambda model, x: model(x)[-1].sum())


def healthy_identity_network() -> Patient:
    model = Last(nn.RNN(3, 32, nonlinearity="relu"))
    identity(model)
    with torch.no_grad():
        model.recurrent.weight_ih_l0.mul_(0.1)  # type: ignore[union-attr, operator]
    return Patient(model, signals(60), last_loss)


def lstm_after_far_too_large_steps() -> Patient:
    patient = Patient(Last(nn.LSTM(3, 32)), signals(40), last_loss)
    return trained(patient, lambda: signals(40), 30, learning_rate=3.0)


HEALTHY: dict[str, Callable[[], Patient]] = {
    "a trained GRU translator": healthy_translator,
    "a trained packed bidirectional classifier": healthy_packed_classifier,
    "a trained GRU language model": healthy_language_model,
    "a language model trained in chunks": healthy_truncated_backpropagation,
    "a loop over a cell": healthy_loop_over_a_cell,
    "a trained three-layer tagger": deep_sequence_labels,
    "a trained one-hot classifier": healthy_one_hot_classifier,
    "three units over five steps": healthy_tiny_network_over_five_steps,
    "chrono over five hundred steps": healthy_chrono_network_over_five_hundred_steps,
    "one sequence": healthy_single_sequence,
    "an identity network": healthy_identity_network,
}

SICK: dict[str, tuple[Callable[[], Patient], str, str]] = {
    "a translator cut in two": (translator_cut_in_two, "encoder.l0", "no_gradient"),
    "the last output of both directions": (
        classifier_that_reads_the_last_output_of_both,
        "lstm.l0_reverse",
        "dead_direction",
    ),
    "enormous recurrent weights": (
        language_model_with_enormous_recurrent_weights,
        "recurrent.l0",
        "exploding|saturated_tanh",
    ),
    "chunks of four steps": (chunks_of_four_steps_for_long_memories, "recurrent.l0", "truncation_too_short"),
    "raw sensor values": (loop_fed_with_raw_sensor_values, "cell.l0", "saturated_gates"),
    "a deep tanh stack": (deep_tanh_stack_read_once_after_a_hundred_steps, "recurrent.l0", "vanishing"),
    "relu units that are off": (one_hot_relu_units_that_are_all_off, "recurrent.l0", "dead_relu"),
    "forgetting at once": (tiny_network_that_forgets_at_once, "recurrent.l0", "vanishing|forget_bias_low|stuck_gate"),
    "five hundred steps": (default_lstm_over_five_hundred_steps, "recurrent.l0", "vanishing"),
    "a gap in the data": (single_sequence_with_a_gap_in_the_data, "gru.l0", "non_finite"),
    "far too large steps": (lstm_after_far_too_large_steps, "recurrent.l0", "saturated_gates"),
}
