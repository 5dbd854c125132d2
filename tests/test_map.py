"""The layers of the package are the same list, in the same order, wherever they are written down."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def contract() -> list[tuple[str, ...]]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one["id"] == "layers")
    return [tuple(name.removeprefix("rnn_diag.") for name in line.split(" | ")) for line in layers]


def test_the_readme_draws_the_contract() -> None:
    (block,) = re.findall(r"## Map of the package\n\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names = [line.split("  ")[0].split(" | ") for line in block.splitlines()]
    assert [tuple(map(str.strip, line)) for line in names] == contract()


def test_the_guide_lists_the_contract() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    table = guide.split("| Layer | Answers |")[1].split("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert [tuple(re.findall(r"`(\w+)`", row)) for row in rows] == contract()


def test_every_folder_and_file_of_the_package_is_in_the_contract() -> None:
    layers = {name for line in contract() for name in line}
    modules = {
        path.stem for path in (ROOT / "rnn_diag").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert modules - {"__init__", "conf"} == layers  # conf holds configurations, and no code


def test_who_changes_a_module_finds_the_tests_of_its_name() -> None:
    modules = {path.relative_to(ROOT / "rnn_diag") for path in (ROOT / "rnn_diag").rglob("*.py")}
    own = {path for path in modules if path.stem != "__init__" and path.parts[0] != "conf"}
    missing = {str(path) for path in own if not (ROOT / "tests" / path.parent / f"test_{path.stem}.py").exists()}
    assert missing == {"engine/kernels.py"}  # which test_fused.py runs
