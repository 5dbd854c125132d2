"""The series of a log, from TensorBoard's data provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorboard import context, errors
from tensorboard.data import provider

from rnn_diag.tb import schema
from rnn_diag.tb.reading import Checked, checked, described
from rnn_diag.tb.rows import Event

EVERYTHING = 10**9
"""How many steps to ask of the data provider: more than TensorBoard keeps."""


class Source:
    """What a log holds of this package.

    Args:
        data: TensorBoard's data provider.
        request: On whose behalf it is asked.
        experiment: TensorBoard's word for the log.
    """

    def __init__(self, data: provider.DataProvider, request: context.RequestContext, experiment: str = "") -> None:
        self._data = data
        self._asked = {"ctx": request, "experiment_id": experiment, "plugin_name": schema.PLUGIN_NAME}

    def listing(self, only: provider.RunTagFilter | None = None) -> Mapping[str, Mapping[str, Any]]:
        """Return by run and tag what TensorBoard knows of every series."""
        found: Mapping[str, Mapping[str, Any]] = self._data.list_tensors(**self._asked, run_tag_filter=only)
        return found

    def runs(self, more_than: int) -> list[str]:
        """Return the runs that our callbacks wrote, if the log has more runs than this; else none, as with none."""
        listed = self._data.list_runs(self._asked["ctx"], experiment_id=self._asked["experiment_id"])
        if len(listed) <= more_than:
            return []
        of_the_run = provider.RunTagFilter(tags=[schema.tag_of(kind) for kind in ("cost", "verdict")])
        return list(self.listing(of_the_run))

    def series(self, run: str, tag: str) -> tuple[Mapping[str, Any], Checked]:
        """Return the description of a series and what of it can be shown.

        Raises:
            NotFoundError: If there is no such series.
            InvalidArgumentError: If it cannot be read.
        """
        only = provider.RunTagFilter(runs=[run], tags=[tag])
        listed = self.listing(only).get(run, {}).get(tag)
        if listed is None:
            raise errors.NotFoundError(f"no series {tag!r} in the run {run!r}")
        description = described(listed.plugin_content)
        if "kind" not in description.content:
            version = description.content["v"]
            why = description.why or f"it is of format {version}; expected format {schema.VERSION}"
            raise errors.InvalidArgumentError(f"{tag!r} in the run {run!r} cannot be read: {why}")
        try:
            data = self._data.read_tensors(**self._asked, downsample=EVERYTHING, run_tag_filter=only)
            events = [Event(datum.step, datum.wall_time, datum.numpy) for datum in data[run][tag]]
            return description.content, checked(events, description.content)
        except Exception as error:  # A file may say of a tensor whatever it likes, and TensorBoard believes it.
            raise errors.InvalidArgumentError(f"{tag!r} in the run {run!r} cannot be read: {error!r}") from error
