"""What measuring cost, of the whole run."""

from __future__ import annotations

from pathlib import Path

from rnn_diag.tb import kinds, schema
from tests.tb.serving import get, series, written


def test_milliseconds_and_share_come_back_and_have_names_in_an_export(tmp_path: Path) -> None:
    client = written(tmp_path, lambda log: kinds.write_cost(log, 7, 12.5, 0.25))
    steps, (values,) = series(client, "run", schema.tag_of("cost"))
    assert (steps, values.tolist()) == ([7], [12.5, 0.25])
    (row,) = get(client, "export", run="run", tag=schema.tag_of("cost"), format="json").json["rows"]
    assert (row["milliseconds"], row["share_of_training_time"]) == (12.5, 0.25)
