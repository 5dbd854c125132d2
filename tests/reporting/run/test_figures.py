"""Which figures a layer has, by what was logged of it."""

from __future__ import annotations

import numpy as np
import pytest

from rnn_diag.reporting.run.figures import figures_of
from rnn_diag.reporting.run.logged import Logged, LoggedLayer
from rnn_diag.tb.rows import Event

pytest.importorskip("matplotlib")
PROFILE = np.array([[-2, -1, 0], [-3, -2, 0], [-1, 0, 0], [1, 1, 1]], np.float16)


def logged(*values: np.ndarray, **content: object) -> Logged:
    return Logged(content, [Event(10 * index, 0.0, one) for index, one in enumerate(values)])


def test_every_kind_that_was_logged_has_its_figures() -> None:
    gates = np.full((1, 4, 3), 1, np.uint8)
    layer = LoggedLayer(
        {
            "grad": logged(PROFILE, PROFILE),
            "influence": logged(PROFILE),
            "horizon": logged(np.ones(3), np.ones(3)),
            "gates": logged(gates, gates, labels=["forget"]),
            "gate_units": logged(np.zeros((1, 3, 4), np.uint8), labels=["forget"]),
            "lyapunov": logged(np.zeros(2), np.zeros(2)),
        },
        {"eig": {"forget": logged(np.ones((3, 2)))}, "sv": {"forget": logged(np.ones(3))}},
    )
    drawn = {title: draw() for title, draw in figures_of(layer)}
    assert len(drawn) == 9 and all(figure.axes for figure in drawn.values())


def test_one_step_has_no_course_over_the_training() -> None:
    layer = LoggedLayer({"grad": logged(PROFILE), "horizon": logged(np.ones(3))})
    assert [title for title, _ in figures_of(layer)] == ["Gradient over the timesteps"]


def test_long_sequences_thin_the_training_steps_out_and_keep_the_last() -> None:
    long = np.concatenate([np.zeros((3, 2)), np.full((1, 2), 50_000)]).astype(np.float32)
    layer = LoggedLayer({"grad": logged(*[long] * 60)})
    (_, draw), *_ = figures_of(layer)
    (mesh,) = draw().axes[0].collections
    assert mesh.get_array().shape == (100_000, 20)
