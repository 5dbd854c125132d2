"""A memory cell that keeps an open brace until it is closed and ignores the one in a comment: trained, found, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from rnn_diag.arguments import number, whole
from rnn_diag.diagnostics import UnitState, gate_saturation, unit_states
from rnn_diag.lab.braces.figures import Course, coloured_figure, coloured_html, unit_and_gates
from rnn_diag.lab.braces.findings import HELD_OUT, Found, measured
from rnn_diag.lab.braces.reader import BraceReader, Training
from rnn_diag.lab.braces.text import Excerpt, best_excerpt, some_windows
from rnn_diag.lab.braces.unit import PLACES
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table, one_thread
from rnn_diag.tasks import Braces
from rnn_diag.tasks.lexer import Region

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GATES: Final = ("input", "forget", "output")


@dataclass(frozen=True)
class BraceCell(Experiment):
    """A small LSTM says after every character of C++ text whether a curly brace is open; one of its units knows.

    Braces in comments are rare, and most stand where a brace is open anyway: a network can be right about nearly all of
    them and still count every one. So in a share of the training windows braces are planted among the letters, in code,
    comments and strings alike, and the truth is counted anew.

    Attributes:
        units: Of the LSTM.
        window: Characters that it reads at a time.
        steps: Of training.
        batch_size: Windows per step.
        learning_rate: The largest.
        planted_share: Share of the training windows in which braces are planted; 0 trains on the text as it is.
        planted_rate: Share of their letters, digits and spaces that a brace replaces.
        sparsity: Of the readout, so that few units give the answer; 0 lets all have a say.
        path: Source text in C or C++; None reads the headers of the installed torch.
        max_characters: Characters to read at most.
        seed: Of weights, of batches and of what is planted.
    """

    title: ClassVar[str] = "A cell that keeps the open brace"
    question: ClassVar[str] = "Can a memory cell keep an open brace until it is closed, and ignore one in a comment?"
    theory: ClassVar[tuple[int, ...]] = (11, 13, 14)

    units: int = 32
    window: int = 192
    steps: int = 2000
    batch_size: int = 32
    learning_rate: float = 0.02
    planted_share: float = 0.6
    planted_rate: float = 0.03
    sparsity: float = 0.003
    path: str | None = None
    max_characters: int = 4_000_000
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        for name, least in (("units", 1), ("window", 32), ("steps", 1), ("batch_size", 1), ("max_characters", 1)):
            whole(name, getattr(self, name), least)
        whole("seed", self.seed, 0)
        number("learning_rate", self.learning_rate, above=0.0)
        for name in ("planted_share", "planted_rate"):
            number(name, getattr(self, name), at_least=0, at_most=1)
        number("sparsity", self.sparsity, at_least=0)

    @one_thread()
    def run(self) -> Outcome:
        """Train, choose the unit on training text, and measure it on files that were not trained on."""
        task = Braces(self.path, max_depth=1, sequence_length=self.window, max_characters=self.max_characters)
        how = Training(
            self.steps, self.batch_size, self.learning_rate, self.planted_share, self.planted_rate, self.sparsity
        )
        reader = BraceReader(task, self.units, self.seed)
        losses = reader.learn(task, how, self.seed)
        found = measured(task, reader, self.planted_rate, self.seed)
        excerpt = best_excerpt({split: task.labelled[split] for split in HELD_OUT}, reader.braces, 2 * self.window)
        drawn = _drawn(reader, found, excerpt or _any_excerpt(task))
        tables = [_reaction_table(found), _gate_table(found), _training_table(losses)]
        return Outcome(_conclusion(found, self.units), _checks(found), tables, *drawn)


def _drawn(reader: BraceReader, found: Found, excerpt: Excerpt) -> tuple[dict[str, Figure], dict[str, str]]:
    """Return the excerpt as figures and as coloured text."""
    trace = reader.trace(excerpt.text)
    characters = reader.vocabulary.decode(excerpt.text.tokens[0])
    activation = found.unit.activation(trace)[0].tolist()
    is_open = reader.open_after(excerpt.text)[0].tolist()
    gates = {name: found.unit.gate(trace, name)[0].tolist() for name in _GATES}
    strips = {"a brace is open (truth)": is_open, **{f"{name} gate": gate for name, gate in gates.items()}}
    course = Course(
        characters,
        (excerpt.text.region[0] != Region.CODE).tolist(),
        is_open,
        activation,
        gates,
        {f"tanh c, unit {found.comment_unit.index}": found.comment_unit.activation(trace)[0].tolist()},
    )
    figures = {
        "unit_and_gates": unit_and_gates(course, _places(is_open, excerpt), found.unit.index),
        "passage": coloured_figure(characters, activation, strips),
    }
    return figures, {
        f"unit {found.unit.index} over text that it was not trained on": coloured_html(characters, activation, strips)
    }


def _places(is_open: Sequence[int], excerpt: Excerpt) -> dict[str, int]:
    """Return what is worth a close look in an excerpt."""
    opening = next((place for place, value in enumerate(is_open) if value), 0)
    places = {"A brace in code; dashed: 1 while one is open, else −1": opening}
    if excerpt.telling:
        places["A brace in a comment or a string"] = excerpt.telling[0]
    return places


def _checks(found: Found) -> list[Check]:
    kept = found.change("{", "code")
    moved = {place: abs(found.change("{", place) / kept) for place in PLACES if place != "code"}
    checks = [
        Check("accuracy on held-out text", 1.0, found.accuracy, 0.03, "at least"),
        Check("correlation of the unit with an open brace, held-out text", 1.0, found.correlation, 0.1),
    ]
    for place, share in moved.items():
        checks.append(Check(f"move by {{ in a {place}, share of that in code", 0.0, share, 0.2))
    for place in PLACES:
        checks.append(Check(f"share right after a brace planted in {place}", 1.0, found.right(place), 0.15, "at least"))
    return checks


def _reaction_table(found: Found) -> Table:
    header = ("planted", "in", "events", "move of the unit at once", "5 characters later", "share answered rightly")
    return Table("A brace planted in held-out text where it tells", header, [tuple(one) for one in found.reactions])


def _gate_table(found: Found) -> Table:
    saturation = gate_saturation(found.trace)
    states = unit_states(saturation)
    rows = [
        (
            gate,
            float(saturation.left[number, found.unit.index]),
            float(saturation.right[number, found.unit.index]),
            UnitState(int(states[number, found.unit.index])).name.lower().replace("_", " "),
        )
        for number, gate in enumerate(saturation.gates)
    ]
    header = ("gate", "share of characters shut (below 0.1)", "open (above 0.9)", "the gate is")
    return Table(f"Gates of unit {found.unit.index} on held-out text", header, rows)


def _training_table(losses: Sequence[float]) -> Table:
    size = -(-len(losses) // 6)
    rows = [
        (start + 1, sum(part) / len(part))
        for start in range(0, len(losses), size)
        if (part := losses[start : start + size])
    ]
    return Table("Training", ("from step", "mean loss (nats per character)"), rows)


def _conclusion(found: Found, units: int) -> str:
    count, right = found.natural
    aside = (
        f" Unit {found.comment_unit.index} tells comments and strings from code (correlation {found.in_comment:.2f})."
    )
    own = f" The comments and strings of these files hold {count} braces of their own; {right} are answered rightly."
    return (
        f"On files that were not trained on, tanh c of unit {found.unit.index} of {units} correlates "
        f"{found.correlation:.3f} with an open brace, and the answers are right at {found.accuracy:.3%} "
        f"of the characters (always saying the commoner one: {found.guessing:.1%}). "
        f"A {{ planted in code has moved the unit by {found.change('{', 'code'):.2f} five characters later, one in a "
        f"comment by {found.change('{', 'comment'):.2f}, one in a string by "
        f"{found.change('{', 'string or character'):.2f}."
        f"{own if count else ''}{aside}"
    )


def _any_excerpt(task: Braces) -> Excerpt:
    """Return a window of held-out text, where no comment holds a brace that tells."""
    return Excerpt(some_windows(task.sequences(HELD_OUT[-1]), 1), [])
