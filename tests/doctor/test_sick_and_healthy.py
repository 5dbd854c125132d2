"""Ten sick networks whose first finding is the right one, and ten healthy ones with nothing above information."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import rnn_diag.nn
from rnn_diag.doctor import Report, Severity, examine
from rnn_diag.interventions.initialization import (
    chrono,
    forget_gate_bias,
    identity,
    orthogonal_per_gate,
    rescale_spectral_radius,
)

Ward = tuple[nn.Module, Any, Callable[..., Tensor]]


class Classifier(nn.Module):
    """Tokens, a recurrent encoder, and a head."""

    def __init__(self, encoder: nn.Module, width: int, classes: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 6)
        self.encoder = encoder
        self.head = nn.Linear(width, classes)


def tokens(steps: int, batch: int = 6) -> Tensor:
    return torch.randint(1, 10, (batch, steps), generator=torch.Generator().manual_seed(5))


def last(model: Classifier, batch: Tensor) -> Tensor:
    """Classify by the last step."""
    return nn.functional.cross_entropy(
        model.head(model.encoder(model.embedding(batch))[0][:, -1]), batch[:, 0] % model.head.out_features
    )


def ends(model: Classifier, batch: Tensor) -> Tensor:
    """Classify by the last state of both directions of the last layer."""
    state = model.encoder(model.embedding(batch))[1]
    state = state[0] if isinstance(state, tuple) else state
    return model.head(torch.cat((state[-2], state[-1]), -1)).square().mean()


def each(model: Classifier, batch: Tensor) -> Tensor:
    """Predict at every step."""
    return model.head(model.encoder(model.embedding(batch))[0]).square().mean()


def classifier(kind: type[nn.Module], units: int = 12, width: int = 1, **options: Any) -> Classifier:
    return Classifier(kind(6, units, batch_first=True, **options), width * units)


def prepared(model: Classifier, *initializations: Callable[[nn.Module], Any]) -> Classifier:
    for initialize in initializations:
        initialize(model.encoder)
    return model


def packed_last(model: Classifier, batch: tuple[Tensor, Tensor]) -> Tensor:
    steps = pack_padded_sequence(model.embedding(batch[0]), batch[1], batch_first=True, enforce_sorted=False)
    return model.head(model.encoder(steps)[1][0][-1]).square().mean()


# Sick.


def gru_over_two_hundred_steps() -> Ward:
    return classifier(nn.GRU), tokens(200), last


def peephole_lstm_whose_memory_is_wiped() -> Ward:
    model = classifier(rnn_diag.nn.PeepholeLSTM)
    with torch.no_grad():
        model.encoder.bias_ih_l0[12:24] = -30.0
    return model, tokens(20), last


def deep_relu_rnn_with_a_large_radius() -> Ward:
    model = classifier(nn.RNN, nonlinearity="relu", num_layers=2)
    return prepared(model, lambda m: rescale_spectral_radius(m, 4.0)), tokens(40), last


def relu_rnn_after_a_step_that_was_too_large() -> Ward:
    model = prepared(classifier(nn.RNN, nonlinearity="relu"), lambda m: identity(m, 0.9))
    with torch.no_grad():
        model.encoder.weight_ih_l0.sub_(40.0)
        model.embedding.weight.abs_()
    return model, tokens(20), last


def lstm_with_a_nan_in_its_embedding() -> Ward:
    model = prepared(classifier(nn.LSTM), lambda m: chrono(m, 20))
    with torch.no_grad():
        model.embedding.weight[4, 2] = torch.nan
    return model, tokens(20), last


def bidirectional_gru_read_at_its_last_step() -> Ward:
    return prepared(classifier(nn.GRU, width=2, bidirectional=True), lambda m: chrono(m, 20)), tokens(20), last


def lstm_that_reads_padding() -> Ward:
    batch = tokens(30)
    for row, length in enumerate((30, 6, 9, 12, 8, 5)):
        batch[row, length:] = 0
    return prepared(classifier(nn.LSTM), lambda m: chrono(m, 30)), batch, last


def tanh_rnn_on_pixels_up_to_255() -> Ward:
    model = nn.RNN(4, 12, batch_first=True)
    pixels = torch.randint(0, 256, (6, 20, 4), generator=torch.Generator().manual_seed(1)).float()
    return model, pixels, lambda model, batch: model(batch)[0][:, -1].square().mean()


def sheared_linear_rnn() -> Ward:
    layer = rnn_diag.nn.RNN(4, 6, nonlinearity="identity")
    with torch.no_grad():
        layer.weight_hh_l0.copy_(0.5 * torch.eye(6) + 8.0 * torch.eye(6).roll(1, 1).triu())
        layer.weight_hh_l0[2:].mul_(torch.eye(6)[2:])
    return layer, torch.randn(8, 3, 4), lambda model, batch: model(batch)[0][-1, :, 0].sum()


def language_model_whose_second_layer_is_never_called() -> Ward:
    model = prepared(classifier(nn.LSTM), lambda m: chrono(m, 20))
    model.second = nn.LSTM(12, 12, batch_first=True)
    return model, tokens(20), each


SICK = {
    gru_over_two_hundred_steps: ("vanishing", "encoder.l0"),
    peephole_lstm_whose_memory_is_wiped: ("stuck_gate", "encoder.l0"),
    deep_relu_rnn_with_a_large_radius: ("exploding", "encoder.l0"),
    relu_rnn_after_a_step_that_was_too_large: ("dead_relu", "encoder.l0"),
    lstm_with_a_nan_in_its_embedding: ("non_finite", "encoder.l0"),
    bidirectional_gru_read_at_its_last_step: ("dead_direction", "encoder.l0_reverse"),
    lstm_that_reads_padding: ("padding_read", "encoder.l0"),
    tanh_rnn_on_pixels_up_to_255: ("saturated_tanh", "l0"),
    sheared_linear_rnn: ("transient_growth", "l0"),
    language_model_whose_second_layer_is_never_called: ("never_ran", "second.l0"),
}


# Healthy.


def chrono_lstm_over_sixty_steps() -> Ward:
    return prepared(classifier(nn.LSTM), lambda m: chrono(m, 60)), tokens(60), last


def chrono_gru_over_sixty_steps() -> Ward:
    return prepared(classifier(nn.GRU), lambda m: chrono(m, 60)), tokens(60), last


def peephole_lstm_with_a_high_forget_bias() -> Ward:
    model = classifier(rnn_diag.nn.PeepholeLSTM)
    return prepared(model, lambda m: forget_gate_bias(m, 3.0)), tokens(30), last


def bidirectional_lstm_read_at_both_ends() -> Ward:
    model = classifier(nn.LSTM, width=2, bidirectional=True)
    return prepared(model, lambda m: chrono(m, 30)), tokens(30), ends


def default_lstm_over_six_steps() -> Ward:
    return classifier(nn.LSTM), tokens(6), last


def default_gru_tagging_seven_steps() -> Ward:
    return classifier(nn.GRU), tokens(7), each


def orthogonal_linear_rnn() -> Ward:
    layer = rnn_diag.nn.RNN(4, 8, nonlinearity="identity")
    orthogonal_per_gate(layer)
    return layer, torch.randn(40, 3, 4), lambda model, batch: model(batch)[0][-1].square().mean()


def identity_relu_rnn() -> Ward:
    return prepared(classifier(nn.RNN, nonlinearity="relu"), identity), tokens(30), last


def packed_lstm() -> Ward:
    model = prepared(classifier(nn.LSTM), lambda m: chrono(m, 30))
    return model, (tokens(30), torch.tensor([30, 20, 25, 18, 28, 22])), packed_last


def two_layers_with_dropout_tagging_every_step() -> Ward:
    model = classifier(rnn_diag.nn.LSTM, num_layers=2, dropout=0.2)
    return prepared(model, lambda m: chrono(m, 30)), tokens(30), each


HEALTHY = [
    chrono_lstm_over_sixty_steps,
    chrono_gru_over_sixty_steps,
    peephole_lstm_with_a_high_forget_bias,
    bidirectional_lstm_read_at_both_ends,
    default_lstm_over_six_steps,
    default_gru_tagging_seven_steps,
    orthogonal_linear_rnn,
    identity_relu_rnn,
    packed_lstm,
    two_layers_with_dropout_tagging_every_step,
]


def report_of(ward: Callable[[], Ward]) -> Report:
    torch.manual_seed(7)
    return examine(*ward())


@pytest.mark.parametrize("ward", SICK, ids=lambda ward: ward.__name__)
def test_the_first_finding_at_a_sick_network_is_the_right_one(ward: Callable[[], Ward]) -> None:
    first = report_of(ward).findings[0]
    assert (first.id, first.layer) == SICK[ward]


@pytest.mark.parametrize("ward", HEALTHY, ids=lambda ward: ward.__name__)
def test_a_healthy_network_has_no_finding_above_information(ward: Callable[[], Ward]) -> None:
    assert [str(one) for one in report_of(ward).findings if one.severity > Severity.INFO] == []


def test_there_are_ten_of_each() -> None:
    assert (len(SICK), len(HEALTHY)) == (10, 10)
