"""The tab's routes, its files, and what TensorBoard imports at every start."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch.utils.tensorboard import SummaryWriter

import rnn_diag
from rnn_diag.tb import kinds as tab
from rnn_diag.tb import plugin, schema
from tests.tb.serving import get, series, serve

GOLDEN = Path(__file__).parent / "golden"
STATIC = Path(rnn_diag.__file__).parent / "tb" / "static"
OWN = [file for file in STATIC.iterdir() if file.suffix in {".js", ".css"} and not file.name.startswith("uplot")]


@pytest.fixture
def log(tmp_path: Path) -> Any:
    with SummaryWriter(str(tmp_path / "run")) as log:
        yield log


def test_the_plugin_itself_imports_neither_torch_nor_lightning() -> None:
    code = "import sys, rnn_diag.tb.plugin; print({'torch', 'lightning', 'hydra'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_an_empty_log_has_an_empty_index(tmp_path: Path) -> None:
    assert get(serve(tmp_path), "index").json == {"version": 1, "folder": tmp_path.name, "runs": {}}


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


def test_a_truncated_event_file_gives_what_is_before_the_cut(tmp_path: Path, log: Any) -> None:
    for step in range(3):
        tab.write_gradients(log, "l0", step, [-3.0, -2.0])
    log.flush()
    (file,) = (tmp_path / "run").iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    steps, _ = series(serve(tmp_path), "run", "rnn_diag/l0/grad")
    assert steps == [0, 1]


def test_a_run_that_was_killed_and_resumed_shows_both_parts_once_and_in_order(tmp_path: Path, log: Any) -> None:
    for step in range(6):
        tab.write_gradients(log, "l0", step, [-3.0, -2.0])
    log.flush()
    (killed,) = (tmp_path / "run").iterdir()
    killed.write_bytes(killed.read_bytes()[:-30])  # in the midst of a record
    with SummaryWriter(str(tmp_path / "run"), filename_suffix=".resumed") as resumed:
        for step in range(3, 8):
            tab.write_gradients(resumed, "l0", step, [-1.0, -1.0])
    steps, rows = series(serve(tmp_path), "run", "rnn_diag/l0/grad")
    assert steps == list(range(8))
    assert [float(row.ravel()[0]) for row in rows] == [-3.0] * 3 + [-1.0] * 5


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


def test_the_index_of_many_runs_names_them_and_tells_what_those_hold_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in ("a", "b", "c"):
        with SummaryWriter(str(tmp_path / run)) as log:
            tab.write_cost(log, 0, 1.0, 0.1)
            tab.write_horizon(log, "l0", 7, [1.0, 1.0, 1.0])
    with SummaryWriter(str(tmp_path / "of another kind")) as log:
        log.add_scalar("loss", 1.0, 0)
    monkeypatch.setattr(plugin, "MOST_DESCRIBED", 3)
    client = serve(tmp_path)
    assert get(client, "index").json["runs"] == {"a": None, "b": None, "c": None}
    asked = get(client, "index", run="b").json["runs"]
    assert list(asked) == ["b"] and asked["b"]["rnn_diag/l0/horizon"]["last_step"] == 7
    monkeypatch.setattr(plugin, "MOST_DESCRIBED", 4)
    assert get(client, "index").json["runs"]["b"] == asked["b"]
