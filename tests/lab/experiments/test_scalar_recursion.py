"""One linear unit, beside answers worked out by hand."""

from __future__ import annotations

import pytest

from rnn_diag.lab.experiments.scalar_recursion import ScalarRecursion


def test_the_table_holds_the_known_half_lives_and_verdicts() -> None:
    outcome = ScalarRecursion(weights=(1.1, 0.5, 1.0, -0.5), steps=40).run()
    rows = {row[0]: row[1:] for row in outcome.tables[0].rows}
    assert list(rows) == [-0.5, 0.5, 1.0, 1.1]
    assert rows[0.5][0] == rows[-0.5][0] == "forgets"
    assert rows[0.5][1] == pytest.approx(1.0)  # One step halves it.
    assert rows[1.0][0] == "integrator"
    assert rows[1.1][0] == "unstable"
    assert rows[1.1][3] == pytest.approx(41.1447772)  # 1.1 to the 39th
    assert rows[0.5][4] == pytest.approx(2.0)  # 1 + 1/2 + 1/4 + …
    assert outcome.holds


def test_the_conclusion_names_what_was_measured() -> None:
    said = ScalarRecursion(weights=(0.5, 2.0), steps=11).run().conclusion.replace("\N{NO-BREAK SPACE}", " ")
    assert "w = 0.5 remembers longest and has lost half of it after 1.0 steps" in said
    assert "With w = 2 it has grown 1.02e+03 times after 10 steps" in said
    assert "stays as it is" not in said


def test_a_wrong_measurement_would_not_hold() -> None:
    checks = ScalarRecursion(weights=(0.5,), steps=20).run().checks
    half_life = next(check for check in checks if "half-life" in check.what)
    assert half_life.predicted == pytest.approx(1.0)
    assert half_life.tolerance < 0.01


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"weights": ()}, TypeError, r"weights=\(\); expected finite numbers"),
        ({"weights": (0.5, 0.0)}, ValueError, r"weights=\(0.5, 0.0\); expected finite numbers other than 0"),
        ({"weights": ("x",)}, TypeError, r"weights=\('x',\); expected finite numbers"),
        ({"weights": (float("nan"),)}, ValueError, r"weights=\(nan,\); expected finite numbers"),
        ({"steps": 3}, ValueError, "steps=3; expected a whole number of at least 8"),
        ({"steps": 9.5}, TypeError, "steps=9.5; expected a whole number of at least 8"),
    ],
)
def test_settings_without_a_measurement_are_refused(
    settings: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ScalarRecursion(**settings)  # type: ignore[arg-type]
