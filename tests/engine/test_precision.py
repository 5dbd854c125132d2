"""Torch's own setting of float32 products is as it was afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from rnn_diag.engine.precision import cudnn_takes_tf32, float32_products


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    names = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(names[0])
    torch.backends.cudnn.allow_tf32 = names[1]


@pytest.mark.parametrize("setting", ["highest", "high", "medium"])
@pytest.mark.parametrize("tf32", [True, False])
def test_the_setting_is_the_callers_again_also_after_an_error(setting: str, tf32: bool) -> None:
    torch.set_float32_matmul_precision(setting)
    newer = getattr(torch.backends.cuda.matmul, "fp32_precision", None)
    with pytest.raises(KeyError), float32_products(tf32), float32_products(tf32):
        assert torch.backends.cuda.matmul.allow_tf32 is tf32
        raise KeyError
    assert torch.get_float32_matmul_precision() == setting
    assert getattr(torch.backends.cuda.matmul, "fp32_precision", None) == newer


@pytest.mark.parametrize("allowed", [True, False])
def test_cudnns_own_setting_decides(allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = allowed
    assert cudnn_takes_tf32() is allowed
