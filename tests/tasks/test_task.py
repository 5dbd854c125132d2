"""What every task promises: seeded data, an order that the seed decides, and shards that make up one batch."""

import copy
import pickle
from dataclasses import dataclass

import pytest
import torch

from rnn_diag.tasks import Adding, Braces, CopyMemory, Digits, SourceText, TemporalOrder, Timing
from tests.tasks.small import NEED_FILES, SMALL, small_task

NAMES = [name for name in SMALL if name not in NEED_FILES]
all_tasks = pytest.mark.parametrize("name", NAMES)


@dataclass
class FakeTrainer:
    """What a task reads of a trainer."""

    world_size: int
    global_rank: int


def equal(one, other):
    return all(
        (a is None and b is None) or (a == b if isinstance(a, bool) else torch.equal(a, b))
        for a, b in zip(one, other, strict=True)
    )


def same(batches, others):
    return all(equal(one, other) for one, other in zip(batches, others, strict=True))


@all_tasks
def test_every_batch_is_what_the_spec_says(name):
    task = small_task(name)
    spec = task.spec
    for loader in (task.train_dataloader(), task.val_dataloader(), task.test_dataloader()):
        batch = next(iter(loader))
        rows, steps = batch.inputs.shape[:2]
        assert rows == 4 and steps == spec.steps
        if spec.tokens:
            assert batch.inputs.dtype == torch.int64 and batch.inputs.shape == (rows, steps)
            assert batch.inputs.min() >= 0 and batch.inputs.max() < spec.input_size
        else:
            assert batch.inputs.dtype == torch.float32 and batch.inputs.shape == (rows, steps, spec.input_size)
        values = (spec.output_size,) if spec.target == "value" else ()
        assert batch.targets.shape == (rows, *((steps,) if spec.every_step else ()), *values)
        if spec.target != "value":
            counted = batch.targets[batch.targets != -100]
            assert batch.targets.dtype == torch.int64
            assert counted.min() >= 0 and counted.max() < spec.output_size


@all_tasks
def test_the_seed_decides_everything_and_the_global_random_state_nothing(name):
    torch.manual_seed(1)
    first = list(small_task(name, seed=3).train_dataloader())
    torch.manual_seed(2)
    before = torch.get_rng_state()
    task = small_task(name, seed=3)
    again = list(task.train_dataloader())
    list(task.val_dataloader())
    assert same(first, again)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "source_text"])
def test_another_seed_or_epoch_is_another_order(name):
    loader = small_task(name, seed=3).train_dataloader()
    first = list(loader)
    loader.sampler.set_epoch(1)
    assert not same(first, list(loader))
    loader.sampler.set_epoch(0)
    assert same(first, list(loader))
    assert not same(first, list(small_task(name, seed=4).train_dataloader()))


@all_tasks
def test_processes_together_see_the_batch_of_one_process(name):
    parts = []
    for rank in range(2):
        task = small_task(name)
        task.trainer = FakeTrainer(world_size=2, global_rank=rank)
        parts.append(list(task.train_dataloader()))
    task = small_task(name)
    task.batch_size = 8
    for whole, first, second in zip(task.train_dataloader(), *parts, strict=True):
        assert torch.equal(whole.inputs[0::2], first.inputs)
        assert torch.equal(whole.inputs[1::2], second.inputs)
        assert torch.equal(whole.targets[1::2], second.targets)


@all_tasks
def test_a_used_task_pickles_and_copies(name):
    task = small_task(name)
    first = list(task.train_dataloader())
    for other in (pickle.loads(pickle.dumps(task)), copy.deepcopy(task)):
        assert other.spec == task.spec
        assert same(first, list(other.train_dataloader()))


def test_splits_of_generated_tasks_differ():
    task = small_task("adding")
    splits = [task.sequences(split).whole.inputs[:10] for split in ("train", "validation", "test")]
    assert not torch.equal(splits[0], splits[1]) and not torch.equal(splits[1], splits[2])


def test_training_batches_are_all_full_and_validation_leaves_nothing_out():
    task = Adding(4, train_size=10, held_out_size=10, batch_size=4)
    assert [len(batch.inputs) for batch in task.train_dataloader()] == [4, 4]
    assert [len(batch.inputs) for batch in task.val_dataloader()] == [4, 4, 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adding(1), "sequence_length=1; expected a whole number of at least 2"),
        (lambda: Adding(-5), "sequence_length=-5; expected a whole number of at least 2"),
        (lambda: Adding(10, min_length=11), "min_length=11; expected at most sequence_length=10, or null"),
        (lambda: Adding(batch_size=0), "batch_size=0; expected a whole number of at least 1"),
        (lambda: Adding(num_workers=-1), "num_workers=-1; expected a whole number of at least 0"),
        (lambda: Adding(seed=-1), "seed=-1; expected a whole number of at least 0"),
        (lambda: Adding(train_size=0), "train_size=0; expected a whole number of at least 1"),
        (lambda: TemporalOrder(9), "sequence_length=9; expected a whole number of at least 10"),
        (lambda: CopyMemory(delay=0), "delay=0; expected a whole number of at least 1"),
        (lambda: CopyMemory(alphabet=1), "alphabet=1; expected a whole number of at least 2"),
        (lambda: Timing(10, 19), "sequence_length=19; expected a whole number of at least 20"),
        (lambda: Digits(by="column"), "by='column'; choices: pixel, row"),
        (lambda: Braces(max_depth=0), "max_depth=0; expected a whole number of at least 1"),
        (lambda: SourceText(sequence_length=0), "sequence_length=0; expected a whole number of at least 1"),
        (
            lambda: Adding(train_size=10, batch_size=11).train_dataloader(),
            "batch_size=11 on 1 process(es) needs that many training sequences each; Adding has 10 in all",
        ),
    ],
)
def test_a_value_that_cannot_be_is_answered_in_one_line(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize("value", [2.5, "10", True, None])
def test_a_number_of_the_wrong_type_is_a_type_error(value):
    with pytest.raises(TypeError, match="expected a whole number of at least 1"):
        Adding(batch_size=value)
