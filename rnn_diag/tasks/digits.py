"""The handwritten digits that come with scikit-learn, 1797 real pictures of 8 by 8 pixels, read as sequences."""

from __future__ import annotations

import torch

from rnn_diag.errors import needs
from rnn_diag.tasks.images import Images, ImageTask, split_by_class


class Digits(ImageTask):
    """Say which digit was read: 64 steps pixel by pixel, or 8 steps row by row.

    Four fifths of each digit are for training, a tenth each for validation and test.
    The arguments are those of `ImageTask`.
    """

    def read_images(self) -> dict[str, Images]:
        """Return the pictures of every split."""
        with needs("task=digits", "scikit-learn"):
            from sklearn.datasets import load_digits
        digits = load_digits()
        pixels = torch.from_numpy(digits.images / 16).float()
        labels = torch.from_numpy(digits.target).long()
        shares = {"train": 0.8, "validation": 0.1, "test": 0.1}
        parts = split_by_class(labels, shares, self.generator("train"))
        return {split: Images(pixels[part], labels[part]) for split, part in parts.items()}
