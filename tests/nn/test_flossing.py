"""The former place of gradient flossing, which configurations of earlier versions name."""

from __future__ import annotations

import pytest
from hydra.utils import get_method

from rnn_diag.interventions import flossing


@pytest.mark.parametrize("name", ["gradient_flossing", "lyapunov_penalty"])
def test_a_path_of_earlier_versions_still_gives_the_function(name: str) -> None:
    with pytest.warns(FutureWarning, match=f"{name} is now rnn_diag.interventions.flossing.{name}"):
        assert get_method(f"rnn_diag.nn.flossing.{name}") is getattr(flossing, name)


def test_what_was_never_there_is_not_there() -> None:
    from rnn_diag.nn import flossing as former

    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        _ = former.unknown
