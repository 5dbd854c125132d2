"""MNIST as sequences, from IDX files written here."""

import gzip
import struct

import pytest
import torch

from rnn_diag.tasks import SequentialMNIST
from rnn_diag.tasks.smnist import FILES, read_idx


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + bytes(array.flatten().tolist())


@pytest.fixture
def mnist():
    """Sixty training and ten test pictures of 4 by 3 pixels; pixel values and labels count up."""
    arrays = (
        torch.arange(60 * 12).reshape(60, 4, 3) % 256,
        torch.arange(60) % 5,
        torch.arange(10 * 12).reshape(10, 4, 3) % 256,
        torch.arange(10) % 5,
    )
    return dict(zip(FILES, arrays, strict=True))


def write(mnist, folder, zipped=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in mnist.items():
        content = idx(array)
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(content, mtime=0) if zipped else content)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("below", ["", "raw", "MNIST/raw"])
def test_mnist_is_read_from_plain_or_zipped_files(mnist, tmp_path, zipped, below):
    write(mnist, tmp_path / below, zipped)
    task = SequentialMNIST(str(tmp_path), by="row", batch_size=5)
    assert (task.spec.steps, task.spec.input_size) == (4, 3)
    test = task.sequences("test").whole
    assert torch.equal((test.inputs * 255).round().long(), mnist[FILES[2]])
    assert torch.equal(test.targets, mnist[FILES[3]])
    assert task.images["validation"].labels.bincount().tolist() == [1] * 5
    assert task.images["train"].labels.bincount().tolist() == [11] * 5
    assert torch.cat([task.images[s].pixels for s in ("train", "validation")]).unique(dim=0).shape[0] == 60


def test_missing_files_are_named_with_the_folders_that_were_searched(mnist, tmp_path):
    write(mnist, tmp_path)
    (tmp_path / FILES[1]).unlink()
    with pytest.raises(ValueError) as error:
        SequentialMNIST(str(tmp_path)).setup("fit")
    assert str(error.value) == (
        f"folder='{tmp_path}' lacks train-labels-idx1-ubyte (or the same with .gz); "
        f"looked in: {tmp_path}, {tmp_path}/raw, {tmp_path}/MNIST/raw"
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a", b"P5 4 3", "begins with bytes 50 35 20 34; expected 00 00 08, an IDX file of bytes"),
        ("a", b"", "begins with bytes ; expected 00 00 08"),
        ("a", idx(torch.arange(12).reshape(3, 4))[:-1], "holds 11 values; its header says 3 x 4"),
        ("a", idx(torch.arange(12).reshape(3, 4)) + b"x", "holds 13 values; its header says 3 x 4"),
        ("a", b"\0\0\x08\x03\0\0", "ends after 6 bytes; its header alone needs 16"),
        ("a.gz", b"not zipped", "cannot be unzipped"),
        ("a.gz", gzip.compress(b"abc" * 100, mtime=0)[:-12], "cannot be unzipped"),
    ],
)
def test_a_file_that_is_no_idx_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_idx(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_pictures_and_labels_must_be_equally_many(mnist, tmp_path):
    write(mnist | {FILES[3]: torch.arange(9)}, tmp_path)
    with pytest.raises(ValueError, match=r"t10k: images of shape \(10, 4, 3\), labels of shape \(9,\)"):
        SequentialMNIST(str(tmp_path)).setup("fit")
