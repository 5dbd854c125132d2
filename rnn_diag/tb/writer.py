"""Numbers into the tab "RNN Diagnostics": one function per kind of series, through a writer that somebody else opened.

`writer` is what `TensorBoardLogger.experiment` gives: torch's `SummaryWriter`, or tensorboardX's. None is opened here,
because TensorBoard stops reading a folder's first event file once a second one appears. `step` is the trainer's global
step, `layer` a name such as `encoder.l0`; numbers may be lists, numpy arrays or tensors on any device. Write what
belongs together at the same steps: TensorBoard keeps a sample of the steps, the same for tags with the same steps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnn_diag.tb import schema

SEVERITIES = ("ok", "info", "warning", "critical")
MOST_UNITS = 512
MOST_EIGENVALUES = 128
MOST_SINGULAR_VALUES = 64
MOST_EXPONENTS = 64


def write_gradients(
    writer: Any, layer: str, step: int, log10_norms: Any, *, cell: str = "", bins: int = schema.TIME_BINS
) -> None:
    r"""Write the profile of :math:`\log_{10} \lVert \partial L / \partial h_t \rVert` over the timesteps.

    Sequences longer than `bins` are written as the largest value of each of `bins` equal spans. The length may differ
    from step to step. Zero is minus infinity, an overflow plus infinity.

    Args:
        writer: The logger's writer.
        layer: Name of the recurrent layer.
        step: Training step.
        log10_norms: `[3, time]`, the median, 10th and 90th percentile over the sequences; or `[time]`, the median.
        cell: What the recurrence is, such as `"lstm"`; shown on the layer's card.
        bins: Most bins over time.

    Raises:
        ValueError: If the numbers have another shape.
    """
    _write_profile(writer, "grad", layer, step, log10_norms, bins, cell=cell)


def write_influence(writer: Any, layer: str, step: int, log10_norms: Any, *, bins: int = schema.TIME_BINS) -> None:
    """Write how strongly the loss at a step depends on the hidden state `lag` steps before, as log10, lag 0 first.

    Args:
        writer: The logger's writer.
        layer: Name of the recurrent layer.
        step: Training step.
        log10_norms: `[3, lags]`, the median, 10th and 90th percentile; or `[lags]`, the median.
        bins: Most bins over the lags.

    Raises:
        ValueError: If the numbers have another shape.
    """
    _write_profile(writer, "influence", layer, step, log10_norms, bins)


def write_gates(
    writer: Any,
    layer: str,
    step: int,
    gates: Mapping[str, Any],
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    bins: int = schema.TIME_BINS,
) -> None:
    """Write every gate over the timesteps: its mean activation and the shares of units that are shut and open.

    Args:
        writer: The logger's writer.
        layer: Name of the recurrent layer.
        step: Training step.
        gates: For every gate `[3, time]`: mean activation, share shut, share open; or `[2, time]`, the shares alone.
        ranges: The lowest and highest activation of a gate, `(0, 1)` where not said; `(-1, 1)` for a tanh.
        bins: Most bins over time.

    Raises:
        ValueError: If the numbers have another shape.
    """
    ranges = {gate: (ranges or {}).get(gate, (0.0, 1.0)) for gate in gates}
    stacked = np.stack([_gate_rows(gate, gates[gate]) for gate in gates])
    starts = schema.bin_starts(stacked.shape[-1], bins)
    means = schema.mean_in_bins(_within_range(stacked, ranges), starts)
    widths = np.broadcast_to(schema.bin_widths(stacked.shape[-1], starts), (len(gates), 1, len(starts)))
    bytes_ = np.concatenate([_to_bytes(means), widths.astype(np.uint8)], axis=1)
    _write(writer, "gates", layer, step, bytes_, labels=list(gates), ranges=list(ranges.values()))


def write_gate_units(
    writer: Any,
    layer: str,
    step: int,
    gates: Mapping[str, Any],
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """Write every gate of every unit: its mean activation and the shares of time it is shut and open.

    Of layers with more than 512 units, evenly spaced ones are written, and the tab says so.

    Args:
        writer: The logger's writer.
        layer: Name of the recurrent layer.
        step: Training step.
        gates: For every gate `[3, units]`: mean activation, share shut, share open; or `[2, units]`, the shares alone.
        ranges: The lowest and highest activation of a gate, `(0, 1)` where not said; `(-1, 1)` for a tanh.

    Raises:
        ValueError: If the numbers have another shape.
    """
    ranges = {gate: (ranges or {}).get(gate, (0.0, 1.0)) for gate in gates}
    stacked = np.stack([_gate_rows(gate, gates[gate]) for gate in gates])
    units = stacked.shape[-1]
    every = -(-units // MOST_UNITS)
    bytes_ = _to_bytes(_within_range(stacked, ranges)[..., ::every])
    facts = {"labels": list(gates), "ranges": list(ranges.values()), "units": units, "every": every}
    _write(writer, "gate_units", layer, step, bytes_, **facts)


def write_eigenvalues(writer: Any, layer: str, step: int, eigenvalues: Any, *, matrix: str = "W_hh") -> None:
    """Write the eigenvalues of a recurrent matrix, complex or `[n, 2]`; the 128 of largest modulus are kept.

    `matrix` says of what: `W_hh` where there is one block, else the gate whose block it is, or `jacobian`.
    """
    values = _array(eigenvalues)
    if not np.iscomplexobj(values):
        values = _numbers(values, "eigenvalues", columns=2)
        values = values[:, 0] + 1j * values[:, 1]
    values = _largest_first(values.ravel(), MOST_EIGENVALUES)
    pairs = np.stack([values.real, values.imag], axis=-1).astype(np.float32)
    _write(writer, "eig", layer, step, pairs, part=matrix, matrix=matrix)


def write_singular_values(writer: Any, layer: str, step: int, singular_values: Any, *, matrix: str = "W_hh") -> None:
    """Write the singular values of a recurrent matrix; the 64 largest are kept."""
    values = _largest_first(_array(singular_values).astype(np.float32).ravel(), MOST_SINGULAR_VALUES)
    _write(writer, "sv", layer, step, values, part=matrix, matrix=matrix)


def write_lyapunov(writer: Any, layer: str, step: int, exponents: Any) -> None:
    """Write the Lyapunov exponents, per timestep and with the natural logarithm, largest first."""
    values = np.sort(_array(exponents).astype(np.float32).ravel())[::-1]
    _write(writer, "lyapunov", layer, step, values[:MOST_EXPONENTS])


def write_horizon(writer: Any, layer: str, step: int, timesteps: Any) -> None:
    """Write the memory horizon in timesteps: the median alone, or `[3]` with the 10th and 90th percentile."""
    values = _array(timesteps).astype(np.float32).ravel()
    if values.size not in (1, 3):
        raise ValueError(f"the horizon has {values.size} numbers; expected 1 (median) or 3 (median, p10, p90)")
    _write(writer, "horizon", layer, step, np.resize(values, 3))


def write_cost(writer: Any, step: int, milliseconds: float, share: float) -> None:
    """Write what measuring cost: milliseconds for this measurement, and its share of the training time (0 to 1)."""
    _write(writer, "cost", "", step, np.array([milliseconds, share], dtype=np.float32))


def write_verdict(writer: Any, step: int, findings: Sequence[Mapping[str, Any]]) -> None:
    """Write what was found in words; best when it changes and at the end.

    Args:
        writer: The logger's writer.
        step: Training step.
        findings: Of each, `severity` (`ok`, `info`, `warning` or `critical`) and `title`, one sentence; and, where they
            are known, `layer`, `evidence`, `advice`, `id`.

    Raises:
        ValueError: If a finding has no title or another severity.
    """
    for finding in findings:
        if finding.get("severity") not in SEVERITIES or not finding.get("title"):
            raise ValueError(f"finding {dict(finding)!r}; expected a title and a severity: {', '.join(SEVERITIES)}")
    text = json.dumps([dict(finding) for finding in findings], default=str)
    _write(writer, "verdict", "", step, text.encode())


def write_trace_summary(
    writer: Any,
    layer: str,
    step: int,
    *,
    cell: str = "",
    log10_norms: Any = None,
    gates: Mapping[str, Any] | None = None,
    gate_units: Mapping[str, Any] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    eigenvalues: Mapping[str, Any] | None = None,
    singular_values: Mapping[str, Any] | None = None,
    lyapunov: Any = None,
    horizon: Any = None,
) -> None:
    """Write whatever is known about a layer at a step; each as in the function of its name, matrices by name."""
    if log10_norms is not None:
        write_gradients(writer, layer, step, log10_norms, cell=cell)
    if gates:
        write_gates(writer, layer, step, gates, ranges=ranges)
    if gate_units:
        write_gate_units(writer, layer, step, gate_units, ranges=ranges)
    for matrix, values in (eigenvalues or {}).items():
        write_eigenvalues(writer, layer, step, values, matrix=matrix)
    for matrix, values in (singular_values or {}).items():
        write_singular_values(writer, layer, step, values, matrix=matrix)
    if lyapunov is not None:
        write_lyapunov(writer, layer, step, lyapunov)
    if horizon is not None:
        write_horizon(writer, layer, step, horizon)


def _write_profile(writer: Any, kind: str, layer: str, step: int, log10_norms: Any, bins: int, **facts: Any) -> None:
    rows = np.atleast_2d(_array(log10_norms)).astype(np.float64)
    if rows.shape[0] == 1:
        rows = np.concatenate([rows, np.full((2, rows.shape[1]), np.nan)])
    rows = _numbers(rows, "log10 norms", rows=3)
    starts = schema.bin_starts(rows.shape[1], bins)
    widths = schema.bin_widths(rows.shape[1], starts)[None]
    profile = np.concatenate([schema.largest_in_bins(rows, starts), widths]).astype(np.float16)
    _write(writer, kind, layer, step, profile, **facts)


def _gate_rows(gate: str, values: Any) -> np.ndarray[Any, Any]:
    rows = _array(values).astype(np.float64)
    if rows.ndim == 2 and rows.shape[0] == 2:
        rows = np.concatenate([np.full((1, rows.shape[1]), np.nan), rows])
    return _numbers(rows, f"gate {gate!r}", rows=3)


def _array(values: Any) -> np.ndarray[Any, Any]:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
    return np.asarray(values)


def _numbers(values: Any, name: str, *, rows: int | None = None, columns: int | None = None) -> np.ndarray[Any, Any]:
    numbers = _array(values).astype(np.float64)
    expected = f"[{rows or 'n'}, {columns or 'n'}]"
    fits = numbers.ndim == 2 and numbers.size and rows in (None, numbers.shape[0])
    if not fits or columns not in (None, numbers.shape[-1]):
        raise ValueError(f"{name} has the shape {list(numbers.shape)}; expected {expected}, n at least 1")
    return numbers


def _largest_first(values: np.ndarray[Any, Any], most: int) -> np.ndarray[Any, Any]:
    return values[np.argsort(-np.abs(values), kind="stable")][:most]


def _within_range(stacked: np.ndarray[Any, Any], ranges: Mapping[str, tuple[float, float]]) -> np.ndarray[Any, Any]:
    lowest, highest = np.array(list(ranges.values()), dtype=np.float64).T[..., None]
    stacked = stacked.copy()
    stacked[:, 0] = (stacked[:, 0] - lowest) / (highest - lowest)
    return stacked


def _to_bytes(shares: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    scaled = (np.clip(shares, 0.0, 1.0) * schema.WHOLE).round()
    return np.where(np.isnan(scaled), schema.NOT_A_NUMBER, scaled).astype(np.uint8)


def _write(
    writer: Any,
    kind: str,
    layer: str,
    step: int,
    values: np.ndarray[Any, Any] | bytes,
    *,
    part: str = "",
    **facts: Any,
) -> None:
    """Add one event; on ranks other than zero, where the logger's writer is a dummy, do nothing."""
    file_writer = writer._get_file_writer()
    if file_writer is None:
        return
    summary = _summary(schema.tag_of(kind, layer, part), schema.content_of(kind, layer, **facts), values)
    if type(file_writer).__module__.startswith("tensorboardX"):
        from tensorboardX.proto.summary_pb2 import Summary

        summary = Summary.FromString(summary.SerializeToString())
    file_writer.add_summary(summary, int(step))


def _summary(tag: str, content: bytes, values: np.ndarray[Any, Any] | bytes) -> Any:
    from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_HALF, DT_STRING, DT_UINT8

    if isinstance(values, bytes):
        tensor = TensorProto(dtype=DT_STRING, string_val=[values])
    else:
        types = {"float16": DT_HALF, "float32": DT_FLOAT, "uint8": DT_UINT8}
        tensor = TensorProto(dtype=types[values.dtype.name], tensor_content=values.tobytes())
        for size in values.shape:
            tensor.tensor_shape.dim.add(size=size)
    metadata = SummaryMetadata(data_class=DATA_CLASS_TENSOR)  # Without it TensorBoard keeps none of the steps.
    metadata.plugin_data.plugin_name = schema.PLUGIN_NAME
    metadata.plugin_data.content = content
    return Summary(value=[Summary.Value(tag=tag, tensor=tensor, metadata=metadata)])
