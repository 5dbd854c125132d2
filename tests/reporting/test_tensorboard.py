"""What a writer is handed is what TensorBoard reads back."""

from __future__ import annotations

import html
import io
import math
import re

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugin_util import markdown_to_safe_html
from torch.utils.tensorboard import SummaryWriter

from rnn_diag.reporting.markdown import Statement, as_markdown
from rnn_diag.reporting.tensorboard import RIDGE_BUCKETS, Writer, write_picture, write_ridge, write_scalars, write_table


@pytest.fixture
def written(tmp_path):
    """Return a function that writes and reads back."""

    def write(*writes):
        writer = SummaryWriter(str(tmp_path))
        assert isinstance(writer, Writer)
        for function, *arguments in writes:
            function(writer, *arguments)
        writer.close()
        return EventAccumulator(str(tmp_path), {"images": 0, "histograms": 0, "tensors": 0}).Reload()

    return write


def heights(log, tag):
    """Return the counts of a ridge's buckets after the first, which reaches from minus infinity to 0."""
    value = log.Histograms(tag)[0].histogram_value
    assert value.bucket[0] == 0
    return value.bucket_limit[1:], value.bucket[1:]


def test_numbers_that_are_written_together_are_read_one_by_one(written):
    numbers = {"a/x": 1.5, "a/y": math.inf, "b": math.nan}
    log = written((write_scalars, numbers, 3), (write_scalars, {"b": 2.0}, 4))
    assert set(log.Tags()["scalars"]) == set(numbers)
    assert [(one.step, one.value) for tag in ("a/x", "a/y") for one in log.Scalars(tag)] == [(3, 1.5), (3, math.inf)]
    assert math.isnan(log.Scalars("b")[0].value) and log.Scalars("b")[1].value == 2.0


def test_ridge_is_the_profile_plus_eight(written):
    log = written((write_ridge, "profile", np.array([-3.0, -2.0, 0.5]), 7))
    limits, counts = heights(log, "profile")
    assert counts == [5.0, 6.0, 8.5]
    assert limits == [1.0, 2.0, 3.0]
    assert log.Histograms("profile")[0].step == 7


def test_ridge_has_no_height_where_the_profile_is_too_small_or_not_finite(written):
    log = written((write_ridge, "profile", np.array([-9.0, -math.inf, math.nan, math.inf, 0.0]), 0))
    assert heights(log, "profile")[1] == [0.0, 0.0, 0.0, 0.0, 8.0]


@pytest.mark.parametrize("steps", [1, 63, 64, 65, 500, 10_000])
def test_ridge_of_any_length_keeps_its_highest_point_in_few_buckets(steps, written):
    profile = np.full(steps, -5.0)
    profile[steps // 3] = 1.0
    limits, counts = heights(written((write_ridge, "profile", profile, 0)), "profile")
    assert len(counts) == min(steps, RIDGE_BUCKETS)
    assert max(counts) == 9.0
    assert limits[-1] == steps


def test_empty_ridge_is_refused(written):
    with pytest.raises(ValueError, match="an empty profile"):
        written((write_ridge, "profile", np.array([]), 0))


def test_picture_is_read_back_pixel_by_pixel(written):
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    (image,) = written((write_picture, "picture", pixels, 3)).Images("picture")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(image.encoded_image_string))), pixels)
    assert image.step == 3


def test_table_is_markdown_whose_cells_stay_in_their_columns(written):
    log = written((write_table, "table", ["a", "b"], [["x|y", "two\nlines"]], 0))
    (event,) = log.Tensors("table/text_summary")
    assert event.tensor_proto.string_val[0].decode() == "| a | b |\n| --- | --- |\n| x\\|y | two lines |"


NAMES = [
    "[/red]",
    "<b>",
    "a|b",
    "encoder.l0_reverse",
    "*x*",
    "`c`",
    "__proto__",
    "\\[x]",
    "# a",
    "1. a",
    "&lt;",
    "[l](x)",
]


@pytest.mark.parametrize("name", [*NAMES, "<script>alert(1)</script>", "<img src=x onerror=alert(1)>"])
def test_the_text_tab_shows_a_name_that_holds_markup_letter_by_letter(name, written):
    (event,) = written((write_table, "table", ["layer"], [[name]], 0)).Tensors("table/text_summary")
    page = markdown_to_safe_html(event.tensor_proto.string_val[0].decode())
    (cell,) = re.findall("<td>(.*)</td>", page)
    assert html.unescape(cell) == name
    assert "<" not in cell
    findings = as_markdown([Statement("critical", name, name, name, name)])
    shown = html.unescape(re.sub("</?(h3|p|strong|ul|li)>", "", markdown_to_safe_html(findings)))
    assert shown.split("\n") == [name, f"✕ critical: {name}", "", name, f"Try: {name}", ""]
