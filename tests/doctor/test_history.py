"""What several batches tell together, and findings that come and go near a threshold."""

from __future__ import annotations

import json

import pytest

from rnn_diag.doctor import Finding, Report, Severity
from rnn_diag.doctor.history import RunHistory


def report(*severities: Severity) -> Report:
    return Report(tuple(Finding("vanishing", one, "l0", "It vanishes.") for one in severities), {})


THERE, AWAY, WORSE = report(Severity.ADVICE), report(), report(Severity.WARNING)


def standing(*reports: Report) -> list[str]:
    """Return after each report how bad what stands is; `-` where nothing does."""
    history, seen = RunHistory(), []
    for step, one in enumerate(reports):
        history.follow(one, step)
        seen.append(str(history.standing[0].severity) if history.standing else "-")
    return seen


def test_a_finding_that_is_over_for_good_is_over_at_once() -> None:
    assert standing(THERE, THERE, AWAY, AWAY) == ["advice", "advice", "-", "-"]


def test_a_finding_that_comes_back_stays_until_it_has_been_away_for_three_batches() -> None:
    flickering = standing(THERE, AWAY, THERE, AWAY, AWAY, THERE, AWAY, AWAY, AWAY, AWAY)
    assert flickering == ["advice", "-", *["advice"] * 6, "-", "-"]


def test_a_finding_that_gets_worse_and_milder_with_every_batch_stands_as_its_worst() -> None:
    assert standing(THERE, WORSE, THERE, WORSE, THERE, WORSE) == ["advice", "warning", "advice", *["warning"] * 3]


def test_what_came_and_went_is_told_once_and_is_past_when_it_is_over() -> None:
    history = RunHistory()
    changes = [len(history.follow(one, step)) for step, one in enumerate((THERE, AWAY, THERE, WORSE, AWAY))]
    assert changes == [1, 0, 0, 1, 0]
    assert history.past == []
    for step in (5, 6):
        history.follow(AWAY, step)
    (episode,) = history.past
    assert (episode.first_step, episode.last_step, episode.worst.severity) == (0, 3, Severity.WARNING)
    assert json.loads(history.to_json())["episodes"][0]["last_step"] == 3


def test_nan_stands_as_it_came_up_and_what_nobody_can_judge_any_more_is_not_over() -> None:
    history = RunHistory()
    for step, where in enumerate(("", "input at step 0", "weight_ih, unit 0")):
        nan = Finding("non_finite", Severity.CRITICAL, "l0", f"It is here: {where}.")
        history.follow(Report((nan,), {}) if where else THERE, step)
    assert [one.meaning for one in history.standing] == ["It is here: input at step 0.", "It vanishes."]
    assert history.past == [] and history.since(history.standing[0]) == 1


@pytest.mark.parametrize("batches", [1, 20])
def test_a_run_counts_the_batches_that_it_judged(batches: int) -> None:
    history = RunHistory()
    for step in range(batches - 1):
        history.follow(AWAY, step)
    assert history.facts().batches == batches
