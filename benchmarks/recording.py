"""What a recorded training step costs beside a plain one, in the same process; medians of steps taken by turns.

    python benchmarks/recording.py

Two layers, 64 sequences of 100 steps, 128 units, float32, loss at the last step, one CPU thread; processor time, so
that other programs count little. On a busy two-core machine (torch 2.13), as multiples of a plain step of 0.25 s:

    sequences                            8      all
    LSTM  recorded, nothing read      1.03     1.02
    LSTM  hidden_grad and gates read  1.28     2.21
    GRU   recorded, nothing read      1.04     1.09
    GRU   hidden_grad and gates read  1.35     1.94

A step that is not recorded costs nothing: no hook and no wrapper is there.
"""

from __future__ import annotations

import contextlib
import statistics
import time

import torch
from torch import nn

from rnn_diag import record

STEPS, BATCH, UNITS, REPETITIONS = 100, 64, 128, 9


class Tagger(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn = kind(UNITS, UNITS, num_layers=2)
        self.head = nn.Linear(UNITS, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(inputs)[0][-1])


def seconds(model: nn.Module, recorded: bool, sequences: int | None, read: bool) -> float:
    inputs = torch.randn(STEPS, BATCH, UNITS)
    start = time.process_time()
    recording = record(model, sequences=sequences) if recorded else None
    with contextlib.nullcontext() if recording is None else recording:
        model(inputs).pow(2).mean().backward()
    if recording is not None and read:
        for trace in recording.values():
            _ = trace.hidden_grad, trace.gates
    model.zero_grad()
    return time.process_time() - start


def ratio(kind: type[nn.RNNBase], sequences: int | None, read: bool) -> tuple[float, float]:
    """Return the plain step's seconds, and how many times as long the recorded one takes."""
    model = Tagger(kind)
    seconds(model, True, sequences, read)  # warm up
    plain, recorded = [], []
    for _ in range(REPETITIONS):
        plain.append(seconds(model, False, sequences, read))
        recorded.append(seconds(model, True, sequences, read))
    return statistics.median(plain), statistics.median(recorded) / statistics.median(plain)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for kind in (nn.LSTM, nn.GRU):
        for sequences in (8, None):
            for read in (False, True):
                plain, times = ratio(kind, sequences, read)
                what = "hidden_grad and gates read" if read else "nothing read"
                print(f"{kind.__name__:5} sequences={sequences!s:5} {what:27} {1000 * plain:6.0f} ms  x {times:.2f}")


if __name__ == "__main__":
    main()
