"""What goes wrong next to a training, and what comes of it: every fault is injected, and the training compared.

    python benchmarks/reliability.py --write docs/reliability.md   # all of them: a quarter of an hour on two idle cores
    python benchmarks/reliability.py --share 40                    # every fortieth
    python benchmarks/reliability.py --minutes 20                  # as many as there is time for, some of all kinds

Faults are found, not listed: every function of the package that a training calls raises, so a new diagnostic, rule or
writer is covered once a training calls it. Ends with 1 where a training did not end as it should.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from faults import inside, outside, ranks, resumed
from faults.injection import Injection
from faults.training import fit, quiet, suite

ALL_OF = ("callbacks", "doctor/rules", "reporting", "tb")
"""Parts of the package of which every function raises: hooks, diagnostics, rules, pictures and writers."""

OF_OTHERS, LATER, CTRL_C, ON_A_RANK = 4, 4, 8, 12
"""Of the functions of other parts every fourth raises; every fourth at its last call, too; in every eighth a Ctrl-C
arrives; of those of callbacks every twelfth raises on one of two ranks, which takes five seconds."""

KINDS_OF_ERRORS = (inside.Fault, OSError, MemoryError, KeyError)

PAGE = """# What cannot end a training

Made by `python benchmarks/reliability.py --write docs/reliability.md`. {total} faults were injected into small
trainings with every callback, TensorBoard and CSV files. Wherever training could continue, its losses, weights,
optimizer state and random numbers were compared with those of the bare run, bit for bit; afterwards no class was
wrapped, no hook and no thread was left, and the event files ended with a whole record. Where a training ends without
us, too (a signal, an error of the user's), it had to end the same way.

*An error in* means that a function of that part of the package raised: `OSError`, `MemoryError`, `KeyError` or
another. Functions are found by watching a training, not listed. Given the time, every function that a training calls in
`callbacks`, `doctor/rules`, `reporting` and `tb` does so (all hooks, diagnostics, rules, pictures and writers), every
fourth elsewhere, and every fourth at its last call as well; with `--minutes 13`, as for this edition, a random choice.

| fault | during | injections | outcome |
| --- | --- | --- | --- |
{rows}
{bad}"""


def injections(share: int) -> Iterator[Callable[[], Injection]]:
    """Yield what injects a fault each: all of them, or a share."""
    functions = inside.functions()
    ours = [one for one in functions if one.part.startswith(ALL_OF)]
    first = [*ours, *[one for one in functions if one not in ours][::OF_OTHERS]]
    faults = [(one, 1, KINDS_OF_ERRORS[number % 4]) for number, one in enumerate(first)]
    faults += [(one, one.calls, inside.Fault) for one in functions[::LATER] if one.calls > 1]
    faults += [(one, 1, KeyboardInterrupt) for one in functions[::CTRL_C] if one.phase != "background thread"]
    of_callbacks = [one for one in functions if one.part.startswith("callbacks") and one.phase in inside.HOOKS]
    on_a_rank = [*ranks.cases(), *ranks.of_functions(of_callbacks[::ON_A_RANK])]
    everything: list[Callable[[], Injection]] = [partial(inside.injected, *one) for one in faults]
    everything += [one.met for one in outside.cases()]
    everything += [one.met for one in resumed.cases()]
    everything += [partial(ranks.met, *one) for one in on_a_rank]
    random.Random(0).shuffle(everything)  # whenever it is ended, there are some of all kinds
    yield from everything[:: max(1, share)]


def all_met(share: int, processes: int, until: float) -> Iterator[Injection]:
    """Inject all of them, in several processes, until a time of the clock; yield each when it was met."""
    with quiet():
        fit(suite()), fit([])
        waiting = list(injections(share))
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    lock = context.Lock()

    def work(number: int) -> None:
        for one in waiting[number::processes]:
            met = one() if time.monotonic() < until else None
            with lock:
                send.send(met)

    workers = [context.Process(target=work, args=(number,)) for number in range(processes)]
    for worker in workers:
        worker.start()
    for _ in waiting:
        if (met := receive.recv()) is not None:
            yield met


def page(met: Sequence[Injection]) -> str:
    """Return the table as Markdown."""
    rows: dict[tuple[str, str], list[Injection]] = defaultdict(list)
    for one in met:
        if one.wrong is not None:
            rows[one.fault, one.outcome].append(one)
    lines = []
    for (fault, outcome), those in sorted(rows.items()):
        phases = Counter(one.phase for one in those)
        during = ", ".join(f"{phase} ({count})" if count > 1 else phase for phase, count in phases.items())
        wrong = sum(bool(one.wrong) for one in those)
        lines.append(f"| {fault} | {during} | {len(those)} | {outcome}{f'; **not so in {wrong}**' if wrong else ''} |")
    bad = [f"- {one.what} ({one.phase}): {'; '.join(one.wrong)}" for one in met if one.wrong]
    total = sum(one.wrong is not None for one in met)
    listed = "\n## Not so\n\n" + "\n".join(bad) + "\n" if bad else ""
    return PAGE.format(total=total, rows="\n".join(lines), bad=listed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=int, default=1, help="inject every N-th fault alone")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no other fault after this time")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", type=Path, help="the page to write")
    asked = parser.parse_args()
    began = time.monotonic()
    met = []
    for one in all_met(asked.share, asked.processes, began + 60 * asked.minutes):
        met.append(one)
        if one.wrong:
            print(f"{one.what} ({one.phase}): {'; '.join(one.wrong)}", file=sys.stderr, flush=True)
        if asked.write and len(met) % 20 == 0:
            asked.write.write_text(page(met))
    if asked.write:
        asked.write.write_text(page(met))
    wrong = [one for one in met if one.wrong]
    reached = sum(one.wrong is not None for one in met)
    print(f"{reached} injections, {len(wrong)} not as they should be, {time.monotonic() - began:.0f} s")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
