"""Numbers that a device is still computing, and what is made of them once they are on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
Other = TypeVar("Other")


class Pending(Generic[Result]):
    """A result that needs tensors on the CPU.

    A training step that is measured asks a GPU for everything first, and reads it a step later: until then the GPU has
    computed it, and nobody waits. On a CPU both happen at once.

    Args:
        tensors: What is asked for, on any device; None for what is not there.
        into: Given the same tensors on the CPU, makes the result. It must not read any other tensor of a GPU.

    Example:
        >>> total = Pending([torch.ones(3).sum()], float)
        >>> total.then(lambda number: number + 1).here()
        4.0
    """

    def __init__(self, tensors: Sequence[Tensor | None], into: Callable[..., Result]) -> None:
        self._tensors = list(tensors)
        self._into = into
        self._arrive: Callable[[], None] | None = None

    @classmethod
    def known(cls, result: Result) -> Pending[Result]:
        """Return one of a result that is known already."""
        return cls((), lambda: result)

    @classmethod
    def together(cls, parts: Sequence[Pending[Any]], into: Callable[..., Result]) -> Pending[Result]:
        """Return what is made of the results of several, which were not sent yet; all are waited for at once.

        Example:
            >>> Pending.together([Pending.known(1), Pending.known(2)], lambda one, two: one + two).here()
            3
        """
        counts = [len(part._tensors) for part in parts]

        def all_of_them(*arrived: Tensor | None) -> Result:
            given = iter(arrived)
            results = [
                part._into(*(next(given) for _ in range(count))) for part, count in zip(parts, counts, strict=True)
            ]
            return into(*results)

        return cls([tensor for part in parts for tensor in part._tensors], all_of_them)

    def then(self, into: Callable[[Result], Other]) -> Pending[Other]:
        """Return what is made of the result."""
        return Pending.together([self], into)

    def send(self) -> Pending[Result]:
        """Begin to bring the tensors to the CPU, without waiting for them; only the copies are held from now on."""
        if self._arrive is None:
            self._tensors, self._arrive = on_its_way(self._tensors)
        return self

    def here(self) -> Result:
        """Return the result, and wait for what it needs."""
        self.send()
        assert self._arrive is not None
        self._arrive()
        return self._into(*self._tensors)


def on_its_way(tensors: Sequence[Tensor | None]) -> tuple[list[Tensor | None], Callable[[], None]]:
    """Begin to copy tensors to the CPU; return the copies, and what waits until they have arrived.

    Waiting is for the copies alone: what a GPU was asked for later continues meanwhile.
    """
    given = [None if tensor is None else tensor.detach() for tensor in tensors]
    here = [None if one is None else one.to("cpu", non_blocking=one.is_cuda) for one in given]
    arrived = []
    for device in {one.device for one in given if one is not None and one.is_cuda}:
        arrived.append(torch.cuda.Event())
        arrived[-1].record(torch.cuda.current_stream(device))

    def arrive() -> None:
        for event in arrived:
            event.synchronize()

    return here, arrive
