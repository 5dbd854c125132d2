"""From the states of a recurrent layer to what the head reads: every step, or each sequence's last valid one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def run_recurrent(
    recurrent: nn.Module, inputs: Tensor, lengths: Tensor | None, state: Any = None
) -> tuple[Tensor, Any]:
    """Return the outputs `[B, T, features]` and the last state; with lengths, the layer sees a packed sequence.

    Outputs at padding are zero.
    """
    if lengths is None:
        outputs, state = recurrent(inputs, state)
        return outputs, state
    packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
    outputs, state = recurrent(packed, state)
    padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=inputs.shape[1])
    return padded, state


def last_valid(outputs: Tensor, lengths: Tensor | None, bidirectional: bool) -> Tensor:
    """Return `[B, features]`: the output of the step at which each direction has read its whole sequence.

    That is the last valid step forwards, and the first step for the reverse half of a bidirectional layer.
    """
    rows = torch.arange(len(outputs), device=outputs.device)
    final = outputs.shape[1] - 1 if lengths is None else lengths.to(outputs.device) - 1
    last = outputs[rows, final]
    if not bidirectional:
        return last
    half = outputs.shape[-1] // 2
    return torch.cat([last[:, :half], outputs[:, 0, half:]], dim=-1)


def valid_steps(outputs: Tensor, lengths: Tensor) -> Tensor:
    """Return the `[B, T]` mask that is True at valid steps."""
    return torch.arange(outputs.shape[1], device=outputs.device) < lengths.to(outputs.device)[:, None]


def output_features(recurrent: nn.Module) -> int:
    """Return the size of the last axis of a recurrent layer's output.

    Raises:
        TypeError: If the layer has no `hidden_size` to tell it by.
    """
    hidden = getattr(recurrent, "hidden_size", None)
    if not isinstance(hidden, int):
        raise TypeError(
            f"{type(recurrent).__name__} has no integer attribute hidden_size; expected one, as torch.nn.LSTM has, "
            "to size the head by"
        )
    features = getattr(recurrent, "proj_size", 0) or hidden
    return 2 * features if getattr(recurrent, "bidirectional", False) else features
