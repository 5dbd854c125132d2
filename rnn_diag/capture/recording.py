"""Recording what a model's recurrent layers go through while it trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import nn

from rnn_diag.arguments import one_of, whole
from rnn_diag.capture.call_log import CallLog
from rnn_diag.capture.coverage import coverage_of
from rnn_diag.capture.discovery import Discovery
from rnn_diag.capture.modules import RecurrentModule, find_layers, type_name
from rnn_diag.capture.reading import TraceReader
from rnn_diag.coverage import Coverage
from rnn_diag.engine.choice import ENGINES
from rnn_diag.terminal.html import table
from rnn_diag.trace import Trace


class Recording(Mapping[str, Trace]):
    """What the recurrent layers of a model went through between `start()` and `stop()`: a trace for every layer's name.

    Args:
        model: Any module that holds `torch.nn.RNN`, `LSTM`, `GRU`, their cells called in a loop, or this package's.
        sequences: How many sequences of a batch are followed: the first and a fixed choice of the others that no period
            of the batch can alias with; None for all.
        layers: Glob pattern, or several, of the layers' names.
        engine: How gradients are swept back: `explicit` loops over the equations, `in_bulk` too, with derivatives of
            many steps at once; `persistent` and `graphed` run kernels written from them on CUDA, `replay` torch's fused
            kernel again; `auto` chooses by device and shape.
        exact_dropout: No longer needed on CUDA, where cuDNN's masks are read. On other accelerators whose kernels draw
            the masks between layers, run recorded calls layer by layer with known masks. It is the only option that
            changes training: recorded calls draw other masks, from the device's ordinary generator.
        check_whole_batch: Copy every sequence of a batch, so that the gradient of the weights can be checked whatever
            `sequences` is; the check sweeps all of them, once, when it is asked for. Without it, and with a part of the
            batch followed, only the gradient of an input that needs one can be checked.
        checked: Names of layers that earlier recordings found right; what this one does is added when its coverage is
            read.
        is_wanted: Asked at every call; where it says no, the recording stops by itself.
        discover: Whether a module of the user's own that proves to be recurrent is followed by its state.

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
        check_whole_batch: bool = True,
        checked: set[str] | None = None,
        is_wanted: Callable[[], bool] = lambda: True,
        discover: bool = True,
    ) -> None:
        self.sequences = sequences = None if sequences is None else whole("sequences", sequences, 1, "None for all")
        one_of("engine", engine, ENGINES)
        self._layers = find_layers(model, layers, discover)
        self._model_type = type_name(model)
        self.engine = engine
        self.exact_dropout = exact_dropout
        self._checked = set() if checked is None else checked
        copied = None if check_whole_batch else sequences
        self._log = CallLog(self._layers.modules, copied, exact_dropout, is_wanted, of_large_batches=sequences)
        self._discovery = Discovery(self._layers, self._log)
        self._log.on_stop = self._discovery.stop
        self._reader = TraceReader(self._layers, self._log, engine, sequences, self._checked)

    @property
    def names(self) -> list[str]:
        """The names of the layers, in the order of the model."""
        return self._layers.names

    def start(self) -> Recording:
        """Begin; what an earlier recording with this object held is forgotten.

        Raises:
            ValueError: If the model has nothing that can be followed, nor a module that may prove to be recurrent.
        """
        if not self.may_see_anything:
            raise ValueError(self.nothing_found)
        if not self._log.running:
            self._log.start()
            self._discovery.start()
        self._reader.forget()
        return self

    def stop(self) -> Recording:
        """End: no hook, no graph and no tensor of the model's is held any longer."""
        self._log.stop()
        self._reader.forget()
        return self

    def forget(self) -> None:
        """Drop what traces have computed and can compute again from what was recorded."""
        self._reader.lighten()

    def release(self) -> None:
        """End, and drop what was recorded: its memory is free at once, but for what traces hold that others hold."""
        self._log.stop()
        self._log.forget()
        self._reader.forget()

    def __enter__(self) -> Recording:
        return self.start()

    def __exit__(self, kind: object, *exception: object) -> None:
        self.stop()
        if kind is None and not (self._layers.modules or self._discovery.saw_calls):
            raise ValueError(self.nothing_found)

    def calls(self, name: str) -> list[Trace]:
        """Return one trace for every call of a layer; a call that continues where an earlier one ended joins its trace.

        Raises:
            KeyError: If there is no such layer.
        """
        self._layers.module_of(name)
        return self._reader.traces(name)

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
        """Return whether a layer's recurrence is known; if not, only its states and their gradients are."""
        return self._layers.has_equations(name)

    def in_order(self) -> list[Trace]:
        """Return the traces of all layers, those first whose modules were called first."""
        return sorted(
            (trace for name in self.names for trace in self.calls(name)), key=lambda trace: trace.provenance.order
        )

    def __iter__(self) -> Iterator[str]:
        return iter([name for name in self.names if self.calls(name)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in list(iter(self))

    @property
    def coverage(self) -> list[Coverage]:
        """How every recurrent module of the model was captured, or why not."""
        self._checked |= {name for name in self.names if any(trace.is_faithful for trace in self.calls(name))}
        ran = [name for name in self.names if not self._layers.module_of(name).is_hidden or self.calls(name)]
        return [self._coverage_of(name) for name in ran] + self.not_followed

    def __repr__(self) -> str:
        running = ", running" if self._log.running else ""
        return f"Recording({self._model_type}: {', '.join(self.names) or 'no recurrent layer'}{running})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: how every layer was captured."""
        return table(("layer", "module", "captured", "how"), (one[:4] for one in self.coverage))

    def _coverage_of(self, name: str) -> Coverage:
        found = self._layers.module_of(name)
        return coverage_of(name, found, self._log, self.calls(name), self.engine, self._checked)

    @property
    def modules(self) -> list[RecurrentModule]:
        """Every recurrent module of the model, also those that the patterns leave out."""
        return self._layers.all_modules

    @property
    def is_running(self) -> bool:
        """Whether calls are being recorded."""
        return self._log.running

    @property
    def not_followed(self) -> list[Coverage]:
        """The modules that cannot be followed, with the reasons."""
        return self._layers.not_followed_but(self._discovery.rows)

    @property
    def may_see_anything(self) -> bool:
        """Whether there is a layer, or a module that may prove to be recurrent."""
        return bool(self._layers.modules or self._layers.candidates)

    @property
    def nothing_found(self) -> str:
        """What to say where there is no layer."""
        said = [f"{one.path or 'the model'} ({one.module_type}): {one.reason}" for one in self._layers.unfollowed]
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
    discover: bool = True,
) -> Recording:
    """Record what a model's recurrent layers go through inside a `with` block; see `Recording`."""
    return Recording(model, sequences, layers, engine, exact_dropout, discover=discover)
