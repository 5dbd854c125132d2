"""The former place of initialisations, which configurations of earlier versions name."""

from __future__ import annotations

import pytest
from hydra.utils import get_method
from torch import nn

from rnn_diag.interventions import initialization


@pytest.mark.parametrize("name", ["chrono", "identity", "orthogonal_per_gate", "forget_gate_bias"])
def test_a_path_of_earlier_versions_still_gives_the_function(name: str) -> None:
    with pytest.warns(FutureWarning, match=f"{name} is now rnn_diag.interventions.initialization.{name}"):
        assert get_method(f"rnn_diag.nn.initialization.{name}") is getattr(initialization, name)


def test_what_was_never_there_is_not_there() -> None:
    from rnn_diag.nn import initialization as former

    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        former.unknown(nn.LSTM(2, 3))
