"""One concern: what is measured of a trace, how ranks are merged, which numbers and pictures it becomes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from rnn_diag.arguments import number, whole
from rnn_diag.callbacks.lightning import Callback
from rnn_diag.callbacks.session.session import Session
from rnn_diag.capture.modules import patterns_in
from rnn_diag.measurements.gradients import GradientUnits
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


class DiagnosticCallback(Callback):
    """What every callback of this package is to a trainer.

    All of them that a trainer has share one session, which the first in the trainer's list drives: one recording, one
    exchange between ranks and one write per measured step, whatever their number. A callback holds nothing of a run
    but its session, and that only while it fits; so it can be copied and pickled at any moment.
    """

    def __init__(self) -> None:
        self._session: Session | None = None
        self._resumed: dict[str, Any] = {}
        self._progress: dict[str, int] = {}

    @property
    @abstractmethod
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """The concerns that this callback brings."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the layers; say which there are; refuse a pattern that matches none.

        Networks may be built as late as in `configure_model`, so nothing is looked at before.

        Raises:
            ValueError: If a pattern of `layers` matches no layer.
        """
        members = [callback for callback in trainer.callbacks if isinstance(callback, DiagnosticCallback)]  # type: ignore[attr-defined]
        self._session = None
        if not members or members[0] is self:
            concerns = [concern for member in members or [self] for concern in member.diagnostics]
            self._session = Session(concerns, pl_module)
            for member in members or [self]:
                self._session.resume(member.diagnostics, member._resumed)
                member._resumed = {}
            self._session.announce(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Begin to record, if anything is due at this step."""
        if self._session is not None:
            self._session.batch_starts(trainer)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note of the scale of the gradients; under automatic optimisation, end the recording."""
        if self._session is not None:
            self._session.backward_ends(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure, merge ranks, log."""
        if self._session is not None:
            self._session.batch_ends(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let go of a batch that was skipped."""
        if self._session is not None:
            self._session.abandon()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Publish what is still being computed; draw the last pictures."""
        if self._session is not None:
            self._session.end(trainer)
            self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let go of everything."""
        self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let go of everything."""
        self._close()

    @property
    def state_key(self) -> str:
        """Under which a checkpoint keeps its state: callbacks of one class differ in their layers."""
        return self._generate_state_key(layers=[diagnostic.layers for diagnostic in self.diagnostics][:1])

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run goes on from: what pictures are drawn from, and how far intervals are stretched."""
        progress = self._progress if self._session is None else self._session.progress
        return {"progress": dict(progress), "histories": [diagnostic.history for diagnostic in self.diagnostics]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until the fit starts."""
        self._resumed = state_dict

    def _close(self) -> None:
        if self._session is not None:
            self._progress = self._session.progress
            self._session.close()
        self._session = None

    def __getstate__(self) -> dict[str, Any]:
        # Trainers put their model's `log` and `log_dict` on every callback; with them a copy would copy the model.
        kept = {name: value for name, value in self.__dict__.items() if name not in ("log", "log_dict")}
        return {**kept, "_session": None}


class Diagnostic(DiagnosticCallback):
    """A callback with one concern.

    Args:
        every_n_steps: It measures at training steps that are multiples of this: a schedule that depends on the step
            alone, so that all ranks measure together.
        sequences: How many sequences of a batch are looked at on each rank; None for all. Where several callbacks are
            due at once, the largest number holds for all.
        layers: Glob pattern of the layers' names, or several.
        max_overhead: The share of the training time that measuring may take, that of all callbacks of this package
            together. Where it takes more, intervals are doubled as often as needed, on all ranks alike; not before 20
            measured steps or 30 seconds. Of several callbacks' shares the smallest holds. None: measure at all costs.

    Raises:
        ValueError: If `every_n_steps` or `sequences` is not positive, or `max_overhead` not between 0 and 1.
        TypeError: If one of these is no number, or `layers` neither a pattern nor several.
    """

    name: ClassVar[str]
    """The first part of every tag."""

    needs_gradients: ClassVar[bool] = False
    """Whether there is nothing to measure at a layer that no backward pass reached."""

    needs_equations: ClassVar[bool] = True
    """Whether there is nothing to measure at a registered cell whose equations are not known."""

    of_weights: ClassVar[bool] = False
    """Whether it looks at weights alone, the same at every call and on every rank: rank zero measures once, and
    completes the measurement in a thread of its own."""

    def __init__(
        self,
        every_n_steps: int = 50,
        sequences: int | None = 8,
        layers: str | list[str] | tuple[str, ...] = "*",
        max_overhead: float | None = 0.02,
    ) -> None:
        super().__init__()
        patterns_in(layers)
        if max_overhead is not None:
            number("max_overhead", max_overhead, above=0, below=1, otherwise="None for no limit")
        self.every_n_steps = whole("every_n_steps", every_n_steps, at_least=1)
        self.sequences = sequences if sequences is None else whole("sequences", sequences, 1, "None for all")
        self.layers = layers
        self.max_overhead = max_overhead

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Itself."""
        return (self,)

    @abstractmethod
    def measure(self, trace: Trace, units: GradientUnits) -> Any:
        """Return what one call of a layer comes to on this rank: sums and counts, which `+` merges, on the CPU.

        Args:
            trace: What was recorded.
            units: Of its gradients.
        """

    def complete(self, measured: Any) -> Any:
        """Return a measurement of weights in full: what takes long, in another thread, from copies alone."""
        return measured

    @abstractmethod
    def scalars(self, layer: str, merged: Any) -> Mapping[str, float]:
        """Return the numbers of all ranks together by tag, without `<diagnostic>/<layer>/`."""

    def forget(self) -> None:
        """Drop what earlier fits left."""

    @property
    def history(self) -> dict[str, Any]:
        """What pictures will need of earlier steps, in tensors and plain types."""
        return {}

    def resume(self, history: dict[str, Any]) -> None:
        """Go on from the history of another run."""

    def keep(self, layer: str, merged: Any, step: int) -> None:
        """Keep what pictures will need."""

    def write(self, layer: str, merged: Any, writer: Any, step: int) -> None:
        """Write what TensorBoard gets at every measured step besides scalars."""

    def draw(self, layer: str, merged: Any) -> Mapping[str, Any]:
        """Return pictures by tag, without `<diagnostic>/<layer>/`."""
        return {}
