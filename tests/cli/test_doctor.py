"""The command line: a configuration, a checkpoint, a comparison, and what is wrong with its words."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from rnn_diag.callbacks import Doctor
from rnn_diag.cli.compose import composed
from rnn_diag.cli.doctor import examined, main
from rnn_diag.models import SequenceRegressor

SMALL = [
    "task=adding",
    "task.sequence_length=50",
    "task.train_size=64",
    "task.held_out_size=8",
    "cell.hidden_size=8",
]
CHRONO = ["initialization=[chrono]", "initialization.chrono.longest=50"]


def test_a_configuration_is_examined_and_followed_advice_is_seen_in_the_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = str(tmp_path / "before.json"), str(tmp_path / "after.json")
    with pytest.raises(SystemExit) as ended:
        main([*SMALL, "--json", before, "--fail-on", "warning"])
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert "forget_bias_low" in printed and "On the command line" in printed
    main([*SMALL, *CHRONO, "--json", after, "--fail-on", "advice"])
    assert json.loads(Path(after).read_text())["findings"] == []
    capsys.readouterr()
    main(["--compare", before, after])
    assert capsys.readouterr().out.startswith("By findings: better.\ngone: critical: recurrent.l0: vanishing")


def run_folder(folder: Path, words: list[str], state: object) -> str:
    """Make what a run leaves behind, and return its checkpoint."""
    (folder / ".hydra").mkdir()
    (folder / "checkpoints").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(words))
    checkpoint = folder / "checkpoints" / "last.ckpt"
    torch.save({"state_dict": state}, checkpoint)
    return str(checkpoint)


def test_a_checkpoint_brings_its_weights_and_its_configuration(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SequenceRegressor(torch.nn.LSTM(2, 8, batch_first=True), 2, 1)
    with torch.no_grad():
        model.recurrent.bias_ih_l0[:8] = -30.0
    words = [*SMALL, "callbacks=[doctor]", "trainer.max_epochs=3", "hydra/launcher=basic"]
    checkpoint = run_folder(tmp_path, words, model.state_dict())
    report = examined([], checkpoint)
    assert report.findings[0].id == "stuck_gate"
    with pytest.raises(ValueError, match="does not fit this configuration"):
        examined(["cell.hidden_size=9"], checkpoint)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cell=lstmm"], "unknown cell 'lstmm'; did you mean 'lstm'?"),
        (["--checkpoint", "none.ckpt"], "checkpoint='none.ckpt'; expected a .ckpt file"),
        (["--compare", "a.json", "b.json"], "a.json"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert str(ended.value.code).startswith("rnn-diag-doctor: ")
    assert message in str(ended.value.code) and "\n" not in str(ended.value.code)


def test_the_callback_is_one_word_on_the_command_line() -> None:
    configuration = composed("train", ["callbacks=[doctor]", "+callbacks.doctor.stop_on=[non_finite]"])
    doctor = instantiate(configuration.callbacks.doctor)
    assert isinstance(doctor, Doctor) and doctor.stop_on == ("non_finite",) and not doctor.command_line


EVIL = {
    "a task that is a program": (["++task={_target_: os.mkdir, path: PROOF}"], "'++task={_target_: os.mkdir"),
    "a choice that is a program": (["task={_target_: os.mkdir, path: PROOF}"], "unknown task"),
    "a target of the task": (["task._target_=os.mkdir", "+task.path=PROOF"], "task._target_='os.mkdir'"),
    "an initialization": (
        ["++initialization.x={_target_: shutil.copytree, src: ., dst: PROOF}"],
        "initialization.x._target_='shutil.copytree'",
    ),
    "inside an argument": (
        ["++task.seed={_target_: pathlib.Path.mkdir, self: {_target_: pathlib.Path, _args_: ['PROOF']}}"],
        "task.seed._target_='pathlib.Path.mkdir'",
    ),
    "in a list": (["++optimizer.x=[{_target_: os.mkdir, path: PROOF}]"], "optimizer.x.0._target_='os.mkdir'"),
    "what a module of ours has imported": (
        ["++initialization.x={_target_: rnn_diag.tasks.text_files.os.mkdir, path: PROOF}"],
        "initialization.x._target_='rnn_diag.tasks.text_files.os.mkdir'",
    ),
    "behind the name of a known class": (
        ["++initialization.x={_target_: lightning.pytorch.trainer.trainer.os.system, command: mkdir PROOF}"],
        "initialization.x._target_='lightning.pytorch.trainer.trainer.os.system'",
    ),
    "a method of a known class": (
        ["++initialization.x={_target_: rnn_diag.models.LanguageModel.load_from_checkpoint, checkpoint_path: x}"],
        "initialization.x._target_='rnn_diag.models.LanguageModel.load_from_checkpoint'",
    ),
    "torch's own unpickling": (
        ["++initialization.x={_target_: torch.load, f: x}"],
        "initialization.x._target_='torch.load'",
    ),
    "a module in the working directory": (
        ["++initialization.x={_target_: makes_a_folder.f}"],
        "initialization.x._target_='makes_a_folder.f'",
    ),
    "equations in the working directory": (
        ["cell=recurrent", "cell.equations=makes_a_folder.f"],
        "cell.equations='makes_a_folder.f'",
    ),
    "arguments without their names": (["++task._args_=[1]"], "task._args_=[1]"),
    "a file to read": (["++task.path=PROOF"], "task.path="),
    "a file in a list": (["++optimizer.x=[{path: PROOF}]"], "optimizer.x.0.path="),
    "a configuration that is made late": (
        ["++initialization.x='\\${oc.create:{_target_: os.mkdir, path: PROOF}}'"],
        "++initialization.x=",
    ),
    "the environment": (["task._target_='${oc.env:EVIL}'"], "task._target_='${oc.env:EVIL}'"),
    "a search path of its own": (["hydra.searchpath=[file://FOLDER]", "task=makes_a_folder"], "unknown task"),
    "a file in place of a choice": (["task=../../FOLDER/task/makes_a_folder"], "unknown task"),
    "a defaults list of its own": (
        ["+task@initialization.x=../..FOLDER/task/makes_a_folder"],
        "'+task@initialization.x",
    ),
    "a group of its own": (["+task=../../FOLDER/task/makes_a_folder"], "'+task="),
}


@pytest.mark.parametrize("name", EVIL)
def test_the_folder_of_a_checkpoint_calls_nothing_that_a_run_is_not_made_of(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, message = EVIL[name]
    proof, folder = tmp_path / "proof", tmp_path / "configs"
    (folder / "task").mkdir(parents=True)
    (folder / "task" / "makes_a_folder.yaml").write_text(f"_target_: os.mkdir\npath: {proof}\n")
    (tmp_path / "makes_a_folder.py").write_text(f"import os\nos.mkdir({str(proof)!r})\ndef f(**options): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("EVIL", "os.mkdir")
    words = [word.replace("PROOF", str(proof)).replace("FOLDER", str(folder)) for word in words]
    checkpoint = run_folder(tmp_path, [*SMALL, *words], {})
    with pytest.raises(ValueError, match=re.escape(message)):
        examined([], checkpoint)
    assert not proof.exists()


def test_a_file_that_the_user_names_too_is_read(tmp_path: Path) -> None:
    (tmp_path / "text.c").write_text("int f(int x) { return x; }\n" * 200)
    words = ["task=source_text", f"task.path={tmp_path / 'text.c'}", "cell.hidden_size=4"]
    checkpoint = run_folder(tmp_path, words, {})
    with pytest.raises(ValueError, match="does not fit this configuration"):  # of the checkpoint, which is empty
        examined(words[1:2], checkpoint)


def test_trust_calls_what_the_folder_names(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    words = [*SMALL, f"++initialization.x={{_target_: os.mkdir, path: {proof}}}"]
    with pytest.raises((TypeError, ValueError)):  # for the model cannot do anything with what came out
        examined([], run_folder(tmp_path, words, {}), trust=True)
    assert proof.exists()


@pytest.mark.parametrize("content", ["5\n", "{a: b", "a: 1\n", "- 1\n"])
def test_overrides_that_are_none_are_refused(content: str, tmp_path: Path) -> None:
    checkpoint = run_folder(tmp_path, [], {})
    (tmp_path / ".hydra" / "overrides.yaml").write_text(content)
    with pytest.raises(ValueError, match=r"overrides\.yaml cannot be read as the overrides of a run"):
        examined([], checkpoint)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("proof",)


@pytest.mark.parametrize("content", [b"garbage", b"", {"state_dict": Evil()}, {"weights": {}}])
def test_a_file_that_holds_no_weights_is_refused_in_one_line(
    content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = tmp_path / "last.ckpt"
    if isinstance(content, bytes):
        checkpoint.write_bytes(content)
    else:
        torch.save(content, checkpoint)
    with pytest.raises(SystemExit) as ended:
        main([*SMALL, "--checkpoint", str(checkpoint)])
    assert "holds no weights that can be read safely" in str(ended.value.code)
    assert "\n" not in str(ended.value.code) and not (tmp_path / "proof").exists()
