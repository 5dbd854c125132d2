"""The tab's routes, its files, and what TensorBoard imports at every start."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

import rnn_diag
from rnn_diag.tb import kinds as tab
from rnn_diag.tb import schema
from rnn_diag.tb.loader import Loader
from rnn_diag.tb.rows import Event, one_per_step, pack
from tests.tb.golden import numbers
from tests.tb.serving import ROUTE, decode, get, series, serve

GOLDEN = Path(__file__).parent / "golden"
STATIC = Path(rnn_diag.__file__).parent / "tb" / "static"
OWN = [file for file in STATIC.iterdir() if file.suffix in {".js", ".css"} and not file.name.startswith("uplot")]


@pytest.fixture
def log(tmp_path: Path) -> Any:
    with SummaryWriter(str(tmp_path / "run")) as log:
        yield log


def test_the_entry_point_is_the_loader() -> None:
    (entry,) = entry_points(group="tensorboard_plugins", name="rnn_diag")
    assert entry.load() is Loader


def test_the_entry_point_imports_neither_torch_nor_lightning_nor_numpy() -> None:
    heavy = "{'torch', 'lightning', 'pytorch_lightning', 'hydra', 'jaxtyping', 'rnn_diag.tb.plugin'}"
    code = f"import sys, tensorboard.plugins.base_plugin; import rnn_diag.tb.loader; print({heavy} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_the_plugin_itself_imports_neither_torch_nor_lightning() -> None:
    code = "import sys, rnn_diag.tb.plugin; print({'torch', 'lightning', 'hydra'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.mark.parametrize(("given", "kept"), [({}, 1000), ({"rnn_diag": 7}, 7)])
def test_a_thousand_steps_are_kept_unless_the_user_says_otherwise(given: dict[str, int], kept: int) -> None:
    flags = SimpleNamespace(samples_per_plugin=given)
    Loader().fix_flags(flags)
    assert flags.samples_per_plugin == {"rnn_diag": kept}


def test_an_empty_log_has_an_empty_index(tmp_path: Path) -> None:
    assert get(serve(tmp_path), "index").json == {"version": 1, "runs": {}}


def test_what_is_not_there_is_not_found_and_what_is_not_said_is_asked_for(tmp_path: Path, log: Any) -> None:
    tab.write_cost(log, 0, 1.0, 0.1)
    log.flush()
    client = serve(tmp_path)
    assert get(client, "series", run="run", tag="rnn_diag/other").status_code == 404
    assert get(client, "series", run="other", tag="rnn_diag/cost").status_code == 404
    assert get(client, "verdict", run="run").status_code == 404
    assert get(client, "series", run="run").status_code == 400
    assert get(client, "static/nothing.js").status_code == 404
    assert get(client, "static/..%2f..%2fplugin.py").status_code == 404


def test_a_plain_tensor_of_the_user_is_not_ours(tmp_path: Path, log: Any) -> None:
    log.add_scalar("loss", 1.0, 0)
    log.flush()
    assert get(serve(tmp_path), "index").json["runs"] == {}


def test_a_resumed_run_shows_each_step_once_and_the_newest() -> None:
    times = [(8, 1.0), (9, 2.0), (5, 3.0), (6, 4.0), (9, 5.0)]
    events = one_per_step(Event(step, time, np.array([time])) for step, time in times)
    assert [(event.step, event.wall_time) for event in events] == [(5, 3.0), (6, 4.0), (8, 1.0), (9, 5.0)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_rows_arrive_in_the_type_they_are_stored_in(dtype: str) -> None:
    rows = [np.arange(6, dtype=dtype).reshape(2, 3), np.arange(4, dtype=dtype).reshape(2, 2)]
    steps, unpacked = decode(pack([Event(step, 0.0, row) for step, row in enumerate(rows)]))
    assert steps == [0, 1]
    for row, arrived in zip(rows, unpacked, strict=True):
        assert arrived.dtype == dtype
        np.testing.assert_array_equal(arrived, row)


def test_rows_of_a_type_that_nobody_reads_are_counted() -> None:
    body = pack([Event(0, 0.0, np.array([1.0])), Event(1, 0.0, np.array([b"text"], dtype=object))])
    assert b'"unreadable":2' in body
    assert decode(body) == ([], [])


def test_a_truncated_event_file_gives_what_is_before_the_cut(tmp_path: Path, log: Any) -> None:
    for step in range(3):
        tab.write_gradients(log, "l0", step, [-3.0, -2.0])
    log.flush()
    (file,) = (tmp_path / "run").iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    steps, _ = series(serve(tmp_path), "run", "rnn_diag/l0/grad")
    assert steps == [0, 1]


def test_a_description_that_is_not_ours_is_served_as_unreadable(
    tmp_path: Path, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "content_of", lambda *_, **__: b"\xff not json")
    tab.write_cost(log, 0, 1.0, 0.1)
    log.flush()
    assert get(serve(tmp_path), "index").json["runs"]["run"]["rnn_diag/cost"]["content"] == {"v": None}


@pytest.mark.parametrize("file", sorted(file.name for file in STATIC.iterdir()))
def test_every_static_file_is_served_as_it_is(tmp_path: Path, file: str) -> None:
    answer = get(serve(tmp_path), f"static/{file}")
    kinds = {"js": "text/javascript", "css": "text/css", "txt": "text/plain", "json": "application/json"}
    assert answer.status_code == 200
    assert answer.data == (STATIC / file).read_bytes()
    assert answer.mimetype == kinds[file.rsplit(".", 1)[-1]]


def test_vendored_files_are_those_of_the_version_named() -> None:
    vendored = json.loads((STATIC / "vendored.json").read_text())
    for name in ("uplot.js", "uplot.css", "LICENSE.uplot.txt"):
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == vendored["sha256"][name]
    original = (STATIC / "uplot.js").read_bytes().removesuffix(b"export default uPlot;\n")
    assert hashlib.sha256(original).hexdigest() == vendored["sha256"]["dist/uPlot.iife.min.js"]
    assert vendored["version"].encode() in original
    assert b"MIT" in (STATIC / "LICENSE.uplot.txt").read_bytes()


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.name)
def test_no_file_of_the_page_names_another_machine_or_breaks_its_rules(file: Path) -> None:
    text = file.read_text()
    assert not re.search(r"https?://|//cdn|blob:|innerHTML|\beval\(|new Function|setAttribute\('on", text)
    assert text.startswith(("// ", "/* "))


def test_every_module_that_is_imported_exists() -> None:
    for file in OWN:
        for module in re.findall(r"from '\./(\S+)'", file.read_text()):
            assert (STATIC / module).is_file(), f"{file.name} imports {module}"


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


def test_an_export_of_a_newer_format_is_refused(tmp_path: Path, log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "content_of", lambda *_, **__: b'{"v":2,"kind":"cost","layer":""}')
    tab.write_cost(log, 0, 1.0, 0.1)
    log.flush()
    answer = get(serve(tmp_path), "export", run="run", tag="rnn_diag/cost")
    assert answer.status_code == 400
    assert "format 2; expected format 1" in answer.text
