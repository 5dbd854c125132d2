"""What every test starts from: one thread, one seed, the same hypothesis examples each time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

settings.register_profile("reproducible", deadline=None, derandomize=True)
settings.load_profile("reproducible")


def pytest_configure(config: pytest.Config) -> None:
    # The networks here are tiny: a second thread costs more than it gives.
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def seed() -> None:
    """Draw the same random numbers in every test, whatever ran before it."""
    torch.manual_seed(0)
