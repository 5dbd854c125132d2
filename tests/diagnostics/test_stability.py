from __future__ import annotations

import math

import pytest
import torch

from rnn_diag.diagnostics.stability import stability_verdicts

LAGS = torch.arange(40, dtype=torch.float64)


@pytest.mark.parametrize(
    ("response", "step_response", "verdict"),
    [
        (0.8**LAGS, (1 - 0.8 ** (LAGS + 1)) / 0.2, "forgets"),
        (torch.zeros(40), torch.zeros(40), "forgets"),
        (torch.ones(40), torch.ones(40), "holds"),
        (torch.ones(40), LAGS + 1, "integrator"),
        (1.1**LAGS, 1.1**LAGS, "unstable"),
        (1 + 20 * (LAGS > 3), torch.ones(40), "unstable"),  # stays at more than ten times its first value
        (LAGS + 1, LAGS * LAGS + 1, "unstable"),
    ],
)
def test_the_word_is_that_of_the_second_half(response, step_response, verdict: str) -> None:
    assert stability_verdicts(response.unsqueeze(1), step_response.unsqueeze(1)) == (verdict,)


def test_every_sequence_is_judged_by_what_is_seen_of_it() -> None:
    response = torch.stack((torch.ones(40), 0.5**LAGS, torch.ones(40)), dim=1)
    response[7:, 0] = response[20:, 2] = math.nan
    assert stability_verdicts(response, response) == ("undecided", "forgets", "holds")


def test_a_response_that_overflows_is_unstable() -> None:
    assert stability_verdicts(torch.full((20, 1), math.inf), torch.ones(20, 1)) == ("unstable",)
