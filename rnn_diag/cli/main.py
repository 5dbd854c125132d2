"""The command `rnn-diag`, whose first word says what to do."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

from rnn_diag.terminal.lasting import outlive_the_terminal

PROGRAM: Final = "rnn-diag"
COMMANDS: Final = {
    "train": "train a network on a task; the same as rnn-diag-train",
    "doctor": "say what is wrong before any training; the same as rnn-diag-doctor",
    "lab": "put the theory beside what is measured; the same as rnn-diag-lab",
    "report": "write one HTML page of a run: rnn-diag report lightning_logs/version_0",
}


def main() -> None:
    """Run the command that the first word names, with the words behind it."""
    outlive_the_terminal()
    word, *rest = sys.argv[1:] or ["--help"]
    if word in ("-h", "--help"):
        print(overview())
        return
    if word not in COMMANDS:
        sys.exit(f"{PROGRAM}: unknown command {word!r}; choices: {', '.join(COMMANDS)}")
    sys.argv[1:] = rest
    import_module(f"rnn_diag.cli.{word}").main()


def overview() -> str:
    """Return how the command is used, a line for each command."""
    lines = [f"  {word:8}{meaning}" for word, meaning in COMMANDS.items()]
    return "\n".join([f"usage: {PROGRAM} COMMAND ...", "", *lines, "", f"{PROGRAM} COMMAND --help says more of each."])


if __name__ == "__main__":
    main()
