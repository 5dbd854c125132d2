"""A small corpus in C, with braces in code, comments and strings."""

from __future__ import annotations

from pathlib import Path

PIECE = """int f%d(int a) {
  if (a > %d) { return a; }  // one more { here
  return 0;
}

/* a comment with { and more words */
const char* s%d = "text } and words";
namespace n%d {
int x;
}
"""


def write_source(folder: Path, files: int = 12, pieces: int = 12) -> str:
    """Write so many files and return their folder."""
    for number in range(files):
        text = "".join(PIECE % (k, number, k, k) for k in range(pieces))
        (folder / f"file{number}.c").write_text(text, encoding="utf-8")
    return str(folder)
