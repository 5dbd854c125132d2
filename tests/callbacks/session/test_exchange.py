"""Several ranks measure, log and say what one process does that trains on the mean of their losses."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from rnn_diag.callbacks.session import session
from rnn_diag.callbacks.session.exchange import RankReport, merged, seen_by_any
from rnn_diag.callbacks.session.wire import SIZE, Wire
from rnn_diag.coverage import Coverage, Status
from rnn_diag.doctor import Report
from tests.callbacks.ranks import Network, Packing, ReadingPadding, Sharded, Sparing, fit, on_ranks

CASES: dict[str, dict[str, Any]] = {
    "unequal lengths": {"kind": Packing},
    "padding on one rank": {"kind": ReadingPadding, "preflight": "report"},
    "unused parameters, and a layer that a rank never reaches": {"kind": Sparing},
    "accumulated batches": {"kind": Network, "batches": 4, "accumulate": 2},
}


def test_what_failed_on_one_rank_is_left_out_of_all():
    problems = {"lost": "why"}
    found = merged(problems, [{("seen", "l0"): 1, ("lost", "l0"): 1}, {("seen", "l0"): 2, ("seen", "l1"): 4}])
    assert found == {("seen", "l0"): 3, ("seen", "l1"): 4}


def test_what_cannot_be_added_up_is_a_problem_of_its_measure():
    problems: dict[str, str] = {}
    assert merged(problems, [{("a", "l0"): 1, ("b", "l0"): 1}, {("a", "l0"): "one", ("b", "l0"): 2}]) == {
        ("b", "l0"): 3
    }
    assert problems["a"].startswith("TypeError")


def test_a_layer_that_ran_on_any_rank_ran():
    silent, ran = (Coverage("l0", "GRU", status, "") for status in (Status.NEVER_RAN, Status.EXACT))
    assert seen_by_any([[silent], [ran]]) == {"l0": ran}


def test_what_cannot_be_sent_is_a_problem_of_its_measure_and_the_rest_is_sent():
    report = RankReport.from_bytes(RankReport(found={("a", "l0"): lambda: 0, ("b", "l0"): 2}).to_bytes())
    assert report.found == {("b", "l0"): 2}
    assert list(report.problems) == ["a"]
    assert RankReport.from_bytes(report.to_bytes()) == report


class Fails(pl.Callback):
    """Breaks rank one alone at its third batch: what it measures, or a hook outside of that."""

    def __init__(self, what: str) -> None:
        self.what = what

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_rank == 1 and trainer.global_step == 2:
            session = trainer.callbacks[1]._session
            if self.what == "measure":
                session._plan.measures["gradient_norms"] = type("Failing", (), {"needs": Named, "pending": fail})()
            else:
                session.backward_ends = fail


class Named:
    gradients = equations = weights_only = False


def fail(*_: Any) -> None:
    raise ValueError("rank one only")


class Counted(pl.Callback):
    """Counts the collectives that this package calls at each batch, and the bytes that a rank sends by them."""

    def __init__(self) -> None:
        self.sent: list[list[int]] = [[]]
        for name in ("all_gather", "all_gather_object", "all_gather_into_tensor", "all_reduce", "broadcast", "barrier"):
            setattr(torch.distributed, name, self.watched(getattr(torch.distributed, name)))

    def watched(self, original: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if sys._getframe(1).f_globals["__name__"].startswith("rnn_diag."):
                self.sent[-1].append(sum(one.nbytes for one in arguments if isinstance(one, torch.Tensor)))
            return original(*arguments, **options)

        return call

    def on_train_batch_start(self, *_: Any) -> None:
        self.sent.append([])


def sized(steps: int, units: int, sequences: int) -> type[Network]:
    class Sized(Network):
        def build(self) -> None:
            self.encoder = torch.nn.LSTM(3, units, batch_first=True)

        @staticmethod
        def batch(number: int, rank: int) -> dict[str, torch.Tensor]:
            return {"inputs": torch.randn(sequences, steps, 3)}

    return Sized


SIZES = [(5, 4, 2), (5, 4, 80), (5, 300, 2), (200, 4, 2)]


def all_of_it(rank: int, folder: Path) -> dict[str, Any]:
    """Return what one of two ranks ends all cases with."""
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        printed = io.StringIO()
        with redirect_stdout(printed):
            found[name] = fit(folder=folder / name / str(rank), ranks=2, rank=rank, **case)
        found[name]["printed"] = printed.getvalue()
    parallel = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1, process_group_backend="gloo")
    found["sharded"] = fit(Sharded, folder / "sharded" / str(rank), 2, rank, parallel)
    for what in ("measure", "hook"):
        found[what] = fit(Network, folder / what / str(rank), 2, rank, batches=3, others=[Fails(what)])
    found["refused"] = fit(ReadingPadding, folder / "refused" / str(rank), 2, rank, preflight="warning")
    with pytest.MonkeyPatch.context() as patch:  # as on a device that computes while training continues
        patch.setattr(session, "trains_on_cpu", lambda trainer: False)
        found["later"] = fit(Packing, folder / "later" / str(rank), 2, rank, batches=3)
        found["later, and fails"] = fit(
            Network, folder / "fails" / str(rank), 2, rank, batches=3, others=[Fails("hook")]
        )
    return found


def counted(rank: int, folder: Path) -> dict[str, Any]:
    """Return what the wire carries at each measured step."""
    by_size = []
    for number, size in enumerate(SIZES):
        counts = Counted()
        torch.manual_seed(rank)
        fit(sized(*size), folder / str(number) / str(rank), 2, rank, batches=4, others=[counts])
        by_size.append(counts.sent[1:4])
    wire, texts = Wire(), [bytes([rank]) * length for length in (3, SIZE * (1 + 4 * rank), 5)]
    trainer = pl.Trainer(logger=False, enable_checkpointing=False)
    gathered = [wire.gather(trainer, text) for text in texts]
    return {"sent": by_size, "gathered": gathered, "size": wire.size}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def two(folder: Path) -> list[dict[str, Any]]:
    return on_ranks(2, lambda rank: all_of_it(rank, folder))


def series(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """Return all tensors in a run's log, by tag."""
    log = EventAccumulator(str(folder), {"tensors": 0}).Reload()
    tags = [tag for tag in log.Tags()["tensors"] if tag.startswith("rnn_diag/") and "/cost" not in tag]
    tags = [tag for tag in tags if not tag.endswith("text_summary")]
    return {tag: [(one.step, tensor_util.make_ndarray(one.tensor_proto)) for one in log.Tensors(tag)] for tag in tags}


