"""Every task, small: its class, and the arguments that make it so."""

from __future__ import annotations

from typing import Any

from rnn_diag import tasks

FEW = {"train_size": 50, "held_out_size": 10}

SMALL: dict[str, tuple[type[tasks.SequenceTask], dict[str, Any]]] = {
    "source_text": (tasks.SourceText, {"max_characters": 50_000, "sequence_length": 16}),
    "braces": (tasks.Braces, {"max_characters": 50_000, "sequence_length": 32}),
    "digits": (tasks.Digits, {}),
    "smnist": (tasks.SequentialMNIST, {"by": "row"}),
    "adding": (tasks.Adding, {"sequence_length": 12, "min_length": 6, **FEW}),
    "copy_memory": (tasks.CopyMemory, {"delay": 5, "symbols": 3, **FEW}),
    "selective_copying": (tasks.SelectiveCopying, {"context": 8, "symbols": 3, **FEW}),
    "temporal_order": (tasks.TemporalOrder, {"sequence_length": 20, "min_length": 10, **FEW}),
    "timing": (tasks.Timing, {"interval": 4, "sequence_length": 16, **FEW}),
}
"""By the word on the command line; all with batches of `BATCH_SIZE`."""

BATCH_SIZE = 4
NEED_FILES = ("smnist",)


def small_task(name: str, **options: Any) -> Any:
    """Return a small task."""
    made, arguments = SMALL[name]
    return made(**{"batch_size": BATCH_SIZE, **arguments, **options})


def small_overrides(name: str) -> list[str]:
    """Return the words of the command line that make a task small."""
    arguments = {"batch_size": BATCH_SIZE, **SMALL[name][1]}
    return [f"task={name}", *(f"task.{argument}={value}" for argument, value in arguments.items())]
