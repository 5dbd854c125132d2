"""The fit in the golden event file `fit/`: an LSTM under a GRU, measured by everything that writes for the tab.

`python -m tests.tb.golden.fit <folder>` wrote it, with the version of rnn_diag before findings carried a panel. A file
once written is never written again: it stands for the logs that users have.
"""

from __future__ import annotations

import logging
import sys

import torch

LAYERS = ("decoder.l0", "encoder.l0")
STEPS = (0, 2, 4, 6, 8, 10)


def main(folder: str) -> None:
    from lightning.pytorch import LightningModule, Trainer, seed_everything
    from lightning.pytorch.loggers import TensorBoardLogger
    from torch.utils.data import DataLoader, TensorDataset

    from rnn_diag import RNNDiagnostics
    from rnn_diag.callbacks import Doctor, LyapunovSpectrum

    class Net(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = torch.nn.LSTM(3, 12, batch_first=True)
            self.decoder = torch.nn.GRU(12, 8, batch_first=True)
            self.head = torch.nn.Linear(8, 1)

        def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
            inputs, targets = batch
            return torch.nn.functional.mse_loss(self.head(self.decoder(self.encoder(inputs)[0])[0][:, -1]), targets)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), 1e-2)

    seed_everything(0)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = TensorDataset(torch.randn(88, 24, 3), torch.randn(88, 1))
    cadence = {"every_n_steps": 2, "max_overhead": None}
    Trainer(
        accelerator="cpu",
        max_epochs=1,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        logger=TensorBoardLogger(folder, name="", version="fit"),
        callbacks=[RNNDiagnostics(**cadence), Doctor(**cadence), LyapunovSpectrum(**cadence)],
    ).fit(Net(), DataLoader(data, batch_size=8))


if __name__ == "__main__":
    main(sys.argv[1])
