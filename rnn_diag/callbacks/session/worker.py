"""A thread that computes what training need not wait for."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from time import perf_counter, thread_time
from typing import Generic, TypeVar

import torch

Result = TypeVar("Result")

PATIENCE = 5.0
"""Seconds that the end of a run, whatever ended it, waits for errands: what was measured last is to be written."""


class Worker(Generic[Result]):
    """Does one thing after another in a thread of its own, which lives from the first use until it is closed.

    What is done must be given all it needs: weights change meanwhile. It must draw no random number of the process's.
    The thread keeps torch's number of threads as it is: changing it there would change it for all threads that start
    later.

    Attributes:
        seconds: Of processor time that the last result took.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = -math.inf
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: Future[tuple[Result, float]] | None = None
        self._errands: list[Future[tuple[None, float]]] = []

    def start(self, compute: Callable[[], Result]) -> None:
        """Begin to compute; what was computed before must have been taken.

        Raises:
            RuntimeError: If something else is under way.
        """
        if self._under_way is not None:
            raise RuntimeError("something else is being computed; expected that its result was taken")
        self._started = perf_counter()
        self._under_way = self._thread().submit(_timed_off_the_graph, compute)

    def run(self, errand: Callable[[], None]) -> None:
        """Do something without a result, after all that was asked for before; it must let no error out."""
        self._errands.append(self._thread().submit(_timed_off_the_graph, errand))

    @property
    def is_busy(self) -> bool:
        """Whether there is something whose result was not taken."""
        return self._under_way is not None

    @property
    def is_idle(self) -> bool:
        """Whether all errands are done."""
        return all(one.done() for one in self._errands)

    def done(self, in_any_case: bool) -> float:
        """Return the seconds of processor time that errands took which are done since this was asked last.

        Args:
            in_any_case: Whether to wait for all of them.
        """
        if in_any_case:
            wait(self._errands)
        done = [one for one in self._errands if one.done()]
        self._errands = [one for one in self._errands if one not in done]
        return sum(one.result()[1] for one in done)

    def has_rested(self, share: float) -> bool:
        """Return whether the last computation took at most this share of the time since it was started."""
        return self.seconds <= share * (perf_counter() - self._started)

    def take(self, in_any_case: bool) -> Result | None:
        """Return the result, or None where there is none; wait for one that is under way only if `in_any_case`."""
        if self._under_way is None or not (in_any_case or self._under_way.done()):
            return None
        wait([self._under_way])
        under_way, self._under_way = self._under_way, None
        result, self.seconds = under_way.result()
        return result

    def close(self) -> None:
        """Release the thread, without waiting for what it computes, and a few seconds at most for errands."""
        wait(self._errands, PATIENCE)
        if self._pool is not None:
            self._pool.shutdown(wait=not self.is_busy, cancel_futures=True)
        self._pool = self._under_way = None
        self._errands = []

    def _thread(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rnn_diag")
        return self._pool


def _timed_off_the_graph(compute: Callable[[], Result]) -> tuple[Result, float]:
    began = thread_time()
    with torch.no_grad():  # Whether gradients are recorded is each thread's own matter.
        return compute(), thread_time() - began
