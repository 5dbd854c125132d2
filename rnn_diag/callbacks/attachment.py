"""How a callback of this package hangs on a trainer: hooks that no error leaves, which drive one session for all."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from rnn_diag.callbacks.concern import Concern, Schedule
from rnn_diag.callbacks.lightning import Callback, all_ranks, state_key
from rnn_diag.callbacks.session.session import Session
from rnn_diag.callbacks.session.warnings import Refusal, in_words, warn
from rnn_diag.callbacks.subscriber import Subscriber

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

HOOKS = tuple(
    name
    for name in dir(Callback)
    if name.startswith("on_") or name in ("setup", "teardown", "state_dict", "load_state_dict")
)
"""What a trainer calls."""


def guarded(name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return the hook of that name so that its errors end no run: they are told once, and training continues."""

    @wraps(hook)
    def run(callback: DiagnosticCallback, *arguments: Any, **options: Any) -> Any:
        try:
            return hook(callback, *arguments, **options)
        except Refusal:
            raise
        except Exception as error:
            return callback._survive(name, error)

    return run


class DiagnosticCallback(Callback):
    """What every callback of this package is to a trainer.

    All of them that a trainer has share one session, which the first in the trainer's list drives: one recording, one
    exchange between ranks and one write per measured step, whatever their number. A callback holds nothing of a run
    but its session, and that only while it fits; so it can be copied and pickled at any moment.

    Every hook, those that a subclass adds included, is guarded: an error in it is told once, and training continues.

    Args:
        schedule: When to measure, and on which layers.
    """

    command_line: bool = False
    """Whether advice names the options of this package's commands."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _guard(cls)

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._session: Session | None = None
        self._resumed: dict[str, Any] = {}
        self._progress: dict[str, float] = {}
        self._failed: set[str] = set()

    @property
    def diagnostics(self) -> tuple[Concern, ...]:
        """The concerns that this callback brings."""
        return ()

    @property
    def subscribers(self) -> tuple[Subscriber, ...]:
        """The objects that hear of every measured step and of the verdict on it: this callback, if it is one."""
        return (self,) if isinstance(self, Subscriber) else ()

    @property
    def is_measuring(self) -> bool:
        """Whether this callback drives a batch that is being measured."""
        return self._session is not None and self._session.is_measuring

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the layers; say which there are; refuse a pattern that matches none.

        Networks may be built as late as in `configure_model`, so nothing is looked at before.

        Raises:
            ValueError: If a pattern of `layers` matches no layer.
        """
        self._session = None
        self._failed.clear()
        members = self._members(trainer)
        if members[0] is self:
            concerns = [concern for member in members for concern in member.diagnostics]
            subscribers = [subscriber for member in members for subscriber in member.subscribers]
            for_command_line = any(member.command_line for member in members)
            self._session = Session(concerns, subscribers, pl_module, for_command_line)
            for member in members:
                self._session.resume(member.diagnostics, member._resumed)
                member._resumed = {}
            self._session.announce(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure on all ranks or on none: where one has failed by now, others would wait for it at measured steps."""
        if self._members(trainer)[0] is not self:
            return
        ranks = all_ranks(trainer, self._session is not None and (trainer.num_training_batches,))
        if self._session is not None and all(ranks):
            batches = {number for (number,) in ranks}
            self._session.ends_with_others = len(ranks) == 1 or (len(batches) == 1 and math.inf not in batches)
            return
        if self._session is not None:
            warn("nothing is measured: another rank has failed to begin")
        self._close()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Begin to record, if anything is due at this step."""
        if self._session is not None:
            self._session.batch_starts(trainer, lambda: self in trainer.callbacks)  # type: ignore[attr-defined]

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note of the scale of the gradients; under automatic optimisation, end the recording."""
        if self._session is not None:
            self._session.backward_ends(trainer)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Note by what gradients are about to be clipped."""
        if self._session is not None:
            self._session.optimizer_steps(trainer, optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure, merge ranks, log."""
        if self._session is not None:
            self._session.batch_ends(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Publish what was asked of a device before, for whoever stops or saves by it."""
        if self._session is not None:
            self._session.catch_up(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop a batch that was skipped; publish what was asked of a device before."""
        if self._session is not None:
            self._session.abandon()
            self._session.catch_up(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Publish what is still being computed; draw the last pictures."""
        if self._session is not None:
            self._session.end(trainer)
            self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Publish what was asked of a device before, unless other ranks would have to; release everything."""
        try:
            if self._session is not None and trainer.world_size == 1:
                self._session.catch_up(trainer)
        finally:
            self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Release everything."""
        self._close()

    @property
    def state_key(self) -> str:
        """Under which a checkpoint holds its state: callbacks of one class differ in their layers."""
        return state_key(self, layers=[self.schedule.layers])

    def state_dict(self) -> dict[str, Any]:
        """Return the checkpoint state: the histories behind the pictures, and the current interval stretch."""
        progress = self._progress if self._session is None else self._session.progress
        return {"progress": dict(progress), "histories": {one.name: one.history for one in self.diagnostics}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Hold the state until the fit starts."""
        self._resumed = state_dict

    def _members(self, trainer: Trainer) -> list[DiagnosticCallback]:
        """Return all callbacks of this package that a trainer has; the first drives their session."""
        return [one for one in trainer.callbacks if isinstance(one, DiagnosticCallback)] or [self]  # type: ignore[attr-defined]

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._progress = session.progress
            session.close()

    def _survive(self, hook: str, error: Exception) -> dict[str, Any]:
        """Tell of an error that left a hook; return what the trainer may have instead of a result."""
        if self._session is not None:
            self._session.lose_step()
        reason = in_words(error)
        if hook not in self._failed:
            self._failed.add(hook)
            warn(f"{hook} of {type(self).__name__} is left out: {reason}")
        return {}

    def __getstate__(self) -> dict[str, Any]:
        # Trainers put their model's `log` and `log_dict` on every callback; with them a copy would copy the model.
        kept = {name: value for name, value in self.__dict__.items() if name not in ("log", "log_dict")}
        return {**kept, "_session": None}


def _guard(cls: type[Any]) -> None:
    for name in HOOKS:
        if name in vars(cls):
            setattr(cls, name, guarded(name, vars(cls)[name]))


_guard(DiagnosticCallback)
