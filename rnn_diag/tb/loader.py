"""The entry point: what TensorBoard imports at every start, so it imports nothing else."""

from __future__ import annotations

from typing import Any

from tensorboard.plugins import base_plugin

STEPS_KEPT = 1000


class Loader(base_plugin.TBLoader):  # type: ignore[misc]
    """Keeps enough steps of our series, and makes the tab."""

    def fix_flags(self, flags: Any) -> None:
        """Keep 1000 steps of a series, not the 10 or 100 that TensorBoard keeps of a plugin it does not know.

        A number given as `--samples_per_plugin=rnn_diag=...` stays.
        """
        flags.samples_per_plugin.setdefault("rnn_diag", STEPS_KEPT)

    def load(self, context: Any) -> Any:
        """Return the plugin; an error in it leaves TensorBoard without the tab, and alive."""
        from rnn_diag.tb.plugin import Plugin

        return Plugin(context)
