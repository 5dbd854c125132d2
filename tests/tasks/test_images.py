"""What all image tasks share: splits by class and one permutation."""

import torch
from sklearn.datasets import load_digits

from rnn_diag.tasks import Digits


def test_every_class_has_its_tenth_in_validation_and_test():
    counts = torch.from_numpy(load_digits().target).bincount()
    for split in ("validation", "test"):
        assert torch.equal(Digits(seed=5).images[split].labels.bincount(), (counts * 0.1).round().long())


def test_permutation_is_one_for_all_pictures_and_splits_and_follows_the_seed():
    plain, shuffled = Digits(), Digits(permuted=True)
    order = torch.randperm(64, generator=shuffled.generator("train"))
    for split in ("train", "test"):
        assert torch.equal(shuffled.sequences(split).whole.inputs, plain.sequences(split).whole.inputs[:, order])
    first = Digits(permuted=True, seed=1).as_sequences(plain.images["test"].pixels)
    assert not torch.equal(first, shuffled.as_sequences(plain.images["test"].pixels))
