import numpy as np
import pytest
import torch

from rnn_diag.arguments import number, numbers, one_of, some_of, thresholds, whole


@pytest.mark.parametrize("value", [3, np.int64(3), torch.tensor(3)])
def test_whole_numbers_of_every_library_become_integers(value):
    assert type(whole("k", value, at_least=3)) is int


@pytest.mark.parametrize("value", [2.0, "3", True, None, [3]])
def test_what_is_not_whole_is_refused_by_its_type(value):
    with pytest.raises(TypeError, match=r"^k=.*; expected a whole number$"):
        whole("k", value)


def test_what_else_is_accepted_stands_in_the_error():
    with pytest.raises(ValueError, match=r"^n=0; expected a whole number of at least 1, or None for all$"):
        whole("n", 0, at_least=1, otherwise="None for all")


@pytest.mark.parametrize("value", [0, 1, -1, float("nan"), float("inf")])
def test_a_number_out_of_bounds_is_refused(value):
    with pytest.raises(ValueError, match=r"^share=.*; expected a finite number above 0 and below 1$"):
        number("share", value, above=0, below=1)


def test_a_number_on_a_closed_bound_is_accepted():
    assert number("share", 0, at_least=0, at_most=1) == 0
    assert number("share", 1.0, at_least=0, at_most=1) == 1
    with pytest.raises(ValueError, match="of at least 0 and at most 1"):
        number("share", 1.1, at_least=0, at_most=1)


@pytest.mark.parametrize("value", ["0.5", None, False, 1j])
def test_what_is_no_number_is_refused_by_its_type(value):
    with pytest.raises(TypeError, match=r"^x=.*; expected a finite number$"):
        number("x", value)


def test_numbers_may_be_one_or_several_but_not_none():
    numbers("xs", 1.0)
    numbers("xs", [1, 2.5])
    with pytest.raises(TypeError, match=r"^xs=\[\]; expected finite numbers$"):
        numbers("xs", [])
    with pytest.raises(ValueError, match=r"^xs=\[1, 0\]; expected finite numbers below 2 and other than 0$"):
        numbers("xs", [1, 0], below=2, without=0)


def test_a_word_that_is_no_choice_is_answered_with_the_choices():
    assert one_of("way", "up", ("up", "down")) == "up"
    assert some_of("ways", ["up", "down"], ("up", "down")) == ["up", "down"]
    with pytest.raises(ValueError, match=r"^ways='left'; choices: up, down$"):
        some_of("ways", ["up", "left"], ("up", "down"))


def test_thresholds_must_be_in_order():
    assert thresholds(0, 1) == (0, 1)
    with pytest.raises(ValueError, match=r"^low=0.9, high=0.1; expected 0 <= low < high <= 1$"):
        thresholds(0.9, 0.1)
