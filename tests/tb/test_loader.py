"""What TensorBoard imports at every start, and how many steps it keeps."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from types import SimpleNamespace

import pytest

from rnn_diag.tb.loader import Loader


def test_the_entry_point_is_the_loader() -> None:
    (entry,) = entry_points(group="tensorboard_plugins", name="rnn_diag")
    assert entry.load() is Loader


def test_the_entry_point_imports_neither_torch_nor_lightning_nor_numpy() -> None:
    heavy = "{'torch', 'lightning', 'pytorch_lightning', 'hydra', 'jaxtyping', 'rnn_diag.tb.plugin'}"
    code = f"import sys, tensorboard.plugins.base_plugin; import rnn_diag.tb.loader; print({heavy} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.mark.parametrize(("given", "kept"), [({}, 1000), ({"rnn_diag": 7}, 7)])
def test_a_thousand_steps_are_kept_unless_the_user_says_otherwise(given: dict[str, int], kept: int) -> None:
    flags = SimpleNamespace(samples_per_plugin=given)
    Loader().fix_flags(flags)
    assert flags.samples_per_plugin == {"rnn_diag": kept}
