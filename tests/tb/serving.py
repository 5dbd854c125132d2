"""The tab's server in this process, without a socket, on the runs of a folder."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
from tensorboard.backend import application
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins import base_plugin
from torch.utils.tensorboard import SummaryWriter
from werkzeug.test import Client, TestResponse

from rnn_diag.tb.loader import Loader

ROUTE = "/data/plugin/rnn_diag/"
TYPES = {"f2": "<f2", "f4": "<f4", "u1": "u1"}


def serve(logdir: Path) -> Client:
    """Return a client of TensorBoard with our plugin alone, after it has read the folder."""
    multiplexer = EventMultiplexer(tensor_size_guidance={"rnn_diag": 1000}).AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(logdir))
    flags = SimpleNamespace(samples_per_plugin={}, path_prefix="")
    plugin = Loader().load(base_plugin.TBContext(data_provider=provider, flags=flags, logdir=str(logdir)))
    return Client(application.TensorBoardWSGI([plugin], data_provider=provider))


def get(client: Client, route: str, **arguments: str) -> TestResponse:
    query = "&".join(f"{name}={quote(value)}" for name, value in arguments.items())
    return client.get(f"{ROUTE}{route}?{query}")


def series(client: Client, run: str, tag: str) -> tuple[list[int], list[np.ndarray[Any, Any]]]:
    """Return the steps of a tag and its rows, as the page decodes them."""
    answer = get(client, "series", run=run, tag=tag)
    assert answer.status_code == 200, answer.text
    return decode(answer.data)


def decode(body: bytes) -> tuple[list[int], list[np.ndarray[Any, Any]]]:
    (length,) = struct.unpack_from("<I", body)
    header = json.loads(body[4 : 4 + length])
    rows = np.frombuffer(body, TYPES[header["dtype"]], offset=4 + length)
    sizes = [int(np.prod(shape)) for shape in header["shapes"]]
    parts = np.split(rows, np.cumsum(sizes)[:-1]) if sizes else []
    return header["steps"], [part.reshape(shape) for part, shape in zip(parts, header["shapes"], strict=True)]


def written(folder: Path, write: Callable[[Any], None]) -> Client:
    """Return a client of the tab on a run that `write(log)` wrote."""
    with SummaryWriter(str(folder / "run")) as log:
        write(log)
    return serve(folder)
