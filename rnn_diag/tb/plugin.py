"""The tab's server side: static files, an index of runs and series, and series as binary rows or as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from tensorboard import errors, plugin_util
from tensorboard.backend import http_util
from tensorboard.data import provider
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from rnn_diag.tb import export, schema
from rnn_diag.tb.kinds.verdict import findings_in
from rnn_diag.tb.reading import described
from rnn_diag.tb.rows import pack
from rnn_diag.tb.source import Source

# Windows may take .js for text/plain, and a browser then runs none of it.
CONTENT_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".txt": "text/plain",
    ".json": "application/json",
}
MOST_DESCRIBED = 100
"""Runs in an index that says what each holds; of more, it has the names, and the page asks for those that it shows."""
App = Callable[..., Iterable[bytes]]


class Plugin(base_plugin.TBPlugin):  # type: ignore[misc]
    """Serves the tab from TensorBoard's data provider, which is the only source under the fast loader."""

    plugin_name = schema.PLUGIN_NAME

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._data = context.data_provider
        self._log_folder = PurePath(context.logdir or "").name
        folder = files("rnn_diag.tb") / "static"
        self._static = {
            file.name: (file.read_bytes(), CONTENT_TYPES[suffix])
            for file in folder.iterdir()
            if (suffix := "." + file.name.rsplit(".", 1)[-1]) in CONTENT_TYPES
        }

    def is_active(self) -> bool:
        """Leave the answer to TensorBoard, which shows the tab once the log holds one of our series."""
        return False

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """Return the tab's name and its first module."""
        return base_plugin.FrontendMetadata(es_module_path="/static/index.js", tab_name="RNN Diagnostics")

    def get_plugin_apps(self) -> dict[str, App]:
        """Return the routes beneath `/data/plugin/rnn_diag`."""
        return {
            "/static/*": wrappers.Request.application(self._serve_static),
            "/index": wrappers.Request.application(self._serve_index),
            "/series": wrappers.Request.application(self._serve_series),
            "/export": wrappers.Request.application(self._serve_export),
            "/verdict": wrappers.Request.application(self._serve_verdict),
        }

    def _serve_static(self, request: wrappers.Request) -> wrappers.Response:
        name = request.path.rsplit("/static/", 1)[-1]
        if name not in self._static:
            raise errors.NotFoundError(f"no static file {name!r}")
        content, content_type = self._static[name]
        return _respond(request, content, content_type)

    def _serve_index(self, request: wrappers.Request) -> wrappers.Response:
        source, asked = self._source(request), request.args.getlist("run")
        names = source.runs(MOST_DESCRIBED) if not asked else []
        listed = {} if names else source.listing(provider.RunTagFilter(runs=asked) if asked else None)
        runs: dict[str, Any] = dict.fromkeys(names)
        for run, tags in listed.items():
            runs[run] = {tag: _entry(series.plugin_content, series.max_step) for tag, series in tags.items()}
        return _respond_json(request, {"version": schema.VERSION, "folder": self._log_folder, "runs": runs})

    def _serve_series(self, request: wrappers.Request) -> wrappers.Response:
        _, found = self._source(request).series(_argument(request, "run"), _argument(request, "tag"))
        return _respond(request, pack(found.events, found.unreadable), "application/octet-stream")

    def _serve_export(self, request: wrappers.Request) -> wrappers.Response:
        runs, tags = request.args.getlist("run"), request.args.getlist("tag")
        format_ = request.args.get("format", "csv")
        if not runs or len(runs) != len(tags) or format_ not in export.FORMATS:
            asked = f"{len(runs)} runs, {len(tags)} tags, format {format_!r}"
            raise errors.InvalidArgumentError(
                f"{asked}; expected one run for each tag and {' or '.join(export.FORMATS)}"
            )
        source = self._source(request)
        read = [(run, *source.series(run, tag)) for run, tag in zip(runs, tags, strict=True)]
        try:
            content = export.as_file(
                [export.Series(run, content, found.events) for run, content, found in read], format_
            )
        except ValueError as error:
            raise errors.InvalidArgumentError(f"cannot be exported: {error}") from error
        response = _respond(request, content, export.FORMATS[format_])
        name = "_".join(dict.fromkeys(word for tag in tags for word in tag.split("/")))
        response.headers["Content-Disposition"] = f'attachment; filename="{_plain(name)}.{format_}"'
        return response

    def _serve_verdict(self, request: wrappers.Request) -> wrappers.Response:
        _, found = self._source(request).series(_argument(request, "run"), schema.tag_of("verdict"))
        read = [(event.step, findings_in(event.values)) for event in found.events]
        verdicts = [{"step": step, "findings": findings} for step, findings in read if findings is not None]
        return _respond_json(request, verdicts)

    def _source(self, request: wrappers.Request) -> Source:
        environ = request.environ
        return Source(self._data, plugin_util.context(environ), plugin_util.experiment_id(environ))


def _entry(plugin_content: bytes, last_step: int) -> dict[str, Any]:
    """Return a line of the index; of a series that cannot be read, with the reason."""
    description = described(plugin_content)
    entry = {"last_step": last_step, "content": description.content}
    return entry | ({"why": description.why} if description.why else {})


def _argument(request: wrappers.Request, name: str) -> str:
    value = request.args.get(name)
    if value is None:
        raise errors.InvalidArgumentError(f"no {name!r} in the request; expected run and tag")
    return str(value)


def _plain(name: str) -> str:
    """Return a name that every file system takes, and that cannot end a header."""
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in name)[
        :100
    ]


def _respond(request: wrappers.Request, content: bytes, content_type: str) -> wrappers.Response:
    response: wrappers.Response = http_util.Respond(request, content, content_type)
    return response


def _respond_json(request: wrappers.Request, value: Any) -> wrappers.Response:
    return _respond(request, json.dumps(value, allow_nan=False).encode(), "application/json")
