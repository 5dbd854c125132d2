"""Recording what a model's recurrent layers go through while somebody else trains it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from rnn_diag.arguments import one_of, whole
from rnn_diag.capture.coverage import coverage_of
from rnn_diag.capture.modules import find_recurrent, matching, type_name
from rnn_diag.capture.notes import Notes
from rnn_diag.capture.reading import Reading
from rnn_diag.coverage import Coverage, Status
from rnn_diag.engine.replay import ENGINES
from rnn_diag.trace import Trace


class Recording(Mapping[str, Trace]):
    """What the recurrent layers of a model went through between `start()` and `stop()`: a trace for every layer's name.

    Args:
        model: Any module that holds `torch.nn.RNN`, `LSTM`, `GRU`, their cells called in a loop, or this package's.
        sequences: How many sequences of a batch are followed, spread evenly over it; None for all.
        layers: Glob pattern, or several, of the layers' names.
        engine: How gradients are swept back: `explicit` loops over the equations, `replay` runs torch's fused kernel
            again with a probe, `auto` chooses by device.
        exact_dropout: Where a kernel draws the masks between its layers itself (CUDA), run recorded calls layer by
            layer with known masks. It is the only option that changes training: recorded calls draw other masks, from
            the device's ordinary generator.

    Raises:
        ValueError: If a pattern matches no layer, or `sequences` is not positive.
        TypeError: If `model` is no module, `sequences` no whole number, or `layers` neither a pattern nor several.

    Example:
        >>> import torch
        >>> model = nn.LSTM(3, 5)
        >>> with record(model) as recording:
        ...     output, _ = model(torch.zeros(7, 2, 3))
        ...     output[-1].sum().backward()
        >>> recording["l0"].hidden_grad.shape
        torch.Size([7, 2, 5])
    """

    def __init__(
        self,
        model: nn.Module,
        sequences: int | None = None,
        layers: str | list[str] | tuple[str, ...] = "*",
        engine: str = "auto",
        exact_dropout: bool = False,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model={type(model).__name__}; expected a torch.nn.Module that holds recurrent layers")
        self.sequences = sequences if sequences is None else whole("sequences", sequences, 1, "None for all")
        one_of("engine", engine, ENGINES)
        found, self._unfollowed = find_recurrent(model)
        self._model_type = type_name(model)
        self.engine = engine
        self.exact_dropout = exact_dropout
        self.names = matching([name for recurrent in found for name in recurrent.names], layers)
        self._found = {r.path: r for r in found if any(name in self.names for name in r.names)}
        self._modules = {name: recurrent for recurrent in self._found.values() for name in recurrent.names}
        self._notes = Notes(self._found, sequences, exact_dropout)
        self._reading = Reading(self._found, self._notes, engine)

    def start(self) -> Recording:
        """Begin; what an earlier recording with this object held is forgotten.

        Raises:
            ValueError: If the model has nothing that can be followed.
        """
        if not self._found:
            raise ValueError(self._nothing_found())
        self._notes.start()
        self._reading.forget()
        return self

    def stop(self) -> Recording:
        """End: no hook, no graph and no tensor of the model's is held any longer."""
        self._notes.stop()
        self._reading.forget()
        return self

    def __enter__(self) -> Recording:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def calls(self, name: str) -> list[Trace]:
        """Return one trace for every call of a layer; calls that go on where the last one ended are one trace.

        Raises:
            KeyError: If there is no such layer.
        """
        if name not in self._modules:
            raise KeyError(f"no recurrent layer is called {name!r}; found: {', '.join(self.names) or 'none'}")
        return self._reading.traces(name)

    def __getitem__(self, name: str) -> Trace:
        """Return the trace of a layer that was called once.

        Raises:
            KeyError: If there is no such layer, or it never ran.
            RuntimeError: If it was called several times.
        """
        traces = self.calls(name)
        if len(traces) > 1:
            raise RuntimeError(
                f"{name!r} was called {len(traces)} times while recording, each call with a state of its own; "
                f"use recording.calls({name!r})"
            )
        if not traces:
            raise KeyError(f"{name!r} has no trace: {self._coverage_of(name).reason}")
        return traces[0]

    def has_equations(self, name: str) -> bool:
        """Return whether a layer's recurrence is known; if not, only its hidden states and their gradients are."""
        return self._modules[name].equations is not None

    def in_order(self) -> list[Trace]:
        """Return the traces of all layers, those first whose modules were called first."""
        return sorted((trace for name in self.names for trace in self.calls(name)), key=lambda trace: trace.started)

    def __iter__(self) -> Iterator[str]:
        return iter([name for name in self.names if self.calls(name)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in list(iter(self))

    @property
    def coverage(self) -> list[Coverage]:
        """How every recurrent module of the model was captured, or why not."""
        rows = [self._coverage_of(name) for name in self.names]
        return rows + [Coverage(u.path, u.module_type, Status.NOT_FOLLOWED, u.reason, u.hint) for u in self._unfollowed]

    def _coverage_of(self, name: str) -> Coverage:
        return coverage_of(name, self._modules[name], self._notes, self.calls(name), self.engine)

    def _nothing_found(self) -> str:
        said = [f"{one.path or 'the model'} ({one.module_type}): {one.reason}" for one in self._unfollowed]
        return (
            f"{self._model_type} has no recurrent module that can be followed"
            f"{': ' + '; '.join(said) if said else ', neither one of torch.nn or rnn_diag nor a registered one'}"
        )


def record(
    model: nn.Module,
    sequences: int | None = None,
    layers: str | list[str] | tuple[str, ...] = "*",
    engine: str = "auto",
    exact_dropout: bool = False,
) -> Recording:
    """Record what a model's recurrent layers go through inside a `with` block; see `Recording`."""
    return Recording(model, sequences, layers, engine, exact_dropout)
