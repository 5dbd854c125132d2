"""LightningCLI takes every callback from YAML, with every argument."""

from __future__ import annotations

import inspect
from typing import Any

import lightning.pytorch as pl
import pytest

import rnn_diag.callbacks

jsonargparse = pytest.importorskip("jsonargparse", reason="jsonargparse is not installed")

NAMES = ("RNNDiagnostics", "Doctor", "GateWeights", "GradientNorms", "MemoryHorizon", "GateSaturation",
         "RecurrentSpectrum", "LyapunovSpectrum")  # fmt: skip
OTHERS: dict[str, Any] = {
    "every_n_steps": 7, "sequences": None, "layers": ["encoder.*"], "max_overhead": None, "stop_on": ["non_finite"],
    "preflight": "report", "verbose": True, "lyapunov": True, "transient": True, "k": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_callback_is_made_from_yaml_with_its_arguments(name: str) -> None:
    kind = getattr(rnn_diag.callbacks, name)
    arguments = {word: OTHERS[word] for word in inspect.signature(kind).parameters if word in OTHERS}
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--callbacks", type=list[pl.Callback])
    given = {"callbacks": [{"class_path": f"rnn_diag.callbacks.{name}", "init_args": arguments}]}
    (made,) = parser.instantiate(parser.parse_object(given)).callbacks
    assert type(made) is kind and len(arguments) >= 3
    schedule = getattr(made, "schedule", None)
    if schedule is not None:
        assert (schedule.every_n_steps, schedule.sequences, schedule.max_overhead) == (7, None, None)
        assert list(schedule.layers) == ["encoder.*"]


def test_an_argument_that_is_none_is_refused() -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--callbacks", type=list[pl.Callback])
    given = {"callbacks": [{"class_path": "rnn_diag.callbacks.Doctor", "init_args": {"every": 7}}]}
    with pytest.raises(jsonargparse.ArgumentError):
        parser.parse_object(given)
