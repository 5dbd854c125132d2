"""Processes that continue although nobody reads what they say."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from rnn_diag.terminal.lasting import Lasting, dropping

ROOT = Path(__file__).parents[2]
TALKS = """
import os, signal, sys, time
from pathlib import Path
{before}
for number in range(2000):
    {say}
    if number == 100 and sys.stdout:
        sys.stdout.flush()
        time.sleep(0.3)  # until the reader has left
Path("done").write_text(str(bool(sys.stdout and sys.stdout.isatty())))
"""
LASTS = "from rnn_diag.terminal.lasting import outlive_the_terminal; outlive_the_terminal()"
CONSOLE = "from rnn_diag.terminal import Console; console = Console()"
PLAIN = "from rnn_diag.terminal.plain import Console; console = Console()"


def ended(folder: Path, shell: str, before: str, say: str) -> subprocess.CompletedProcess[str]:
    """Run a talkative program in a shell line, where `$P` stands for it."""
    (folder / "talks.py").write_text(TALKS.format(before=before, say=say))
    environment = {"P": f"{sys.executable} talks.py", "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    line = ["bash", "-o", "pipefail", "-c", shell]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize(
    "shell", ["$P >&-", "$P 2>&- >&-", "$P <&- >&-", "$P | head -1", "$P 2>&1 | head -1", "$P | true"]
)
@pytest.mark.parametrize(("before", "say"), [(LASTS, "print(number)"), (CONSOLE, "console.print(number)")])
def test_a_program_reaches_its_end_without_a_reader(shell: str, before: str, say: str, tmp_path: Path) -> None:
    said = ended(tmp_path, shell, before, say)
    assert (tmp_path / "done").read_text() == "False"
    assert said.returncode == 0 and "Traceback" not in said.stderr and "BrokenPipe" not in said.stderr


def test_plain_tables_end_no_program_either(tmp_path: Path) -> None:
    ended(tmp_path, "$P | head -1", f"{LASTS}; {PLAIN}", "console.print(number)")
    assert (tmp_path / "done").exists()


def test_a_file_that_is_opened_later_does_not_take_what_is_printed(tmp_path: Path) -> None:
    say = "opened = open('file', 'w') if number == 0 else opened; os.write(1, b'x')"
    ended(tmp_path, "$P >&-", LASTS, say)
    assert (tmp_path / "done").exists() and (tmp_path / "file").read_text() == ""


def test_a_hang_up_ends_nothing(tmp_path: Path) -> None:
    ended(tmp_path, "$P > said", LASTS, "number == 9 and os.kill(os.getpid(), signal.SIGHUP)")
    assert (tmp_path / "done").exists()


def test_letters_that_the_encoding_lacks_are_replaced() -> None:
    file = io.BytesIO()
    stream = Lasting(io.TextIOWrapper(file, encoding="ascii", write_through=True))
    assert stream.write("a · b\n") == 6
    assert file.getvalue() == b"a ? b\n"
    stream.write("c")
    assert file.getvalue().endswith(b"c")


def test_other_errors_get_through() -> None:
    with pytest.raises(ValueError, match="wrong"), dropping(io.StringIO()):
        raise ValueError("wrong")
    closed = io.StringIO()
    closed.close()
    with dropping(closed):
        closed.write("lost")


def test_the_handler_of_ctrl_c_is_left_alone(tmp_path: Path) -> None:
    handler = "signal.getsignal(signal.SIGINT)"
    ended(tmp_path, "$P", f"was = {handler}; {LASTS}; Path('same').write_text(str(was == {handler}))", "pass")
    assert (tmp_path / "same").read_text() == "True"
