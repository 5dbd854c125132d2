"""Charts follow the table of statistics, of this package and of one's own diagnostics."""

from __future__ import annotations

import re

from rnn_diag.measurements.layer import STATISTICS
from rnn_diag.measurements.statistics import Statistic
from rnn_diag.reporting.layout import custom_scalars_layout


def test_every_chart_holds_the_numbers_that_name_it_and_no_others() -> None:
    charts = custom_scalars_layout(["a.l0"])["rnn_diag: a.l0"]
    assert list(charts) == list(dict.fromkeys(one.chart for many in STATISTICS.values() for one in many if one.chart))
    for title, (kind, patterns) in charts.items():
        assert kind == "Multiline"
        for diagnostic, statistics in STATISTICS.items():
            for one in statistics:
                tag = f"{diagnostic}/a.l0/{one.named('forget')}"
                assert any(re.match(pattern, tag) for pattern in patterns) is (one.chart == title)
                other = f"{diagnostic}/a_l0/{one.named('forget')}"
                assert not any(re.match(pattern, other) for pattern in patterns)


def test_a_diagnostic_of_ones_own_has_the_charts_that_it_declares() -> None:
    own = {
        "energy": (Statistic("mean", "J", "mean over steps", chart="energy"),),
        "heat": (Statistic("<gate>/mean", "J", "mean", chart="energy"), Statistic("max", "J", "largest")),
    }
    assert custom_scalars_layout(["l0"], own) == {
        "rnn_diag: l0": {"energy": ["Multiline", ["^energy/l0/mean$", "^heat/l0/[^/]+/mean$"]]}
    }
