"""Series as files: CSV and JSON."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_diag.tb import kinds as tab
from rnn_diag.tb import schema
from tests.tb.golden import numbers
from tests.tb.serving import ROUTE, get, serve, written

GOLDEN = Path(__file__).parent / "golden"


def exported(client: Any, format_: str, *tags: str) -> Any:
    return client.get(f"{ROUTE}export?{'&'.join(f'run=v1&tag={tag}' for tag in tags)}&format={format_}")


def test_every_kind_is_exported_with_its_numbers() -> None:
    client = serve(GOLDEN)
    tags = [tag for tag in get(client, "index").json["runs"]["v1"] if not tag.endswith("verdict")]
    assert len(tags) == 9
    rows = {tag: exported(client, "json", tag).json["rows"] for tag in tags}
    layer = numbers.LAYER
    norms = [row["log10_median"] for row in rows[f"rnn_diag/{layer}/grad"]]
    assert norms == [
        str(value) if not np.isfinite(value) else value for value in np.float16(numbers.LOG10_NORMS[0]).tolist()
    ]
    gates = rows[f"rnn_diag/{layer}/gates"]
    assert [row["share_shut"] for row in gates] == pytest.approx(list(numbers.GATES["forget"][1]), abs=1 / 254)
    assert {row["gate"] for row in gates} == {"forget"}
    assert [row["first_timestep"] for row in gates] == list(range(len(gates)))
    eigenvalues = [complex(row["real"], row["imaginary"]) for row in rows[f"rnn_diag/{layer}/eig/forget"]]
    assert eigenvalues == [-1.5, 0.5 + 0.25j, 0.5 - 0.25j]
    assert [row["singular_value"] for row in rows[f"rnn_diag/{layer}/sv/forget"]] == [1.5, 1.0, 0.5]
    assert [row["nats_per_timestep"] for row in rows[f"rnn_diag/{layer}/lyapunov"]] == [0.125, -0.5]
    assert {row["step"] for found in rows.values() for row in found} == {numbers.STEP}


def test_csv_has_a_line_for_every_row_and_a_name_that_a_file_can_have() -> None:
    answer = exported(serve(GOLDEN), "csv", f"rnn_diag/{numbers.LAYER}/sv/forget")
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="rnn_diag_encoder.l0_sv_forget.csv"'
    assert [(line["run"], line["matrix"], float(line["singular_value"])) for line in lines] == [
        ("v1", "forget", 1.5),
        ("v1", "forget", 1.0),
        ("v1", "forget", 0.5),
    ]


def test_an_export_without_a_run_for_each_tag_of_an_unknown_format_or_kind_is_refused() -> None:
    client = serve(GOLDEN)
    assert client.get(f"{ROUTE}export").status_code == 400
    assert client.get(f"{ROUTE}export?run=v1&tag=rnn_diag/cost&tag=rnn_diag/cost").status_code == 400
    assert exported(client, "xlsx", "rnn_diag/cost").status_code == 400
    assert exported(client, "csv", "rnn_diag/verdict").status_code == 400
    assert exported(client, "csv", "rnn_diag/gone").status_code == 404


def test_an_export_of_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "content_of", lambda *_, **__: b'{"v":2,"kind":"cost","layer":""}')
    client = written(tmp_path, lambda log: tab.write_cost(log, 0, 1.0, 0.1))
    answer = get(client, "export", run="run", tag="rnn_diag/cost")
    assert answer.status_code == 400
    assert "format 2; expected format 1" in answer.text
