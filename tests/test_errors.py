"""Errors in one line: the type, the innermost line of the user's code, the message."""

import pytest
import torch
from torch import nn

from rnn_diag.errors import described, lets_errors_through


def helper() -> None:
    assert 1 > 2, "one is\nless"


class Fails(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        helper()
        return x


def test_the_line_is_where_the_users_code_failed() -> None:
    with pytest.raises(AssertionError) as caught:
        Fails()(torch.zeros(1))
    line = helper.__code__.co_firstlineno + 1
    assert described(caught.value).startswith(f"AssertionError in test_errors.py:{line} helper(): one is less")


def test_the_line_is_the_users_where_a_library_failed_that_the_user_called() -> None:
    def calls() -> None:
        torch.zeros(2) @ torch.zeros(3)

    with pytest.raises(RuntimeError) as caught:
        calls()
    line = calls.__code__.co_firstlineno + 1
    assert f"RuntimeError in test_errors.py:{line} calls(): " in described(caught.value)


def test_an_error_without_a_message_or_a_stack_is_its_type() -> None:
    assert described(KeyError()) == "KeyError"


@pytest.mark.parametrize(("value", "through"), [("1", True), ("0", False), ("", False), (None, False)])
def test_the_environment_lets_errors_through(value: str | None, through: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNN_DIAG_RAISE", raising=False)
    if value is not None:
        monkeypatch.setenv("RNN_DIAG_RAISE", value)
    assert lets_errors_through() is through
