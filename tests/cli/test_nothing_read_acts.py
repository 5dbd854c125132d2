"""Whatever lies in the folder of a checkpoint or in a report is read, or refused in one line; nothing of it acts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn

from rnn_diag.cli.build import check_targets
from rnn_diag.cli.doctor import _composed, _load, _overrides_of, _plain, main
from rnn_diag.models import SequenceRegressor

FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

TARGETS = st.sampled_from([
    "torch.nn.LSTM",
    "torch.optim.Adam",
    "rnn_diag.nn.LSTM",
    "rnn_diag.tasks.Adding",
    "lightning.pytorch.trainer.trainer.os.system",
    "os.system",
])  # fmt: skip
KEYS = st.sampled_from([
    "task", "task.seed", "task._target_", "task.path", "task@cell", "cell", "cell._target_", "cell.equations", "model",
    "initialization", "initialization.x", "optimizer.x", "optimizer._args_", "hydra.searchpath", "hydra/launcher",
    "trainer.gradient_clip_val", "seed", "experiment", "sweep", "output_dir", "defaults", "checkpoint",
])  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(
        ["adding", "lstm", "[chrono]", "null", "1", "../../x", "${seed}", "'${oc.env:HOME}'", "[file://.]"]
    ),
    TARGETS,
    TARGETS.map(lambda name: f"{{_target_: {name}, command: 'exit 3'}}"),
    TARGETS.map(lambda name: f"[{{_target_: {name}, _args_: [1]}}]"),
    st.text(max_size=12),
)
WORDS = st.builds("{}{}={}".format, st.sampled_from(["", "+", "++", "~"]), KEYS, VALUES)


def mutated(content: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy for bytes that differ from given ones in a few positions, or end early."""
    positions = st.integers(0, len(content) - 1)
    edits = st.dictionaries(positions, st.integers(0, 255), max_size=4)

    def edited(changes: dict[int, int], end: int) -> bytes:
        made = bytearray(content)
        for position, value in changes.items():
            made[position] = value
        return bytes(made[:end])

    return st.builds(edited, edits, positions | st.just(len(content)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with an empty checkpoint."""
    made = tmp_path_factory.mktemp("run")
    for name in (".hydra", "checkpoints"):
        (made / name).mkdir()
    torch.save({"state_dict": {}}, made / "checkpoints" / "last.ckpt")
    return made


@pytest.mark.parametrize(
    "word",
    [
        "++task.x={_target_: lightning.pytorch.Trainer}",
        "trainer.gradient_clip_val={_target_: lightning.pytorch.Trainer}",
        "++initialization.x={_target_: rnn_diag.tasks.Adding}",
        "++task.x={_target_: rnn_diag.nn.LSTM, _partial_: true}",
        "++cell.x={_recursive_: false, y: {_target_: os.mkdir}}",
        "++scheduler._target_=rnn_diag.models.SequenceClassifier",
    ],
)
def test_what_may_be_called_may_be_called_where_it_belongs_alone(word: str) -> None:
    with pytest.raises(ValueError, match="comes with the checkpoint and would be called"):
        check_targets(_composed(_plain(["task=adding", "cell=rnn", word])))


def test_a_sweep_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="requires --multirun"):
        _composed(["task=adding", "task.seed=choice(1,2)"])


@pytest.mark.timeout(60)
def test_overrides_that_grow_when_they_are_read_are_refused_at_once(folder: Path) -> None:
    levels = [f"- &a{k} [{','.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 9)]
    for content in ("\n".join(["- &a0 [x]", *levels]), "[" * 20_000, "- a\n" * 1_000_000):
        (folder / ".hydra" / "overrides.yaml").write_text(content)
        with pytest.raises(ValueError, match="cannot be read as the overrides of a run"):
            _overrides_of(str(folder / "checkpoints" / "last.ckpt"))


@FEW
@given(words=st.lists(WORDS, max_size=4))
def test_words_that_pass_pick_a_choice_or_set_an_option(words: list[str]) -> None:
    try:
        passed = _plain(words)
    except ValueError as refused:
        assert "comes with the checkpoint" in str(refused)
    else:
        assert set(passed) <= set(words)
        for key, _, value in (word.partition("=") for word in passed):
            assert not set("@/~") & set(key) and "${" not in value
            assert "." in key or not key.startswith("+")
            assert not key.lstrip("+").startswith(("hydra", "callbacks", "logger", "output_dir", "checkpoint", "sweep"))


@FEW
@given(
    content=st.one_of(st.binary(max_size=40), mutated(b"- task=adding\n- '++cell.num_layers=2'\n- a: [b, {c: d}]\n"))
)
def test_overrides_are_a_list_of_words_or_refused(folder: Path, content: bytes) -> None:
    (folder / ".hydra" / "overrides.yaml").write_bytes(content)
    try:
        words = _overrides_of(str(folder / "checkpoints" / "last.ckpt"))
    except ValueError as refused:
        assert "cannot be read as the overrides of a run" in str(refused)
    else:
        assert all(type(word) is str for word in words)


@FEW
@given(data=st.data())
def test_a_damaged_checkpoint_gives_weights_or_one_error(folder: Path, data: st.DataObject) -> None:
    model = SequenceRegressor(nn.LSTM(2, 2, batch_first=True), 2, 1)
    file = folder / "damaged.ckpt"
    torch.save({"state_dict": model.state_dict()}, file)
    file.write_bytes(data.draw(mutated(file.read_bytes())))
    try:
        _load(model, str(file))
    except ValueError as refused:
        assert "damaged.ckpt" in str(refused) and "\n" not in str(refused)


NAMES = st.sampled_from(["findings", "vitals", "step", "a"])
LEAVES = st.none() | st.booleans() | st.floats() | st.text(max_size=5)
TREES = st.recursive(
    LEAVES, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(NAMES, inside, max_size=3)
).map(lambda value: json.dumps(value).encode())
REPORT = json.dumps({"findings": [{"id": "a", "severity": "warning", "layer": "l"}], "measured": ["l"]}).encode()


@FEW
@given(content=st.binary(max_size=30) | mutated(REPORT) | TREES)
@example(content=b'{"findings": [], "vitals": null}')
@example(content=b'{"findings": [], "vitals": {"findings": null}}')
@example(content=b"[" * 100_000)
def test_a_report_that_is_none_is_refused_in_one_line(folder: Path, content: bytes) -> None:
    (folder / "report.json").write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        main(["--compare", str(folder / "report.json"), str(folder / "report.json")])
    assert str(ended.value.code).startswith("rnn-diag-doctor: ") and "\n" not in str(ended.value.code)
