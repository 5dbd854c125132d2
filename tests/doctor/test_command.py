"""The command line: a configuration, a checkpoint, a comparison, and what is wrong with its words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from rnn_diag.callbacks import Doctor
from rnn_diag.cli.configuration import configuration_directory
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


def test_a_checkpoint_brings_its_weights_and_its_configuration(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "checkpoints").mkdir()
    lines = "\n".join(f"- {word}" for word in [*SMALL, "callbacks=[doctor]", "trainer.max_epochs=3"])
    (tmp_path / ".hydra" / "overrides.yaml").write_text(lines)
    torch.manual_seed(0)
    model = SequenceRegressor(torch.nn.LSTM(2, 8, batch_first=True), 2, 1)
    with torch.no_grad():
        model.recurrent.bias_ih_l0[:8] = -30.0
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    torch.save({"state_dict": model.state_dict()}, checkpoint)
    report = examined([], str(checkpoint))
    assert report.findings[0].id == "stuck_gate"
    with pytest.raises(ValueError, match="do not fit this configuration"):
        examined(["cell.hidden_size=9"], str(checkpoint))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cell=lstmm"], "unknown cell 'lstmm'; did you mean 'lstm'?"),
        (["--checkpoint", "none.ckpt"], "checkpoint 'none.ckpt' is no file"),
        (["--compare", "a.json", "b.json"], "a.json"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert str(ended.value.code).startswith("rnn-diag-doctor: ")
    assert message in str(ended.value.code) and "\n" not in str(ended.value.code)


def test_the_callback_is_one_word_on_the_command_line() -> None:
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        configuration = compose("train", overrides=["callbacks=[doctor]", "+callbacks.doctor.stop_on=[non_finite]"])
    doctor = instantiate(configuration.callbacks.doctor)
    assert isinstance(doctor, Doctor) and doctor.stop_on == ("non_finite",) and doctor.command_line