def numbers(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.endswith(("overhead", "fidelity", "n_steps"))}


def equal(ranks: list[dict[str, Any]], alone: dict[str, Any], every: int = 1) -> None:
    """Check that ranks end as one process does, and show the same after each of their updates."""
    for rank in ranks:
        assert rank["step"] == alone["step"]
        assert numbers(rank["last"]) == pytest.approx(numbers(ranks[0]["last"]), rel=0, abs=0, nan_ok=True)
        for mine, other in [*zip(rank["metrics"], alone["metrics"], strict=False)][every - 1 :: every]:
            assert numbers(mine) == pytest.approx(numbers(other), rel=1e-4, abs=1e-6, nan_ok=True)
        assert rank["findings"] == alone["findings"]
        for layer, vitals in alone["vitals"].items():
            for name, value in vitals.items():
                if isinstance(value, float) and name not in ("fidelity", "rounding"):
                    assert rank["vitals"][layer][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_show_and_find_what_one_process_does(name: str, two: list[dict[str, Any]], folder: Path) -> None:
    case = CASES[name]
    alone = fit(folder=folder / name / "alone", ranks=2, **case)
    assert {"gradient_norms", "memory_horizon", "spectrum", "saturation", "gate_weights"} <= {
        tag.partition("/")[0] for tag in alone["last"]
    }
    equal([one[name] for one in two], alone, case.get("accumulate", 1))
    shown, expected = (series(folder / name / which) for which in ("0", "alone"))
    assert shown.keys() == expected.keys()
    for tag, events in expected.items():
        for (step, values), (at, other) in zip(shown[tag], events, strict=True):
            assert step == at
            if values.dtype.kind == "f":
                np.testing.assert_allclose(values.astype(float), other.astype(float), rtol=0.01, atol=0.01, err_msg=tag)


def test_rank_zero_alone_prints_and_writes(two: list[dict[str, Any]], folder: Path) -> None:
    for name in CASES:
        assert two[0][name]["printed"].count("rnn_diag: recurrent layers") == 1
        assert two[1][name]["printed"] == ""
    printed = two[0]["padding on one rank"]["printed"]
    assert printed.count("Every layer and direction") == printed.count("What the doctor found at step") == 1
    written = [one.relative_to(folder).parts[1] for one in folder.rglob("*") if one.is_file()]
    assert set(written) <= {"0", "alone"}
    report = Report.read(folder / "padding on one rank" / "0" / "doctor.json")
    assert {"padding_read", "dead_direction"} <= {one.id for one in report.findings}


def test_what_is_read_at_the_next_batchs_end_is_what_one_process_shows(two: list[dict[str, Any]], folder: Path) -> None:
    alone = fit(folder=folder / "later" / "alone", kind=Packing, ranks=2, batches=3)
    equal([rank["later"] | {"metrics": []} for rank in two], alone)
    shown, expected = (series(folder / "later" / which) for which in ("0", "alone"))
    assert {tag: [step for step, _ in events] for tag, events in shown.items()} == {
        tag: [step for step, _ in events] for tag, events in expected.items()
    }


def test_sharded_weights_give_the_numbers_of_one_process(two: list[dict[str, Any]], folder: Path) -> None:
    alone = fit(Sharded, folder / "sharded" / "alone", 2)["last"]
    for rank in two:
        found = rank["sharded"]["last"]
        compared = [name for name in numbers(alone) if name in found or not name.startswith("gate_weights")]
        assert any(name.startswith("memory_horizon") for name in compared)
        assert {name: found[name] for name in compared} == pytest.approx(
            {name: alone[name] for name in compared}, rel=1e-4, abs=1e-6, nan_ok=True
        )


@pytest.mark.parametrize("what", ["measure", "hook", "later, and fails"])
def test_an_error_on_one_rank_leaves_the_same_out_on_both_and_training_ends(
    what: str, two: list[dict[str, Any]]
) -> None:
    first, second = (rank[what] for rank in two)
    assert first["step"] == second["step"] == 3
    assert first["last"] == pytest.approx(second["last"], rel=0, abs=0, nan_ok=True)


def test_all_ranks_refuse_a_bad_start_for_the_same_reason(two: list[dict[str, Any]]) -> None:
    first, second = (rank["refused"] for rank in two)
    assert first["step"] == second["step"] == 0
    assert first["refused"].startswith("pre-flight: warning: encoder.l0")
    assert first["refused"] == second["refused"]


def test_a_measured_step_costs_one_collective_of_the_same_bytes_whatever_steps_units_and_sequences_are(
    tmp_path: Path,
) -> None:
    for rank in on_ranks(2, lambda rank: counted(rank, tmp_path)):
        assert rank["sent"] == [[[SIZE]] * 3] * len(SIZES)
        small, large, again = rank["gathered"]
        assert small == [bytes(3), b"\x01" * 3] and again == [bytes(5), b"\x01" * 5]
        assert [len(one) for one in large] == [SIZE, 5 * SIZE]
        assert rank["size"] == 8 * SIZE


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["unequal lengths", "unused parameters, and a layer that a rank never reaches"])
def test_four_ranks_show_what_one_process_does(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    four = on_ranks(4, lambda rank: fit(folder=tmp_path / str(rank), ranks=4, rank=rank, **case))
    equal(four, fit(folder=tmp_path / "alone", ranks=4, **case))


class Writes(pl.Callback):
    """Writes down what a rank ends with, which Lightning's launchers do not return."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_fit_end(self, trainer: pl.Trainer, *_: Any) -> None:
        content = {name: float(value) for name, value in trainer.callback_metrics.items()}
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(content))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_notebook"])
def test_ranks_that_lightning_starts_show_what_one_process_does(strategy: str, tmp_path: Path) -> None:
    alone = fit(Started, tmp_path / "alone", 2, others=[Writes(tmp_path)])["last"]
    fit(Started, tmp_path / "two", 2, strategy=strategy, rank=0, others=[Writes(tmp_path)])
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert numbers(found) == pytest.approx(numbers(alone), rel=1e-4, abs=1e-6, nan_ok=True)


class Started(Network):
    """Has the same batch on every rank, as which one they are is not known when they are started."""

    @staticmethod
    def batch(number: int, rank: int) -> dict[str, torch.Tensor] | None:
        return Network.batch(number, 0)
