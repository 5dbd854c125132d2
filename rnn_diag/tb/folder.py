"""A log folder, read at once and without a server."""

from __future__ import annotations

from tensorboard import context
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.data import provider

from rnn_diag.tb import schema
from rnn_diag.tb.source import EVERYTHING, Source

KEPT = {schema.PLUGIN_NAME: 0, "scalars": 0, "images": 1, "histograms": 1, "text": 1}
"""How many steps of each kind of series are read; 0 for all."""


class Folder(Source):
    """The runs of a log folder.

    Args:
        folder: With event files in it or below.
    """

    def __init__(self, folder: str) -> None:
        multiplexer = EventMultiplexer(tensor_size_guidance=KEPT).AddRunsFromDirectory(folder)
        multiplexer.Reload()
        super().__init__(MultiplexerDataProvider(multiplexer, folder), context.RequestContext())

    def metrics(self, run: str) -> dict[str, list[tuple[int, float]]]:
        """Return what was logged as a number, by tag: training steps and values."""
        asked = {**self._asked, "plugin_name": "scalars"}
        only = provider.RunTagFilter(runs=[run])
        found = self._data.read_scalars(**asked, downsample=EVERYTHING, run_tag_filter=only).get(run, {})
        return {tag: [(one.step, float(one.value)) for one in data] for tag, data in sorted(found.items())}
