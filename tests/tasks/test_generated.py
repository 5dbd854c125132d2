"""What all generated tasks share: how integers and splits are drawn."""

import torch

from rnn_diag.tasks import Adding
from rnn_diag.tasks.generated import draw_integers


def test_drawn_integers_stay_within_their_own_bounds_and_reach_them():
    low, high = torch.tensor([0, 5, 7]).repeat(1000), torch.tensor([3, 6, 9]).repeat(1000)
    drawn = draw_integers(low, high, 3000, torch.Generator().manual_seed(0)).view(1000, 3)
    assert [sorted(set(column.tolist())) for column in drawn.T] == [[0, 1, 2], [5], [7, 8]]


def test_a_longer_training_set_does_not_change_its_baseline_task_or_validation():
    short, long = Adding(10, train_size=40), Adding(10, train_size=80)
    assert torch.equal(short.sequences("validation").whole.inputs, long.sequences("validation").whole.inputs)
