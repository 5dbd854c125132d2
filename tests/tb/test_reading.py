"""One bad event file harms neither the page nor the series next to it: what a log says is checked first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT
from tensorboard.util import tensor_util
from torch.utils.tensorboard import SummaryWriter

from rnn_diag.tb import schema
from rnn_diag.tb.kinds import KINDS, write_gradients
from rnn_diag.tb.kinds.verdict import findings_in
from rnn_diag.tb.reading import LARGEST_STEP, checked, described
from rnn_diag.tb.rows import Event, pack
from rnn_diag.tb.writer import _summary
from tests.tb.serving import decode, get, series, serve

GRAD = schema.content_of("grad", "l0")
PROFILE = np.array([[-3, -2], [-4, -3], [-2, -1], [1, 1]], dtype=np.float16)
TAG = "rnn_diag/l0/grad"


def write_raw(
    folder: Path, content: bytes, values: Any, *, tag: str = TAG, step: int = 0, wall_time: Any = None
) -> None:
    """Write one event as it is given, whether or not anybody can read it."""
    summary = _summary(tag, content, PROFILE)
    summary.value[0].tensor.CopyFrom(
        values if isinstance(values, TensorProto) else tensor_util.make_tensor_proto(values)
    )
    with SummaryWriter(str(folder)) as log:
        log._get_file_writer().add_summary(summary, step, wall_time)


def served_next_to_a_good_run(folder: Path) -> Any:
    with SummaryWriter(str(folder / "good")) as log:
        write_gradients(log, "l0", 7, [-3.0, -2.0])
    client = serve(folder)
    assert series(client, "good", TAG)[0] == [7]
    index = get(client, "index")
    assert index.status_code == 200
    assert index.json["runs"]["good"][TAG]["content"]["layer"] == "l0"
    return client


NOT_JSON = "its description is not JSON"
BAD_DESCRIPTIONS = {
    "NaN as version": (b'{"v":NaN,"kind":"grad","layer":"l0"}', "its description has no version"),
    "infinite version": (b'{"v":1e400,"kind":"grad"}', "its description has no version"),
    "version that is a truth": (b'{"v":true,"kind":"grad"}', "its description has no version"),
    "deeply nested": (b'{"v":' + b"[" * 20_000 + b"]" * 20_000 + b"}", NOT_JSON),
    "huge": (b'{"v":1,"kind":"' + b"x" * 100_000 + b'"}', "its description has 100017 bytes; expected 65536 at most"),
    "not UTF-8": (b"\xff\xfe\x00", NOT_JSON),
    "list": (b"[]", "its description is not a JSON object"),
    "unknown kind": (b'{"v":1,"kind":"other"}', "its kind is unknown"),
    "kind that is a list": (b'{"v":1,"kind":["grad"]}', "its kind is unknown"),
    "layer that is a number": (b'{"v":1,"kind":"grad","layer":3}', "3; expected a text of at most 1000 letters"),
    "no labels": (b'{"v":1,"kind":"gates","layer":"l0"}', "labels is missing"),
    "labels that are a number": (b'{"v":1,"kind":"gates","layer":"l0","labels":5}', "labels: 5; expected a list"),
    "infinite range": (
        b'{"v":1,"kind":"gates","layer":"l0","labels":["a"],"ranges":[[0,1e400]]}',
        "expected a list of [lowest, highest]",
    ),
    "every that is an object": (
        b'{"v":1,"kind":"gate_units","layer":"l0","labels":["a"],"every":{}}',
        "every: {}; expected a whole number",
    ),
}


@pytest.mark.parametrize(("content", "why"), BAD_DESCRIPTIONS.values(), ids=BAD_DESCRIPTIONS)
def test_a_series_with_a_bad_description_is_listed_as_bad_with_the_reason(
    tmp_path: Path, content: bytes, why: str
) -> None:
    write_raw(tmp_path / "bad", content, PROFILE)
    client = served_next_to_a_good_run(tmp_path)
    entry = get(client, "index").json["runs"]["bad"][TAG]
    assert entry["content"] == {"v": None}
    assert why in entry["why"]
    for route in ("series", "export"):
        answer = get(client, route, run="bad", tag=TAG)
        assert answer.status_code == 400
        assert "cannot be read" in answer.text


def test_what_the_page_needs_not_is_not_passed_on(tmp_path: Path) -> None:
    write_raw(tmp_path / "odd", b'{"v":1,"kind":"grad","layer":"\\ud800","x":NaN,"cell":"lstm"}', PROFILE)
    client = served_next_to_a_good_run(tmp_path)
    assert get(client, "index").json["runs"]["odd"][TAG]["content"] == {
        "v": 1,
        "kind": "grad",
        "layer": "?",
        "cell": "lstm",
    }


BAD_TENSORS = {
    "scalar": np.float16(1),
    "other shape": np.zeros((2, 3, 4), np.float16),
    "three rows": PROFILE[:3],
    "empty": np.zeros((4, 0), np.float16),
    "whole numbers": np.zeros((4, 8), np.int64),
    "complex": np.zeros((4, 8), np.complex64),
    "text": np.array([[b"x"] * 8] * 4),
    "infinite widths": np.full((4, 8), np.inf, np.float16),
    "widths that are no number": np.full((4, 8), np.nan, np.float16),
    "negative widths": np.full((4, 8), -1, np.float16),
}


@pytest.mark.parametrize("values", BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_a_step_that_cannot_be_shown_is_counted_and_the_others_are_served(tmp_path: Path, values: Any) -> None:
    with SummaryWriter(str(tmp_path / "mixed")) as log:
        for step, one in enumerate([PROFILE, values]):
            summary = _summary(TAG, GRAD, PROFILE)
            summary.value[0].tensor.CopyFrom(tensor_util.make_tensor_proto(one))
            log._get_file_writer().add_summary(summary, step)
    client = served_next_to_a_good_run(tmp_path)
    answer = get(client, "series", run="mixed", tag=TAG)
    steps, rows = decode(answer.data)
    assert steps == [0]
    np.testing.assert_array_equal(rows[0], PROFILE)
    assert b'"unreadable":1' in answer.data
    assert get(client, "export", run="mixed", tag=TAG).text.count("\n") == 3


def broken_tensors() -> dict[str, TensorProto]:
    negative = TensorProto(dtype=DT_FLOAT, tensor_content=b"1234")
    negative.tensor_shape.dim.add(size=-7)
    short = TensorProto(dtype=DT_FLOAT, tensor_content=b"1234")
    short.tensor_shape.dim.add(size=100)
    unknown = TensorProto(dtype=999, tensor_content=b"1234")
    large = TensorProto(dtype=DT_FLOAT, float_val=[1.0])
    large.tensor_shape.dim.add(size=4)
    large.tensor_shape.dim.add(size=1 << 20)
    return {"negative length": negative, "fewer bytes than it says": short, "unknown type": unknown, "large": large}


@pytest.mark.parametrize("name", broken_tensors())
def test_a_tensor_that_tensorboard_itself_cannot_read_costs_its_series_alone(tmp_path: Path, name: str) -> None:
    write_raw(tmp_path / "bad", GRAD, broken_tensors()[name])
    client = served_next_to_a_good_run(tmp_path)
    answer = get(client, "series", run="bad", tag=TAG)
    assert answer.status_code == 400 or b'"steps":[]' in answer.data
    assert get(client, "export", run="bad", tag=TAG).status_code in (200, 400)


@pytest.mark.parametrize("wall_time", [float("nan"), float("inf")])
def test_a_time_that_is_no_time_does_not_matter(tmp_path: Path, wall_time: float) -> None:
    write_raw(tmp_path / "bad", GRAD, PROFILE, wall_time=wall_time)
    client = served_next_to_a_good_run(tmp_path)
    assert series(client, "bad", TAG)[0] == [0]
    assert get(client, "export", run="bad", tag=TAG, format="json").status_code == 200


def test_steps_that_a_browser_cannot_tell_apart_are_left_out() -> None:
    events = [Event(step, 0.0, PROFILE) for step in (-5, 0, LARGEST_STEP + 2)]
    found = checked(events, described(GRAD).content)
    assert [event.step for event in found.events] == [-5, 0]
    assert (found.unreadable, found.why) == (1, f"step {LARGEST_STEP + 2}; expected 2^53 at most")


BAD_VERDICTS = {
    "number": np.float32(3),
    "two texts": np.array([b"[]", b"[]"]),
    "not UTF-8": np.array(b"\xff"),
    "deep": np.array(b"[" * 100_000),
    "not a list": np.array(b"{}"),
    "no objects": np.array(b"[null, 3]"),
}


@pytest.mark.parametrize("values", BAD_VERDICTS.values(), ids=BAD_VERDICTS)
def test_a_verdict_that_is_none_is_left_out(tmp_path: Path, values: Any) -> None:
    write_raw(tmp_path / "bad", schema.content_of("verdict"), values, tag="rnn_diag/verdict")
    client = served_next_to_a_good_run(tmp_path)
    assert get(client, "verdict", run="bad").json == []


def test_a_name_that_a_spreadsheet_takes_for_a_formula_is_exported_as_text(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "=cmd")) as log:
        write_gradients(log, "@SUM(1)", 0, [-3.0])
    rows = get(serve(tmp_path), "export", run="=cmd", tag="rnn_diag/@SUM(1)/grad").text.splitlines()
    assert rows[1].startswith("'=cmd,'@SUM(1),0,")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FACTS = ("layer", "cell", "labels", "ranges", "units", "every", "matrix")
DESCRIPTIONS = st.fixed_dictionaries(
    {"v": st.just(1) | JSON, "kind": st.sampled_from([*KINDS]) | JSON}, optional={fact: JSON for fact in FACTS}
)
DTYPES = ("float16", "float32", "float64", "uint8", "int64", "complex64", "bool", "object")


@st.composite
def tensors(draw: Any) -> Any:
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    values = draw(st.lists(st.floats(width=16), min_size=1, max_size=6))
    with np.errstate(all="ignore"):
        return np.resize(np.array(values), shape).astype(draw(st.sampled_from(DTYPES)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.binary(max_size=40) | DESCRIPTIONS.map(lambda one: json.dumps(one).encode()), values=tensors())
def test_whatever_a_log_holds_is_served_or_refused(content: bytes, values: Any) -> None:
    description = described(content)
    json.dumps(description.content, allow_nan=False)
    if "kind" not in description.content:
        assert description.why or description.content["v"] > schema.VERSION
        return
    kind = KINDS[description.content["kind"]]
    found = checked([Event(1, 0.0, values)], description.content)
    assert len(found.events) + found.unreadable == 1
    assert bool(found.why) == bool(found.unreadable)
    pack(found.events, found.unreadable)
    for event in found.events:
        list(kind.rows(event.values, description.content)) if kind.rows else findings_in(event.values)


@settings(max_examples=100, deadline=None)
@given(text=st.binary(max_size=60) | JSON.map(lambda one: json.dumps(one).encode()))
def test_whatever_a_verdict_holds_is_a_list_of_texts_or_nothing(text: bytes) -> None:
    findings = findings_in(np.array(text, dtype=object))
    assert findings is None or all(isinstance(value, str) for finding in findings for value in finding.values())
