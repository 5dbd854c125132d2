"""The language model's streams: contiguous, disjoint over processes, with an honest baseline."""

import lightning.pytorch as pl
import pytest
import torch

from rnn_diag.tasks.source_text import SourceText, Streams, unigram_bits


class FakeTrainer:
    """What a task reads of a trainer."""

    def __init__(self, world_size, global_rank):
        self.world_size = world_size
        self.global_rank = global_rank


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("".join(f"{n}," for n in range(2000)))
    return str(file)


def test_rows_of_the_next_batch_go_on_where_the_last_one_ended(path):
    task = SourceText(path, sequence_length=7, batch_size=4)
    batches = list(task.train_dataloader())
    assert [batch.continues for batch in batches] == [False] + [True] * (len(batches) - 1)
    rows = torch.cat([batch.inputs for batch in batches], dim=1)
    targets = torch.cat([batch.targets for batch in batches], dim=1)
    text = task.tokens["train"].long()
    stretch = rows.shape[1]
    assert stretch == (len(text) - 1) // 4 // 7 * 7
    assert torch.equal(rows.flatten(), text[: 4 * stretch])
    assert torch.equal(targets.flatten(), text[1 : 4 * stretch + 1])


@pytest.mark.parametrize("world_size", [2, 3])
def test_each_process_reads_its_own_streams_and_together_they_read_one_batch_of_all(path, world_size):
    ranks = []
    for rank in range(world_size):
        task = SourceText(path, sequence_length=7, batch_size=2)
        task.trainer = FakeTrainer(world_size, rank)
        ranks.append(list(task.train_dataloader()))
    alone = list(SourceText(path, sequence_length=7, batch_size=2 * world_size).train_dataloader())
    assert [len(batches) for batches in ranks] == [len(alone)] * world_size
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert {part.continues for part in parts} == {whole.continues}
        for rank, part in enumerate(parts):
            assert torch.equal(part.inputs, whole.inputs[rank::world_size])
            assert torch.equal(part.targets, whole.targets[rank::world_size])


def test_workers_deliver_the_same_batches(path):
    alone = SourceText(path, sequence_length=7, batch_size=4).train_dataloader()
    with_worker = SourceText(path, sequence_length=7, batch_size=4, num_workers=1).train_dataloader()
    for one, other in zip(alone, with_worker, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert one.continues == other.continues


def test_streams_leave_out_less_than_one_piece_each():
    streams = Streams(torch.arange(100), streams=3, piece=10)
    assert len(streams) == 9
    assert streams[4].inputs.tolist() == [list(range(40, 50))]


def test_unigram_bits_of_even_frequencies_are_the_logarithm_of_their_number():
    assert unigram_bits(torch.arange(8), torch.tensor([3, 3, 5]), tokens=8) == pytest.approx(3, abs=1e-12)


def test_unigram_bits_count_one_more_of_every_token():
    assert unigram_bits(torch.tensor([0, 0, 1]), torch.tensor([2]), tokens=3) == pytest.approx(2.584962500721156)


def test_baseline_is_the_cost_of_the_validation_text(path):
    task = SourceText(path, sequence_length=7, batch_size=4)
    train = task.vocabulary.decode(task.tokens["train"])
    tokens = len(task.vocabulary)
    shares = {c: (train.count(c) + 1) / (len(train) + tokens) for c in set(train)}
    validation = task.vocabulary.decode(task.tokens["validation"])
    expected = -sum(torch.log2(torch.tensor(shares[c], dtype=torch.float64)) for c in validation) / len(validation)
    assert task.spec.baseline["bits_per_character"] == pytest.approx(float(expected), rel=1e-12)


def test_default_corpus_is_real_text_with_a_baseline_between_four_and_seven_bits():
    task = SourceText(max_characters=200_000)
    assert 4 < task.spec.baseline["bits_per_character"] < 7
    assert task.spec.input_size == task.spec.output_size == len(task.vocabulary)
    assert task.spec.target == "next_token"
    assert "#include" in task.corpus["train"][0].text or "#pragma" in task.corpus["train"][0].text


def test_short_validation_text_is_read_in_fewer_streams(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("abcdefghij" * 100)
    task = SourceText(str(file), sequence_length=20, batch_size=8)
    (batch, *_) = task.val_dataloader()
    assert batch.inputs.shape == (2, 20)


def test_a_text_too_short_says_how_many_characters_are_needed(path):
    with pytest.raises(ValueError, match=r"sequence_length=9000 in 4 stream\(s\) needs 36001 characters") as error:
        _ = SourceText(path, sequence_length=9000, batch_size=4).spec
    assert "\n" not in str(error.value)


def test_validation_text_shorter_than_a_sequence_is_an_error_too(path):
    task = SourceText(path, sequence_length=1000, batch_size=1)
    with pytest.raises(ValueError, match="the validation text of path="):
        task.val_dataloader()


class CountingModel(pl.LightningModule):
    """Records what it is fed."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.fed = []

    def training_step(self, batch, batch_idx):
        self.fed.append((batch.continues, batch.inputs.shape))
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_lightning_feeds_whole_batches_with_their_continuation(path, tmp_path):
    task = SourceText(path, sequence_length=100, batch_size=4)
    model = CountingModel()
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, datamodule=task)
    batches = len(model.fed) // 2
    assert model.fed == ([(False, (4, 100))] + [(True, (4, 100))] * (batches - 1)) * 2
