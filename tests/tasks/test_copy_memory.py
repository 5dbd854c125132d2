"""Copy memory: symbols asked for in order, long after."""

import torch

from rnn_diag.tasks import CopyMemory


def whole(task):
    return task.sequences("train").whole


def test_copy_memory_asks_for_the_symbols_in_order_at_the_end_only():
    inputs, targets, lengths, _ = whole(CopyMemory(delay=4, symbols=3, alphabet=5, train_size=20))
    assert lengths is None
    assert (inputs[:, :3] < 5).all()
    assert inputs[:, 3:].tolist() == [[5, 5, 5, 6, 5, 5, 5]] * 20
    assert (targets[:, :7] == -100).all()
    assert torch.equal(targets[:, 7:], inputs[:, :3])


def test_every_symbol_of_copy_memory_is_equally_frequent():
    targets = whole(CopyMemory(delay=1, symbols=10, alphabet=4, train_size=10_000)).targets
    shares = torch.bincount(targets[targets >= 0]) / 100_000
    assert torch.allclose(shares, torch.full((4,), CopyMemory(alphabet=4).spec.baseline["accuracy"]), atol=0.01)
