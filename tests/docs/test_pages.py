"""Every Python block of the pages runs, every command on them is understood, and every public name is listed.

A page is one script: its blocks run in order, in an empty folder, after `READER`, which is what a reader has already.
A block that cannot run here says so, and why, in its first line: `# Not run by the tests: <reason>`.
"""

from __future__ import annotations

import importlib
import re
import shlex
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from rnn_diag.cli.compose import checked_overrides
from rnn_diag.cli.lab import understood

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(?P<language>[\w-]+)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"# Not run by the tests: \w")
WHOLE = re.compile(r"^::: (\S+)\n    options:\n      show_root_heading: false", re.MULTILINE)

pytestmark = pytest.mark.timeout(300)

READER = """
import torch
import lightning.pytorch as pl
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.LSTM(3, 8, batch_first=True), nn.Linear(8, 1)
    def forward(self, inputs):
        return self.head(self.encoder(inputs)[0][:, -1])
    def training_step(self, batch, index):
        return criterion(self(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

torch.manual_seed(0)
model, criterion = Model(), nn.functional.mse_loss
inputs, targets = torch.randn(16, 30, 3), torch.randn(16, 1)
batch, loader = (inputs, targets), DataLoader(TensorDataset(inputs, targets), batch_size=4)
"""
"""A LightningModule with an LSTM, its data and its loss, by the names that the pages use."""

QUICK = {
    "PL_TRAINER_ACCELERATOR": "cpu",
    "PL_TRAINER_LIMIT_TRAIN_BATCHES": "2",
    "PL_TRAINER_LOG_EVERY_N_STEPS": "1",
    "PL_TRAINER_ENABLE_PROGRESS_BAR": "False",
    "PL_TRAINER_ENABLE_MODEL_SUMMARY": "False",
}
"""Lightning's own defaults by environment, for what a page does not say."""


def blocks(page: Path, *languages: str) -> Iterator[tuple[int, str]]:
    """Yield the blocks of a page in these languages: the lines above them, and their text."""
    text = page.read_text()
    for found in BLOCK.finditer(text):
        if found["language"] in languages:
            yield text[: found.start("text")].count("\n"), found["text"]


def script(page: Path) -> str:
    """Return the Python of a page that runs, on the lines where the page has it; empty if there is none."""
    source = ""
    for line, text in blocks(page, "python"):
        if not NOT_RUN.match(text):
            source += "\n" * (line - source.count("\n")) + text
    return source


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the command lines of a page as lists of words."""
    lines = [line for _, text in blocks(page, "bash") for line in text.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`(rnn-diag-\w+ [^`…<]+)`", BLOCK.sub("", page.read_text()))
    for line in [*lines, *inline]:
        if words := shlex.split(line, comments=True):
            yield words


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", [page for page in PAGES if script(page)], ids=named)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = script(page)
    if "matplotlib" in page.read_text() or "figures" in source:
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(READER, namespace)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        exec(compile(source, str(page), "exec"), namespace)
    assert not [str(one.message) for one in told if "switched off" in str(one.message)]


def test_tutorial_and_readme_show_what_the_doctor_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tutorial, readme = ROOT / "docs" / "tutorial.md", ROOT / "README.md"
    project, attached, advised, examined = [text for _, text in blocks(tutorial, "python")]
    monkeypatch.chdir(tmp_path)
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    namespace: dict[str, Any] = {}
    exec(project.rpartition("pl.seed_everything")[0] + advised.splitlines()[0], namespace)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        exec(attached, namespace)
    (sentence,) = (str(one.message).removeprefix("rnn_diag: ") for one in told if "0: critical" in str(one.message))
    assert sentence in " ".join(tutorial.read_text().split())
    assert sentence in " ".join(readme.read_text().split())
    capsys.readouterr()
    exec(examined, namespace)
    gone = [line for line in capsys.readouterr().out.splitlines() if line.startswith("gone: ")]
    assert len(gone) == 2
    assert set(gone) <= set(tutorial.read_text().splitlines())


def test_a_block_that_does_not_run_says_why() -> None:
    said = [text.splitlines()[0] for page in PAGES for _, text in blocks(page, "python") if "Not run" in text]
    assert said
    assert [line for line in said if not NOT_RUN.match(line)] == []


@pytest.mark.parametrize("page", [page for page in PAGES if list(commands(page))], ids=named)
def test_the_commands_of_a_page_are_understood(page: Path) -> None:
    for words in commands(page):
        read(*words)


@cache
def read(program: str, *words: str) -> None:
    """Read one command line as its program does; what it does not understand is an error."""
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    if program == "rnn-diag-lab":
        understood(words)
    elif program == "rnn-diag-doctor":
        checked_overrides(overrides, sweeping=False)
    elif program == "rnn-diag-train":
        plugins = [word for word in overrides if word.startswith("sweep=")]  # Hydra's, which may be missing
        assert all((ROOT / "conf" / word.replace("=", "/")).with_suffix(".yaml").is_file() for word in plugins)
        overrides = [word for word in overrides if word not in plugins]
        checked_overrides(overrides, sweeping=bool({"-m", "--multirun"} & set(words)))
    elif program in ("bash", "python") and words[0].endswith((".sh", ".py")) and "/" in words[0]:
        assert (ROOT / words[0]).is_file() or words[0].startswith("src/"), words


def test_a_foreign_hydra_project_composes_what_its_page_says(tmp_path: Path) -> None:
    page = ROOT / "docs" / "how_to" / "hydra.md"
    files = {
        "train.yaml": "defaults:\n  - _self_\n  - callbacks: default\n",
        "callbacks/default.yaml": "checkpoint:\n  _target_: lightning.pytorch.callbacks.ModelCheckpoint\n",
    }
    files |= {
        name.removeprefix("configs/"): text
        for _, block in blocks(page, "yaml")
        for name, text in re.findall(r"\A# (\S+)\n(.*)\Z", block, re.DOTALL)
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    given = [words[2:] for words in commands(page) if words[1] == "src/train.py"]
    assert len(given) >= 3
    for overrides in given:
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            composed = compose("train", overrides=overrides)
        callbacks = {name: node._target_ for name, node in composed.callbacks.items()}
        assert "checkpoint" in callbacks
        assert [target for target in callbacks.values() if target.startswith("rnn_diag.")]
        for node in composed.callbacks.values():
            module, _, name = node._target_.rpartition(".")
            assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize(
    "package",
    ["rnn_diag", *(f"rnn_diag.{name}" for name in (
        "callbacks", "capture", "cells", "diagnostics", "doctor", "measurements", "models", "nn", "tasks",
        "reporting.figures", "tb.kinds",
    ))],
)  # fmt: skip
def test_every_public_name_is_in_the_reference(package: str) -> None:
    reference = "\n".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    module = importlib.import_module(package)
    listed = set(re.findall(r"^::: (\S+)", reference, re.MULTILINE)) | set(re.findall(r"\[`(\w+)`\]", reference))
    whole = package in WHOLE.findall(reference)
    shadowed = {path.stem for path in Path(str(module.__file__)).parent.glob("*.py")}
    missing = [
        name
        for name in module.__all__
        if name != "__version__"
        and not (whole and name not in shadowed)
        and not {name, f"{package}.{name}", f"{package}.{name}.{name}"} & listed
    ]
    assert missing == []
