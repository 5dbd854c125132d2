"""Activation checkpointing runs a module again inside the backward pass: which earlier call that is."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rnn_diag.capture.noted import NotedCall


def in_backward() -> bool:
    """Whether autograd is running: a call made then is a checkpoint's second pass."""
    return bool(torch._C._current_graph_task_id() != -1)


def place_of_first_pass(again: NotedCall, calls: Sequence[NotedCall]) -> int | None:
    """Return the place of the call that is run again, or None where the first pass is the one that gradients reach.

    A reentrant checkpoint builds no graph in its first pass, and gradients reach the second one; the other kind
    builds one, and only fills in what it did not keep.
    """
    waiting = [place for place, call in enumerate(calls) if not call.had_grad]
    if any(call.had_grad and not call.is_second_pass and _same(call, again) for call in calls if waiting):
        return None
    exactly = next((place for place in reversed(waiting) if _same(calls[place], again)), None)  # backwards, as autograd
    if exactly is not None:
        return exactly
    # Dropout may have drawn something else the second time.
    alike = [place for place in waiting if calls[place].inputs.shape == again.inputs.shape]
    return alike[-1] if alike else None


def _same(first: NotedCall, second: NotedCall) -> bool:
    pairs = zip((first.inputs, *first.initial), (second.inputs, *second.initial), strict=True)
    return all(one.shape == other.shape and torch.equal(one, other) for one, other in pairs)
