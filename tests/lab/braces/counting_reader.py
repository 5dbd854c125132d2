"""A reader whose unit is set by hand."""

from __future__ import annotations

import torch

from rnn_diag.lab.braces.reader import BraceReader
from rnn_diag.lab.braces.text import BraceTokens
from rnn_diag.tasks import Braces


@torch.no_grad()
def counting_reader(task: Braces) -> BraceReader:
    """Return a reader whose unit 1 is set by every `{` and cleared by every `}`, in comments and strings as well."""
    reader = BraceReader(task, units=2, seed=0)
    model, braces = reader.model, BraceTokens.of(task.vocabulary)
    for parameter in model.parameters():
        parameter.zero_()
    model.embedding.weight[braces.opening, 0] = 1.0
    model.embedding.weight[braces.closing, 1] = 1.0
    weight, bias = model.recurrent.weight_ih_l0, model.recurrent.bias_ih_l0
    bias[[0, 1]], bias[[2, 3]], bias[[6, 7]] = -20.0, 20.0, 20.0  # hold and show
    weight[1, :2] = 40.0  # any brace opens the input gate of unit 1
    weight[3, :2] = -40.0  # and shuts its forget gate
    weight[5, 0], weight[5, 1] = 5.0, -5.0
    model.head.weight[1, 1] = 10.0
    return reader
