"""What the command line says when a word is not known."""

from __future__ import annotations

import re

import pytest

from rnn_diag.cli.compose import argument_names, checked_overrides


def check(*overrides: str, sweeping: bool = False) -> list[str]:
    return checked_overrides(overrides, sweeping)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("cell=lstmm", "unknown cell 'lstmm'; did you mean 'lstm'? choices: conv_lstm, gru, indrnn"),
        ("cell=transformer", "unknown cell 'transformer'; choices: conv_lstm, gru"),
        ("callbacks=[gradient_norms,spectrm]", "unknown callbacks 'spectrm'; did you mean 'spectrum'? choices: "),
        ("scheduler=null", "unknown scheduler 'null'; choices: "),
        ("cel=gru", "unknown option 'cel'; did you mean 'cell'? choices: "),
        ("sead=1", "unknown option 'sead'; did you mean 'seed'? choices: "),
        ("task.batchsize=4", "unknown option task.batchsize; did you mean 'batch_size'? choices: batch_size, "),
        ("cell.hiden_size=4", "unknown option cell.hiden_size; did you mean 'hidden_size'? choices: "),
        ("trainer.max_epoch=4", "unknown option trainer.max_epoch; did you mean 'max_epochs'? choices: "),
        ("model.embeding_size=4", "unknown option model.embeding_size; did you mean 'embedding_size'? choices: "),
        ("seed.value=4", "seed is 0 and has no option 'value'"),
        (
            "initialization.chrono.T=4",
            "initialization.chrono is not part of this run; expected initialization=[chrono]",
        ),
        ("cell", "cannot read 'cell'; expected group=choice or option=value"),
        ("cell=[gru", "cannot read 'cell=[gru'; expected group=choice or option=value"),
        ("cell=gru,lstm", "cell=gru,lstm names several choices; expected -m as well"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_choices(override: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message)) as error:
        check(override)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "completed"),
    [
        ("cell.num_layers=2", "++cell.num_layers=2"),  # an argument of rnn_diag.nn.LSTM
        ("model.embedding_size=8", "++model.embedding_size=8"),  # one of the base class's constructor
        ("task.path=some/files", "++task.path=some/files"),
        ("trainer.gradient_clip_val=1", "++trainer.gradient_clip_val=1"),
        ("optimizer.lr=0.1", "optimizer.lr=0.1"),  # spelt out in its file
        ("seed=3", "seed=3"),
        ("cell=gru", "cell=gru"),
        ("+cell.anything=1", "+cell.anything=1"),
        ("~optimizer.lr", "~optimizer.lr"),
        ("hydra.run.dir=elsewhere", "hydra.run.dir=elsewhere"),
        ("hydra/launcher=basic", "hydra/launcher=basic"),
    ],
)
def test_arguments_that_no_file_spells_out_are_added(override: str, completed: str) -> None:
    assert check(override) == [completed]


@pytest.mark.parametrize(
    ("override", "understood"),
    [
        ("task.path=~/notes/**/*.md", "++task.path='~/notes/**/*.md'"),
        ("checkpoint=runs/epoch=3-step=90.ckpt", "checkpoint='runs/epoch=3-step=90.ckpt'"),
        ("output_dir=runs/(old)", "output_dir='runs/(old)'"),
        ("output_dir=runs/new", "output_dir=runs/new"),
    ],
)
def test_paths_need_no_quotes_of_hydras(override: str, understood: str) -> None:
    assert check("task=source_text", override)[1].removeprefix("++") == understood.removeprefix("++")


def test_options_are_looked_up_in_the_choice_of_the_same_command_line() -> None:
    assert check("task=timing", "task.interval=5") == ["task=timing", "++task.interval=5"]
    with pytest.raises(ValueError, match=r"unknown option task\.interval"):
        check("task=adding", "task.interval=5")


def test_every_choice_of_a_sweep_is_checked() -> None:
    assert check("cell=gru,lstm", sweeping=True) == ["cell=gru,lstm"]
    with pytest.raises(ValueError, match="unknown cell 'lstmm'"):
        check("cell=gru,lstmm", sweeping=True)


def test_arguments_behind_keywords_are_those_of_the_base_class() -> None:
    assert {"hidden_size", "num_layers", "bidirectional"} <= set(argument_names("torch.nn.LSTM"))


def test_a_target_without_a_name_has_no_arguments() -> None:
    assert argument_names(None) == []
