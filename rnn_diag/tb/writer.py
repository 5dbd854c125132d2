"""One number, map or text of the tab into an event file, through the writer of the logger.

`rnn_diag.tb.kinds` has one function per kind of series; all of them write by `write`. `writer` is what
`TensorBoardLogger.experiment` gives: torch's `SummaryWriter`, or tensorboardX's. No second one is opened, because
TensorBoard stops reading a folder's first event file once a second one appears. `step` is the trainer's global step,
`layer` a name such as `encoder.l0`; numbers may be lists, numpy arrays or tensors on any device. Write what belongs
together at the same steps: TensorBoard keeps a sample of the steps, the same for tags with the same steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnn_diag.tb import schema


def write(
    writer: Any,
    kind: str,
    layer: str,
    step: int,
    values: np.ndarray[Any, Any] | bytes,
    *,
    part: str = "",
    **facts: Any,
) -> None:
    """Add one event; on ranks other than zero, where the logger's writer is a dummy, do nothing.

    Args:
        writer: The logger's writer.
        kind: The series' kind, as `rnn_diag.tb.kinds.KINDS` names it.
        layer: Name of the recurrent layer; empty for the whole run.
        step: Training step.
        values: In the type and shape of the kind.
        part: What tells several series of this kind and layer apart, such as the matrix.
        **facts: What the kind's description says.
    """
    content = schema.content_of(kind, layer, **facts)
    add_summary(writer, lambda: _summary(schema.tag_of(kind, layer, part), content, values), step)


def add_summary(writer: Any, summary: Callable[[], Any], step: int) -> None:
    """Add an event of TensorBoard's own form; on ranks other than zero, where the writer is a dummy, do nothing."""
    file_writer = writer._get_file_writer()
    if file_writer is None:
        return
    event = summary()
    if type(file_writer).__module__.startswith("tensorboardX"):
        from tensorboardX.proto.summary_pb2 import Summary

        event = Summary.FromString(event.SerializeToString())
    file_writer.add_summary(event, int(step))


def __getattr__(name: str) -> Any:
    """Return a function of `rnn_diag.tb.kinds`: all of them can be imported from here as well."""
    from rnn_diag.tb import kinds

    if name in kinds.__all__:
        return getattr(kinds, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _summary(tag: str, content: bytes, values: np.ndarray[Any, Any] | bytes) -> Any:
    from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_HALF, DT_STRING, DT_UINT8

    if isinstance(values, bytes):
        tensor = TensorProto(dtype=DT_STRING, string_val=[values])
    else:
        types = {"e": DT_HALF, "f": DT_FLOAT, "B": DT_UINT8}  # by numpy's letters for them
        tensor = TensorProto(dtype=types[values.dtype.char], tensor_content=values.tobytes())
        for size in values.shape:
            tensor.tensor_shape.dim.add(size=size)
    metadata = SummaryMetadata(data_class=DATA_CLASS_TENSOR)  # Without it TensorBoard keeps none of the steps.
    metadata.plugin_data.plugin_name = schema.PLUGIN_NAME
    metadata.plugin_data.content = content
    return Summary(value=[Summary.Value(tag=tag, tensor=tensor, metadata=metadata)])
