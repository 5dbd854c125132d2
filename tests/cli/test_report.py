"""`rnn-diag report RUN`: a page of what a real run left, and one line where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from rnn_diag import RNNDiagnostics
from rnn_diag.callbacks import Doctor
from rnn_diag.cli.report import main
from rnn_diag.doctor import Report

pytest.importorskip("matplotlib")


class Network(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(2, 4, batch_first=True)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return self.gru(batch[0])[0][:, -1].square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    logger = pl.loggers.TensorBoardLogger(folder, name="", version="version_0")
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=logger, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[RNNDiagnostics(1, max_overhead=None), Doctor(1, max_overhead=None)],
    )  # fmt: skip
    trainer.fit(Network(), DataLoader(TensorDataset(torch.randn(12, 30, 2)), batch_size=4))
    return folder


def test_the_page_says_what_the_doctor_said_and_draws_every_kind(
    logs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(logs)
    main(["version_0"])
    assert capsys.readouterr().out == "report: version_0/report.html\n"
    page = Path("version_0/report.html").read_text(encoding="utf-8")
    doctors = Report.read("version_0/doctor.json")
    assert doctors.findings and all(one.id in page for one in doctors.findings)
    assert page.count("<svg ") == 9 - 1 and "Not drawn" not in page and "Not shown" not in page  # no exponents
    assert f"{logs.name}/version_0" in page


def test_the_folder_above_is_enough_and_a_file_can_be_named(logs: Path, tmp_path: Path) -> None:
    main([str(logs), "-o", str(tmp_path / "new" / "page.html"), "--layers", "none"])
    assert "<svg " not in (tmp_path / "new" / "page.html").read_text(encoding="utf-8")


def test_without_tensorboard_the_doctors_file_is_enough(logs: Path, tmp_path: Path) -> None:
    content = json.loads((logs / "version_0" / "doctor.json").read_text())
    (tmp_path / "doctor.json").write_text(json.dumps(content | {"findings": []}))
    main([str(tmp_path)])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "nothing wrong found in 1 layer" in page and "Every layer and direction" in page


def test_where_there_is_no_run_or_several_one_line_says_so(logs: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "two" / name).mkdir(parents=True)
        for file in (logs / "version_0").glob("events*"):
            (tmp_path / "two" / name / file.name).write_bytes(file.read_bytes())
    (tmp_path / "none").mkdir()
    for folder, words in {
        "absent": "expected the folder",
        "none": "holds no diagnostics",
        "two": "holds 2 runs",
    }.items():
        with pytest.raises(SystemExit, match=f"^rnn-diag report: .*{words}"):
            main([str(tmp_path / folder)])
