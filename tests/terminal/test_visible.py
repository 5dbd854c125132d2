"""What would command a terminal is shown instead."""

from __future__ import annotations

import io
import logging

import lightning.pytorch as pl
import pytest
import torch
from rich.table import Table
from torch import nn
from torch.utils.data import DataLoader

from rnn_diag.callbacks import Doctor, RNNDiagnostics
from rnn_diag.terminal import drawn, plain
from rnn_diag.terminal.visible import visible

HOSTILE = "en\x1b[31mcoder\x9b2J\x07"


def test_letters_lines_and_tabs_stay_and_commands_are_written_out() -> None:
    assert visible("gewöhnlich · 長い\n\tτ") == "gewöhnlich · 長い\n\tτ"
    assert visible(f"{HOSTILE}\r\x00") == "en\\x1b[31mcoder\\x9b2J\\x07\\r\\x00"


@pytest.mark.parametrize("console", [drawn.Console, plain.Console])
def test_a_console_shows_them(console) -> None:
    file = io.StringIO()
    console(file=file).print(f"a layer called {HOSTILE}")
    assert file.getvalue().strip() in {f"a layer called en\\x1b[31mcoder\\x9b2J{bell}" for bell in ("", "\\x07")}


def test_styles_of_a_table_still_reach_a_terminal() -> None:
    file = io.StringIO()
    table = Table("layer")
    table.add_row(drawn.Text(HOSTILE, "bold").append(HOSTILE))
    table.add_row(HOSTILE)
    drawn.Console(file=file, force_terminal=True, color_system="truecolor", width=80).print(table)
    shown = "en\\x1b[31mcoder\\x9b2J"
    assert file.getvalue().count(shown) == 3
    assert f"\x1b[1m{shown}" in file.getvalue() and "\x1b[31m" not in file.getvalue()


class Named(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.add_module(HOSTILE, nn.LSTM(2, 3))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return 1e30 * self.get_submodule(HOSTILE)(batch)[0].sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1.0)


def test_a_module_of_any_name_reaches_the_terminal_as_text(capsys, caplog, tmp_path) -> None:
    caplog.set_level(logging.INFO)
    doctor, suite = Doctor(1), RNNDiagnostics(1, max_overhead=None)
    run = pl.Trainer(
        accelerator="cpu", max_steps=3, callbacks=[suite, doctor], logger=False, default_root_dir=tmp_path,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with pytest.warns() as told:
        run.fit(Named(), DataLoader([torch.randn(5, 2, 2)] * 3, batch_size=None))
    printed = capsys.readouterr()
    said = [str(one.message) for one in told if "rnn_diag" in str(one.message)]
    ours = [record.getMessage() for record in caplog.records if "rnn_diag" in record.getMessage()]
    everything = "\n".join([printed.out, printed.err, *said, *ours])
    assert "en\\x1b[31mcoder" in everything
    assert not set("\x1b\x9b\x07") & set(everything)
