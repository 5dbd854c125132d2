"""The tab's server side: static files, an index of runs and series, and series as binary rows or as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from importlib.resources import files
from typing import Any

from tensorboard import errors, plugin_util
from tensorboard.backend import http_util
from tensorboard.data import provider
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from rnn_diag.tb import export, schema
from rnn_diag.tb.rows import Event, one_per_step, pack

# Windows may take .js for text/plain, and a browser then runs none of it.
CONTENT_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".txt": "text/plain",
    ".json": "application/json",
}
EVERYTHING = 10**9
"""How many steps to ask of the data provider: of those that TensorBoard kept, all."""

App = Callable[..., Iterable[bytes]]


class Plugin(base_plugin.TBPlugin):  # type: ignore[misc]
    """Serves the tab from TensorBoard's data provider, the only source there is under the fast loader."""

    plugin_name = schema.PLUGIN_NAME

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._data = context.data_provider
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
        listing = self._listing(request)
        runs = {
            run: {
                tag: {"last_step": series.max_step, "content": _content(series.plugin_content)}
                for tag, series in tags.items()
            }
            for run, tags in listing.items()
        }
        return _respond_json(request, {"version": schema.VERSION, "runs": runs})

    def _serve_series(self, request: wrappers.Request) -> wrappers.Response:
        events = self._events(request, _argument(request, "run"), _argument(request, "tag"))
        return _respond(request, pack(events), "application/octet-stream")

    def _serve_export(self, request: wrappers.Request) -> wrappers.Response:
        runs, tags = request.args.getlist("run"), request.args.getlist("tag")
        format_ = request.args.get("format", "csv")
        if not runs or len(runs) != len(tags) or format_ not in export.FORMATS:
            asked = f"{len(runs)} runs, {len(tags)} tags, format {format_!r}"
            raise errors.InvalidArgumentError(
                f"{asked}; expected one run for each tag and {' or '.join(export.FORMATS)}"
            )
        contents = self._contents(request)
        series = [
            export.Series(run, tag, _content(contents.get(run, {}).get(tag, b"")), self._events(request, run, tag))
            for run, tag in zip(runs, tags, strict=True)
        ]
        try:
            content = export.as_file(series, format_)
        except (KeyError, IndexError, ValueError) as error:
            raise errors.InvalidArgumentError(f"cannot be exported: {error}") from error
        response = _respond(request, content, export.FORMATS[format_])
        name = "_".join(dict.fromkeys(word for tag in tags for word in tag.split("/")))
        response.headers["Content-Disposition"] = f'attachment; filename="{_plain(name)}.{format_}"'
        return response

    def _serve_verdict(self, request: wrappers.Request) -> wrappers.Response:
        events = self._events(request, _argument(request, "run"), schema.tag_of("verdict"))
        verdicts = [{"step": event.step, "findings": _findings(event.values.item())} for event in events]
        return _respond_json(request, verdicts)

    def _listing(self, request: wrappers.Request) -> Any:
        return self._data.list_tensors(
            plugin_util.context(request.environ),
            experiment_id=plugin_util.experiment_id(request.environ),
            plugin_name=schema.PLUGIN_NAME,
        )

    def _contents(self, request: wrappers.Request) -> dict[str, dict[str, bytes]]:
        listing = self._listing(request).items()
        return {run: {tag: series.plugin_content for tag, series in tags.items()} for run, tags in listing}

    def _events(self, request: wrappers.Request, run: str, tag: str) -> list[Event]:
        found = self._data.read_tensors(
            plugin_util.context(request.environ),
            experiment_id=plugin_util.experiment_id(request.environ),
            plugin_name=schema.PLUGIN_NAME,
            downsample=EVERYTHING,
            run_tag_filter=provider.RunTagFilter(runs=[run], tags=[tag]),
        )
        series = found.get(run, {}).get(tag)
        if series is None:
            raise errors.NotFoundError(f"no series {tag!r} in the run {run!r}")
        return one_per_step(Event(datum.step, datum.wall_time, datum.numpy) for datum in series)


def _argument(request: wrappers.Request, name: str) -> str:
    value = request.args.get(name)
    if value is None:
        raise errors.InvalidArgumentError(f"no {name!r} in the request; expected run and tag")
    return str(value)


def _content(content: bytes) -> dict[str, Any]:
    """Return the content as the page needs it: an object, or one that says that this is none."""
    try:
        decoded = json.loads(content)
    except ValueError:
        decoded = None
    return decoded if isinstance(decoded, dict) else {"v": None}


def _plain(name: str) -> str:
    """Return a name that every file system takes, and that cannot end a header."""
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in name)[
        :100
    ]


def _findings(text: Any) -> list[Any]:
    try:
        decoded = json.loads(text)
    except (TypeError, ValueError):
        decoded = None
    return decoded if isinstance(decoded, list) else []


def _respond(request: wrappers.Request, content: bytes, content_type: str) -> wrappers.Response:
    response: wrappers.Response = http_util.Respond(request, content, content_type)
    return response


def _respond_json(request: wrappers.Request, value: Any) -> wrappers.Response:
    return _respond(request, json.dumps(value, allow_nan=False).encode(), "application/json")
