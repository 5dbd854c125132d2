"""Lyapunov exponents, largest first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from rnn_diag.tb import kinds, schema
from rnn_diag.tb.kinds.lyapunov import MOST_EXPONENTS
from tests.tb.serving import series, written


def test_exponents_are_sorted_and_the_largest_are_kept(tmp_path: Path) -> None:
    ordered = torch.linspace(-3.0, 1.0, 100)
    exponents = ordered[torch.randperm(100)]
    client = written(tmp_path, lambda log: kinds.write_lyapunov(log, "l0", 0, exponents))
    _, (values,) = series(client, "run", schema.tag_of("lyapunov", "l0"))
    np.testing.assert_array_equal(values, ordered.numpy()[::-1][:MOST_EXPONENTS])
