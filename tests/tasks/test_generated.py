"""The generated tasks: what each sequence must hold, and that the stated baselines are what guessing reaches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_diag.tasks import Adding, CopyMemory, TemporalOrder, Timing
from rnn_diag.tasks.generated import draw_integers


def whole(task):
    return task.sequences("train").whole


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.data())
def test_adding_sums_the_two_marked_values_one_in_each_half(steps, data):
    shortest = data.draw(st.none() | st.integers(2, steps))
    inputs, targets, lengths, _ = whole(Adding(steps, shortest, train_size=30))
    for row in range(30):
        length = steps if lengths is None else int(lengths[row])
        assert (shortest or steps) <= length <= steps
        values, marks = inputs[row].T
        first, second = torch.nonzero(marks)[:, 0].tolist()
        assert first < length // 2 <= second < length
        assert targets[row].item() == pytest.approx(values[first].item() + values[second].item(), abs=1e-6)
        assert (inputs[row, length:] == 0).all()


def test_answering_one_costs_a_sixth_on_adding():
    targets = whole(Adding(20, train_size=200_000)).targets
    assert (targets - 1).square().mean().item() == pytest.approx(Adding().spec.baseline["mse"], rel=0.01)


def test_marked_steps_are_spread_evenly_over_their_halves():
    marks = whole(Adding(10, train_size=50_000)).inputs[:, :, 1].mean(dim=0)
    assert torch.allclose(marks, torch.full((10,), 0.2), atol=0.01)


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


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 80), st.data())
def test_temporal_order_names_the_two_symbols_in_order(steps, data):
    shortest = data.draw(st.none() | st.integers(10, steps))
    inputs, targets, lengths, _ = whole(TemporalOrder(steps, shortest, train_size=30))
    for row in range(30):
        length = steps if lengths is None else int(lengths[row])
        text = "".join("abcdXYBE"[token] for token in inputs[row, :length])
        assert text[0] == "B" and text[-1] == "E"
        where = [step for step, symbol in enumerate(text) if symbol in "XY"]
        assert ["XX", "XY", "YX", "YY"][targets[row]] == "".join(text[step] for step in where)
        assert length // 10 <= where[0] < length // 5 and length // 2 <= where[1] < 3 * length // 5
        assert set(text[1:-1]) <= set("abcdXY")
        assert (inputs[row, length:] == 0).all()


def test_the_four_orders_are_equally_frequent():
    targets = whole(TemporalOrder(train_size=40_000)).targets
    assert torch.allclose(torch.bincount(targets) / 40_000, torch.full((4,), 0.25), atol=0.01)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 40))
def test_every_cue_is_followed_by_a_spike_after_the_interval_and_by_no_other(interval, extra):
    inputs, targets, _, _ = whole(Timing(interval, 2 * interval + extra, train_size=30))
    late = torch.zeros_like(targets)
    late[:, interval:] = inputs[:, :-interval]
    assert torch.equal(targets, late)
    assert (targets.sum(dim=(1, 2)) >= 1).all()
    for row in inputs[:, :, 0]:
        cues = torch.nonzero(row)[:, 0]
        assert cues[0] < interval
        assert ((cues.diff() > interval) & (cues.diff() <= 2 * interval)).all()


def test_free_running_spikes_follow_a_single_cue_for_ever():
    inputs, targets, _, _ = whole(Timing(5, 23, free_running=True, train_size=30))
    for cue, spikes in zip(inputs[:, :, 0], targets[:, :, 0], strict=True):
        (start,) = torch.nonzero(cue)[:, 0].tolist()
        assert torch.nonzero(spikes)[:, 0].tolist() == list(range(start + 5, 23, 5))


def test_baseline_of_timing_is_the_error_of_the_mean():
    task = Timing(10, 60)
    share = whole(task).targets.mean().item()
    assert task.spec.baseline["mse"] == pytest.approx(share * (1 - share), rel=0.02)


def test_drawn_integers_stay_within_their_own_bounds_and_reach_them():
    low, high = torch.tensor([0, 5, 7]).repeat(1000), torch.tensor([3, 6, 9]).repeat(1000)
    drawn = draw_integers(low, high, 3000, torch.Generator().manual_seed(0)).view(1000, 3)
    assert [sorted(set(column.tolist())) for column in drawn.T] == [[0, 1, 2], [5], [7, 8]]


def test_a_longer_training_set_does_not_change_its_baseline_task_or_validation():
    short, long = Adding(10, train_size=40), Adding(10, train_size=80)
    assert torch.equal(short.sequences("validation").whole.inputs, long.sequences("validation").whole.inputs)
