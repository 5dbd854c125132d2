"""The words that the installed Hydra and OmegaConf want, and those that others would."""

from __future__ import annotations

import warnings
from typing import Any

import hydra.utils
import pytest
from omegaconf import OmegaConf

from rnn_diag.cli import hydra_versions


def test_a_resolver_is_found_and_replaces_an_earlier_one() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hydra_versions.register_resolver("rnn_diag_test", lambda: 1)
        hydra_versions.register_resolver("rnn_diag_test", lambda: 2)
    assert OmegaConf.create({"value": "${rnn_diag_test:}"}).value == 2


def test_the_newer_way_to_register_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    take = staticmethod(lambda name, resolver, *, replace: seen.append((name, replace)))
    monkeypatch.setattr(OmegaConf, "register_resolver", take, raising=False)
    hydra_versions.register_resolver("other", int)
    assert seen == [("other", True)]


def test_what_a_node_names_is_made_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = hydra_versions.instantiate({"_target_": "datetime.timedelta", "days": 2}, _convert_="all")
    assert made.days == 2


def test_a_hydra_that_asks_what_may_run_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(hydra_versions, "ANYTHING", "all")
    monkeypatch.setattr(hydra.utils, "instantiate", lambda node, **options: seen.update(options))
    hydra_versions.instantiate({}, _convert_="all")
    assert seen == {"_convert_": "all", "_execution_whitelist_": "all"}
