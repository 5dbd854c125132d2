"""Labels at the ends of lines."""

from __future__ import annotations

import numpy as np

from rnn_diag.lab.parts.figures import spread


def test_labels_that_would_touch_are_moved_apart_in_their_order() -> None:
    assert spread([0.2, 0.9], apart=0.1) == [0.2, 0.9]
    np.testing.assert_allclose(spread([0.5, 0.5, 0.5], apart=0.1), [0.4, 0.5, 0.6])
    np.testing.assert_allclose(spread([0.30, 0.32, 0.9], apart=0.1), [0.26, 0.36, 0.9])
