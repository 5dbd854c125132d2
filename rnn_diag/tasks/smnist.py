"""MNIST read as sequences, from the IDX files of those who have them."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from rnn_diag.tasks.images import Images, ImageTask, split_by_class

FILES: Final = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
SUBFOLDERS: Final = ("", "raw", "MNIST/raw")

_UNSIGNED_BYTE: Final = 0x08


class SequentialMNIST(ImageTask):
    """Say which digit was read: 784 steps pixel by pixel, or 28 steps row by row.

    A twelfth of each digit of the training file is for validation; the test file is for test.

    Args:
        folder: Where the four IDX files are, as they are or gzipped; also looked for in `raw` and `MNIST/raw` below it.
        by: `"pixel"` or `"row"`.
        permuted: One shuffled order of the pixels for all pictures.
        batch_size: Pictures per batch and process.
        num_workers: Processes that fetch batches.
        seed: Determines the validation split, the shuffled order of the pixels and the order of training.
    """

    def __init__(
        self,
        folder: str = "data",
        by: str = "pixel",
        permuted: bool = False,
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(by, permuted, batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.folder = folder

    def read_images(self) -> dict[str, Images]:
        """Return the pictures of every split.

        Raises:
            ValueError: If a file is missing, or is no IDX file of bytes, or if pictures and labels do not match.
        """
        pixels, labels, test_pixels, test_labels = (read_idx(file) for file in find_mnist(self.folder))
        train, test = _matched(pixels, labels, "train"), _matched(test_pixels, test_labels, "t10k")
        parts = split_by_class(train.labels, {"train": 11 / 12, "validation": 1 / 12}, self.generator("train"))
        splits = {split: Images(train.pixels[part], train.labels[part]) for split, part in parts.items()}
        return {**splits, "test": test}


def find_mnist(folder: str) -> list[Path]:
    """Return the four files, in the order of `FILES`.

    Raises:
        ValueError: If one is missing, with the names that are missing and the folders that were searched.
    """
    places = [Path(folder).expanduser() / below for below in SUBFOLDERS]
    found = {
        name: file for place in reversed(places) for name in FILES for file in (place / name, place / f"{name}.gz")
        if file.is_file()
    }  # fmt: skip
    missing = [name for name in FILES if name not in found]
    if missing:
        raise ValueError(
            f"folder={folder!r} lacks {', '.join(missing)} (or the same with .gz); "
            f"looked in: {', '.join(str(place.absolute()) for place in places)}"
        )
    return [found[name] for name in FILES]


def read_idx(file: Path) -> Tensor:
    """Return the array of an IDX file of unsigned bytes, gzipped if its name ends in `.gz`.

    Raises:
        ValueError: If the file is something else, or shorter or longer than its header says.
    """
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{file} cannot be unzipped: {error}") from None
    if len(content) < 4 or content[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise ValueError(f"{file} begins with bytes {content[:4].hex(' ')}; expected 00 00 08, an IDX file of bytes")
    axes = content[3]
    sizes, values = content[4 : 4 + 4 * axes], content[4 + 4 * axes :]
    if len(sizes) != 4 * axes:
        raise ValueError(f"{file} ends after {len(content)} bytes; its header alone needs {4 + 4 * axes}")
    shape = [int(size) for size in np.frombuffer(sizes, dtype=">u4")]
    if len(values) != math.prod(shape):
        raise ValueError(f"{file} holds {len(values)} values; its header says {' x '.join(map(str, shape))}")
    return torch.from_numpy(np.frombuffer(values, dtype=np.uint8).reshape(shape).copy())


def _matched(pixels: Tensor, labels: Tensor, name: str) -> Images:
    if pixels.ndim != 3 or labels.ndim != 1 or len(pixels) != len(labels):
        raise ValueError(
            f"{name}: images of shape {tuple(pixels.shape)}, labels of shape {tuple(labels.shape)}; "
            "expected (N, height, width) and (N,)"
        )
    return Images(pixels.float() / 255, labels.long())
