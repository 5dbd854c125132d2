"""Scikit-learn's digits as sequences."""

import torch
from sklearn.datasets import load_digits

from rnn_diag.tasks import Digits


def test_digits_are_read_row_by_row_or_pixel_by_pixel_in_reading_order():
    rows, pixels = Digits(by="row").sequences("test").whole, Digits(by="pixel").sequences("test").whole
    assert rows.inputs.shape[1:] == (8, 8) and pixels.inputs.shape[1:] == (64, 1)
    assert torch.equal(rows.inputs.flatten(1), pixels.inputs.flatten(1))
    assert torch.equal(rows.targets, pixels.targets)


def test_every_digit_of_the_collection_is_in_exactly_one_split():
    splits = [Digits().images[split] for split in ("train", "validation", "test")]
    together = torch.cat([torch.cat([s.pixels.flatten(1) * 16, s.labels[:, None]], dim=1) for s in splits]).tolist()
    data = load_digits()
    expected = [
        [*image.flatten().tolist(), float(label)] for image, label in zip(data.images, data.target, strict=True)
    ]
    assert sorted(together) == sorted(expected)


def test_baseline_of_digits_is_the_accuracy_of_the_most_frequent_class():
    task = Digits()
    majority = task.images["train"].labels.mode().values
    expected = (task.images["validation"].labels == majority).double().mean().item()
    assert task.spec.baseline == {"accuracy": expected}
    assert 0.05 < expected < 0.15
