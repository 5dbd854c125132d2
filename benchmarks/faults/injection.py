"""One fault that was injected, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Injection:
    """One fault and how the training met it.

    Attributes:
        fault: What was wrong.
        phase: During what.
        what: The very fault, so that it can be found.
        wrong: What is not as it should be; empty where all is; None if the training did not meet it.
        outcome: What was to come of it.
    """

    fault: str
    phase: str
    what: str
    wrong: list[str] | None
    outcome: str = "training as without us, to its end"
