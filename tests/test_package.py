"""The package from outside: what importing it costs, what it offers, what its wheel holds."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path
from zipfile import ZipFile

import pytest

import rnn_diag

ROOT = Path(__file__).parents[1]


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    return ZipFile(next(folder.glob("*.whl")))


@pytest.mark.parametrize("library", ["torch", "lightning", "pytorch_lightning", "hydra", "tensorboard", "numpy"])
def test_importing_the_package_does_not_import(library: str) -> None:
    assert run_python(f"import sys, rnn_diag; dir(rnn_diag); print({library!r} in sys.modules)") == "False"


def test_asking_for_the_version_does_not_import_torch() -> None:
    printed = run_python("import sys, rnn_diag; print(rnn_diag.__version__, 'torch' in sys.modules)")
    assert printed == f"{version('rnn_diag')} False"


def test_names_are_listed_before_they_are_imported() -> None:
    names = run_python("import rnn_diag; print(*dir(rnn_diag))").split()
    assert {"record", "register", "RNNDiagnostics", "Trace", "__version__"} <= set(names)


def test_every_name_in_the_table_is_public_and_nothing_else_is() -> None:
    assert sorted(rnn_diag.__all__) == sorted([*rnn_diag._PUBLIC, "__version__"])


def test_unknown_name_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'recrod'; public names: .*\brecord\b"):
        rnn_diag.recrod  # noqa: B018


def test_misspelt_name_is_an_import_error() -> None:
    with pytest.raises(ImportError, match="recrod"):
        from rnn_diag import recrod  # noqa: F401


def test_the_command_is_declared() -> None:
    (command,) = entry_points(group="console_scripts", name="rnn-diag-train")
    assert command.value == "rnn_diag.cli.train:main"


def test_wheel_holds_every_file_of_the_package(wheel: ZipFile) -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "rnn_diag").rglob("*.py")}
    assert files | {"rnn_diag/py.typed"} <= set(wheel.namelist())


def test_wheel_holds_every_configuration_file(wheel: ZipFile) -> None:
    files = {f"rnn_diag/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "conf").rglob("*.yaml")}
    held = {name for name in wheel.namelist() if name.startswith("rnn_diag/conf/") and name.endswith(".yaml")}
    assert held == files


def test_wheel_holds_nothing_but_the_package(wheel: ZipFile) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel.namelist()} == {"rnn_diag"}


ALONE = """
import os, sys
import lightning.pytorch, torch  # what takes seconds to import, once for all names
from importlib import import_module
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        resolved = getattr(import_module("rnn_diag"), name) is not None
        print(name, resolved, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_every_public_name_resolves_as_the_first_one_that_is_asked_for() -> None:
    names = rnn_diag.__all__
    assert all(getattr(rnn_diag, name) is not None for name in names)
    done = subprocess.run([sys.executable, "-c", ALONE, *names], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"{name} True" for name in names], done.stderr
