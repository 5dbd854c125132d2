"""The convolutional LSTM against a loop over torch's convolutions."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv2d

import rnn_diag
from rnn_diag.cells import ConvLSTMEquations
from rnn_diag.nn import Recurrent

SIZE = (3, 4)


def layer(**options: object) -> Recurrent:
    made = Recurrent(ConvLSTMEquations(SIZE), 2 * 12, 3 * 12, **options).double()  # type: ignore[arg-type]
    for suffix in ("l0", "l1")[: made.num_layers]:
        torch.nn.init.normal_(getattr(made, f"weight_co_{suffix}"))
    return made


def test_a_layer_is_the_papers_convolutions_and_total_gradients_are_autograds() -> None:
    conv, images = layer(), torch.randn(4, 2, 2, *SIZE).double()
    with rnn_diag.record(conv) as recording:
        output, (h_n, c_n) = conv(images)
        into = torch.randn_like(output)
        (output * into).sum().backward()
    p_i, p_f, p_o = (getattr(conv, f"weight_{name}_l0").view(3, *SIZE) for name in ("ci", "cf", "co"))
    h = c = torch.zeros(2, 3, *SIZE).double()
    hidden, memory = [], []
    for x in images:
        z = conv2d(x, conv.weight_ih_l0, conv.bias_ih_l0, padding=1)
        i, f, g, o = (z + conv2d(h, conv.weight_hh_l0, conv.bias_hh_l0, padding=1)).chunk(4, 1)
        c = (f + p_f * c).sigmoid() * c + (i + p_i * c).sigmoid() * g.tanh()
        h = (o + p_o * c).sigmoid() * c.tanh()
        for state, kept in ((h, hidden), (c, memory)):
            state.retain_grad()
            kept.append(state)
    torch.testing.assert_close(output, torch.stack(hidden))
    torch.testing.assert_close((h_n[0], c_n[0]), (h, c))
    ours = [parameter.grad.clone() for parameter in conv.parameters()]  # type: ignore[union-attr]
    conv.zero_grad()
    (torch.stack(hidden) * into).sum().backward()
    torch.testing.assert_close(ours, [parameter.grad for parameter in conv.parameters()])
    trace = recording["l0"]
    torch.testing.assert_close(trace.hidden_grad.view_as(output), torch.stack([state.grad for state in hidden]))
    torch.testing.assert_close(trace.cell_grad.view_as(output), torch.stack([state.grad for state in memory]))  # type: ignore[union-attr]
    assert trace.fidelity < 1e-12


def test_stacks_states_and_single_sequences_are_images_too() -> None:
    conv = layer(num_layers=2, batch_first=True)
    state = tuple(torch.randn(2, 5, 3, *SIZE).double() for _ in range(2))
    output, (h, c) = conv(torch.randn(5, 4, 2, *SIZE).double(), state)
    assert output.shape == (5, 4, 3, *SIZE) and h.shape == c.shape == (2, 5, 3, *SIZE)
    flat, _ = conv(torch.zeros(5, 4, 24).double())
    assert flat.shape == (5, 4, 36)
    alone, (h, _) = Recurrent(ConvLSTMEquations(SIZE), 24, 36)(torch.zeros(4, 2, *SIZE))
    assert alone.shape == (4, 3, *SIZE) and h.shape == (1, 3, *SIZE)


def test_the_spectrum_is_that_of_the_dense_matrix_up_to_a_size() -> None:
    with rnn_diag.record(conv := layer()) as recording:
        conv(torch.randn(2, 1, 2, *SIZE).double())
    forget, image = recording["l0"].recurrent_weights["forget"], torch.randn(3, *SIZE).double()
    expected = conv2d(image.unsqueeze(0), conv.weight_hh_l0.detach(), padding=1)[0, 3:6]
    torch.testing.assert_close((forget @ image.flatten()).view(3, *SIZE), expected)
    large = Recurrent(ConvLSTMEquations((32, 33)), 32 * 33, 32 * 33)
    with rnn_diag.record(large) as recording:
        large(torch.zeros(1, 1, 1, 32, 33))
    assert recording["l0"].recurrent_weights == {}


@pytest.mark.parametrize(("options", "expected"), [({"kernel_size": 2}, "odd"), ({"size": (0, 2)}, "size=0")])
def test_what_is_no_image_or_kernel_is_refused(options: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        ConvLSTMEquations(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a multiple of the 12 pixels"):
        Recurrent(ConvLSTMEquations(SIZE), 24, 35)
