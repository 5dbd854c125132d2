"""A kind says what its tensors hold, and the table of the format says the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnn_diag.tb.kinds import KINDS
from rnn_diag.tb.kinds.kind import MOST_NUMBERS

DOCS = Path(__file__).parents[3] / "docs" / "dashboard.md"


def test_the_table_of_the_format_holds_every_kind() -> None:
    rows = []
    for kind in KINDS.values():
        shape = f"`[{', '.join(map(str, kind.shape))}]`" if kind.shape else "scalar"
        rows.append(f"| `{kind.name}` | {shape} {'text' if kind.dtype == 'object' else kind.dtype} | {kind.holds} |")
    assert "\n".join(rows) in DOCS.read_text()


@pytest.mark.parametrize("name", [name for name in KINDS if name != "verdict"])
def test_a_tensor_of_another_type_or_shape_or_too_large_is_refused(name: str) -> None:
    kind, content = KINDS[name], {"labels": ["a"]}
    shape = [1 if isinstance(length, str) else length for length in kind.shape]
    good = np.ones(shape, dtype=kind.dtype)
    assert kind.trouble_with(good, content) == ""
    assert kind.trouble_with(good.astype(np.float64), content) == f"float64 {shape}; expected {kind.dtype} " + (
        f"[{', '.join('1' if one == 'labels' else str(one) for one in kind.shape)}]"
    )
    assert kind.trouble_with(good[None], content).startswith(f"{kind.dtype} {[1, *shape]}; expected")
    for axis, length in enumerate(kind.shape):
        if isinstance(length, str) and length != "labels":
            large = np.broadcast_to(good.take([0], axis), [*shape[:axis], MOST_NUMBERS + 1, *shape[axis + 1 :]])
            assert f"expected {MOST_NUMBERS} at most" in kind.trouble_with(large, content)
            assert kind.trouble_with(good.take([], axis), content) != ""
