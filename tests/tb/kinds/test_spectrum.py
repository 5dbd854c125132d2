"""Eigenvalues and singular values, the largest first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnn_diag.tb import kinds, schema
from rnn_diag.tb.kinds.spectrum import MOST_EIGENVALUES, MOST_SINGULAR_VALUES
from tests.tb.serving import series, written


@pytest.mark.parametrize("as_pairs", [False, True], ids=["complex", "pairs"])
def test_the_eigenvalues_of_largest_modulus_are_kept_in_either_form(tmp_path: Path, as_pairs: bool) -> None:
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 200)
    eigenvalues = np.linspace(0.1, 2.0, 200) * np.exp(1j * angles)
    given = np.stack([eigenvalues.real, eigenvalues.imag], axis=-1) if as_pairs else eigenvalues
    client = written(tmp_path, lambda log: kinds.write_eigenvalues(log, "l0", 0, given, matrix="forget"))
    _, (pairs,) = series(client, "run", schema.tag_of("eig", "l0", "forget"))
    expected = eigenvalues[::-1][:MOST_EIGENVALUES]
    np.testing.assert_allclose(pairs[:, 0] + 1j * pairs[:, 1], expected, rtol=1e-6)


def test_the_largest_singular_values_are_kept(tmp_path: Path) -> None:
    given = np.linspace(0.0, 1.0, 100)
    client = written(tmp_path, lambda log: kinds.write_singular_values(log, "l0", 0, given))
    _, (values,) = series(client, "run", schema.tag_of("sv", "l0", "W_hh"))
    np.testing.assert_allclose(values, given[::-1][:MOST_SINGULAR_VALUES], rtol=1e-6)


def test_eigenvalues_that_are_neither_complex_nor_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="eigenvalues"):
        kinds.write_eigenvalues(None, "l0", 0, np.zeros((5, 3)))
