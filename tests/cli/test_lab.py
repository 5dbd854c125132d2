"""The command `rnn-diag-lab`: what it lists, runs, leaves behind and refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rnn_diag.cli.compose import argument_names, checked_overrides
from rnn_diag.cli.lab import experiment_classes, experiment_names, main, overview, understood
from rnn_diag.lab.experiments.scalar_recursion import ScalarRecursion

CHECKOUT = Path(__file__).parents[2]
QUICK = ["scalar_recursion.weights=[0.5]", "scalar_recursion.steps=12"]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """Return a function that runs the command in an empty folder, in this process."""

    def run(*words: str) -> int | str | None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["rnn-diag-lab", *words])
        try:
            main()
        except SystemExit as end:
            return end.code
        return 0

    return run


def test_every_file_of_the_group_is_an_experiment_of_that_name() -> None:
    classes = experiment_classes()
    assert set(classes) == set(experiment_names())
    for name, experiment in classes.items():
        assert experiment.__module__ == f"rnn_diag.lab.experiments.{name}"
        assert set(argument_names(f"{experiment.__module__}.{experiment.__qualname__}")) == set(experiment().settings)


def test_every_experiment_is_in_the_documentation() -> None:
    text = (CHECKOUT / "docs" / "lab.md").read_text()
    missing = [name for name in experiment_names() if f"rnn-diag-lab {name}" not in text]
    assert missing == []


def test_without_words_every_experiment_is_listed_with_its_question(lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert lab() == 0
    listed = capsys.readouterr().out
    assert listed == overview() + "\n"
    for name, experiment in experiment_classes().items():
        assert any(line.split()[:1] == [name] and experiment.question in line for line in listed.splitlines())


def test_a_misspelt_experiment_is_answered_with_the_choices(lab, tmp_path: Path) -> None:
    code = lab("scalar_recurson")
    assert str(code).startswith(
        "rnn-diag-lab: unknown experiment 'scalar_recurson'; did you mean 'scalar_recursion'? choices: "
    )
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_setting_is_answered_with_the_choices(lab) -> None:
    assert lab("scalar_recursion.wights=[1]") == (
        "rnn-diag-lab: unknown option scalar_recursion.wights; did you mean 'weights'? "
        "choices: input_weight, steps, weights"
    )


def test_a_setting_out_of_range_is_refused_before_anything_runs(lab, tmp_path: Path) -> None:
    code = lab("scalar_recursion", "scalar_recursion.steps=2")
    assert str(code).startswith("rnn-diag-lab: scalar_recursion: steps=2; expected a whole number of at least 8")
    assert not list(tmp_path.rglob("report.html"))


def test_all_means_every_experiment_and_a_setting_chooses_its_own() -> None:
    target = "+{0}._target_=rnn_diag.lab.experiments.{0}.{1}".format
    every = [target(name, found.__name__) for name, found in experiment_classes().items()]
    chosen = target("scalar_recursion", "ScalarRecursion")
    assert understood(["all"]) == sorted(every)
    assert understood(["scalar_recursion.steps=9"]) == [chosen, "++scalar_recursion.steps=9"]
    assert understood(["pitchfork", "-m", "scalar_recursion.steps=9"]) == [
        "-m",
        target("pitchfork", "Pitchfork"),
        chosen,
        "++scalar_recursion.steps=9",
    ]


def test_training_does_not_take_the_lab_for_a_group() -> None:
    with pytest.raises(ValueError, match="unknown option 'lab'"):
        checked_overrides(["lab=scalar_recursion"])


def test_a_run_leaves_report_numbers_and_events_in_its_folder(
    lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lab(*QUICK, "hydra.run.dir=here") == 0
    printed = capsys.readouterr().out
    assert "2 of 2 checks hold" in printed
    assert f"report: {Path('here', 'report.html')}" in printed
    assert (tmp_path / "here" / "report.html").is_file()
    assert list((tmp_path / "here").glob("events.out.tfevents.*"))
    assert (tmp_path / "here" / "scalar_recursion" / "response.svg").is_file()
    result = json.loads((tmp_path / "here" / "results.json").read_text())["experiments"]["scalar_recursion"]
    assert result["command"] == f"rnn-diag-lab scalar_recursion '{QUICK[0]}' '{QUICK[1]}'"
    assert result["settings"] == {"weights": [0.5], "input_weight": 1.0, "steps": 12}


def test_an_experiment_that_fails_stops_no_other_and_ends_with_1(
    lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(self: ScalarRecursion) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(ScalarRecursion, "run", fail)
    code = lab(*QUICK, "bounded_inputs.steps=8", "hydra.run.dir=here")
    assert code == "rnn-diag-lab: failed or does not hold: scalar_recursion"  # Printed, with exit code 1.
    results = json.loads((tmp_path / "here" / "results.json").read_text())["experiments"]
    assert results["scalar_recursion"]["error"] == "RuntimeError: broken"
    assert "conclusion" in results["bounded_inputs"]


def test_without_matplotlib_one_line_says_what_to_install(
    lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("rnn_diag.cli.lab.find_spec", lambda name: None if name == "matplotlib" else real(name))
    assert lab("all") == 2
    told = capsys.readouterr()
    assert told.err == "rnn-diag-lab: the figures need matplotlib; install it with: pip install 'rnn_diag[plot]'\n"
    assert list(tmp_path.iterdir()) == []


def test_the_console_command_and_the_script_are_the_same(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    installed = [str(Path(sys.executable).with_name("rnn-diag-lab"))]
    for command in (installed, [sys.executable, str(CHECKOUT / "scripts" / "lab.py")]):
        told = subprocess.run(
            [*command, "nothing"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110
        )
        assert told.returncode == 1
        assert told.stderr.startswith("rnn-diag-lab: unknown experiment 'nothing'; choices: ")


@pytest.mark.slow
def test_the_wheel_runs_an_experiment_in_an_empty_folder(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(CHECKOUT)]
    subprocess.run(build, check=True, capture_output=True, timeout=110)
    (wheel,) = tmp_path.glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    zipfile.ZipFile(wheel).extractall(site)
    empty.mkdir()
    program = "import rnn_diag; print(rnn_diag.__file__); from rnn_diag.cli.lab import main; main()"
    told = subprocess.run(
        [sys.executable, "-c", program, *QUICK, "hydra.run.dir=here"],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(str(site))
    assert "<style>" in (empty / "here" / "report.html").read_text()
