"""One batch through a network, forward and backward, and what the doctor says; the network stays as it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rnn_diag.capture import Recording
from rnn_diag.doctor.judge import judge
from rnn_diag.doctor.parameters import frozen_layers, parameters_of_layers
from rnn_diag.doctor.report import Report
from rnn_diag.doctor.run_facts import Clipping, RunFacts
from rnn_diag.doctor.untouched import gradients_of, left_untouched
from rnn_diag.measurements.layer import LayerMeasurements

Loss = Callable[[Any, Any], Tensor]
"""From the module and a batch to a scalar."""


def examine(
    module: nn.Module,
    batch: Any,
    loss: Loss,
    sequences: int | None = 8,
    gradient_clip_val: float | None = None,
) -> Report:
    """Run a batch forward and backward in training mode, and say what is found at every recurrent layer.

    Layers that cannot be followed are findings, too, with the reason. Before the first step of training this is a
    pre-flight check: how far the network reaches against how long its sequences are, and how every layer and direction
    starts. The module comes out as it went in: weights, `grad`, buffers, modes, attributes and random generators are
    untouched. Of one batch some things cannot be known: that a layer gets no gradient is then advice (networks may take
    turns), that gradients are clipped is information, and of carried states only those within the batch are seen.

    Args:
        module: Any module that holds recurrent ones.
        batch: What the loss is given.
        loss: Called once, with the module and the batch; returns a scalar on the graph.
        sequences: How many sequences of the batch are looked at; None for all.
        gradient_clip_val: To what norm training will clip gradients, if it does.

    Raises:
        TypeError: If the module is none, or the loss is no function or returns no tensor.
        ValueError: If the loss is no scalar or not on the graph, the module holds no recurrent layer or no values, or
            the batch is empty.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.LSTM(3, 16)
        >>> report = examine(model, torch.randn(100, 4, 3), lambda model, batch: model(batch)[0][-1].sum())
        >>> [finding.id for finding in report.findings]
        ['vanishing', 'forget_bias_low']
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module={type(module).__name__}; expected a torch.nn.Module")
    if not callable(loss):
        raise TypeError(f"loss={loss!r}; expected a function of the module and the batch that returns a scalar")
    if any(one.is_meta for one in module.parameters()):
        raise ValueError(f"{type(module).__name__} has parameters on the meta device; expected ones with values")
    with left_untouched(module), torch.enable_grad():
        module.train()
        start = time.perf_counter()
        recording = Recording(module, sequences)
        if not (recording.coverage or recording.may_see_anything):
            raise ValueError(recording.nothing_found)
        with recording if recording.may_see_anything else nullcontext():
            value = loss(module, batch)
            norm = _differentiated(module, value)
        if not recording.coverage:
            raise ValueError(recording.nothing_found)
        ran = time.perf_counter()
        traces = [trace for name in recording.names for trace in recording.calls(name)]
        if traces and not any(bool(trace.mask.any()) for trace in traces):
            raise ValueError("the batch has no sequences, or none with a step; expected at least one step to look at")
        facts = RunFacts(
            clipping=_clipped(norm, gradient_clip_val),
            without_gradient=dict.fromkeys((one.layer for one in recording.coverage), 1),
            frozen=frozen_layers(parameters_of_layers(module)),
        )
        report = judge(measurements_of(recording), recording.coverage, facts)
    seconds = {"step": ran - start, "measuring": time.perf_counter() - ran}
    return replace(report, loss=float(value.detach()), seconds=seconds)


def measurements_of(recording: Recording) -> dict[str, LayerMeasurements]:
    """Return what a stopped recording tells of every layer that ran.

    Example:
        >>> from rnn_diag import record
        >>> model = nn.GRU(2, 4)
        >>> with record(model) as recording:
        ...     model(torch.randn(9, 3, 2))[0].sum().backward()
        >>> measurements_of(recording)["l0"].call.inputs.longest
        9
    """
    measured = {}
    for name in recording.names:
        parts = [LayerMeasurements.of(trace) for trace in recording.calls(name) if bool(trace.mask.any())]
        if parts:
            measured[name] = sum(parts[1:], start=parts[0])
    return measured


def _clipped(norm: float, limit: float | None) -> Clipping | None:
    return None if limit is None else Clipping.of([min(1.0, limit / norm) if norm > 0 else 1.0], limit)


def _differentiated(module: nn.Module, value: object) -> float:
    """Run backward without touching `grad`; return the norm of the whole gradient."""
    if not isinstance(value, Tensor):
        raise TypeError(f"loss returned {type(value).__name__}; expected a scalar tensor")
    if value.numel() != 1:
        raise ValueError(f"loss returned shape {tuple(value.shape)}; expected a scalar")
    if not value.requires_grad:
        raise ValueError("the loss is not on the graph; expected one that depends on a parameter that requires grad")
    own = [one for one in module.parameters() if one.requires_grad]
    held = [one for layer in parameters_of_layers(module).values() for one in layer if one.requires_grad]
    grads = gradients_of(value.sum(), list(dict.fromkeys((*own, *held))))
    norms = [torch.linalg.vector_norm(grad.detach().float()) for grad in grads[: len(own)] if grad is not None]
    return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
