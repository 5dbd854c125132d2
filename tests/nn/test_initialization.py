"""Import paths that configurations and scripts of earlier versions name."""

from __future__ import annotations

from importlib import import_module

import pytest

from rnn_diag.interventions import flossing, initialization


@pytest.mark.parametrize(("place", "name"), [(initialization, "chrono"), (flossing, "gradient_flossing")])
def test_the_former_place_still_gives_the_function_and_warns(place, name) -> None:
    former = import_module(f"rnn_diag.nn.{place.__name__.rpartition('.')[2]}")
    with pytest.warns(FutureWarning, match=f"{name} is now rnn_diag.interventions"):
        assert getattr(former, name) is getattr(place, name)
    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        getattr(former, "unknown")  # noqa: B009
