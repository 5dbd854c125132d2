"""A recurrence is one file: no other of the package knows it, `cells/__init__` aside; its configuration builds it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from hydra.utils import instantiate

from rnn_diag import cells

ROOT = Path(__file__).parents[2]
OWN = {
    "conv_lstm": "ConvLSTMEquations",
    "indrnn": "IndRNNEquations",
    "layer_norm_lstm": "LayerNormLSTMEquations",
    "lru": "LRUEquations",
    "mgu": "MGUEquations",
    "min_gru": "MinGRUEquations",
    "min_lstm": "MinLSTMEquations",
    "selective": "SelectiveEquations",
    "slstm": "SLSTMEquations",
    "variational_lstm": "VariationalLSTMEquations",
    "zoneout_lstm": "ZoneoutLSTMEquations",
}


@pytest.mark.parametrize("stem", OWN)
def test_no_other_file_of_the_package_knows_its_name(stem: str) -> None:
    own = {ROOT / "rnn_diag/cells" / f"{stem}.py", ROOT / "rnn_diag/cells/__init__.py"}
    experiments = set((ROOT / "rnn_diag/lab/experiments").glob("*.py"))  # each is about the recurrence that it shows
    known = re.compile(rf"\b{OWN[stem]}\b|rnn_diag\.cells\.{stem}\b|[\"']{stem}[\"']")
    files = set((ROOT / "rnn_diag").rglob("*.py")) - own - experiments
    assert not [str(path) for path in files if known.search(path.read_text())]


@pytest.mark.parametrize("stem", OWN)
def test_its_configuration_builds_a_layer_of_it(stem: str) -> None:
    config = yaml.safe_load((ROOT / "conf/cell" / f"{stem}.yaml").read_text())
    pixels = 64 if stem == "conv_lstm" else 1
    layer = instantiate(config | {"hidden_size": 4 * pixels})(input_size=3 * pixels)
    assert layer.equations.name == stem and isinstance(layer.equations, getattr(cells, OWN[stem]))
    assert layer(torch.zeros(2, 1, 3 * pixels))[0].shape == (2, 1, 4 * pixels)
