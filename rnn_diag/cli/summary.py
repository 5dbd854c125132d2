"""The tables at the end of a run: metrics beside baselines, headline diagnostics, and where to look further."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from rnn_diag.callbacks.attachment import DiagnosticCallback
from rnn_diag.callbacks.concern import statistics_of
from rnn_diag.cli.build import Run
from rnn_diag.doctor.finding import number
from rnn_diag.measurements.statistics import Statistic
from rnn_diag.reporting.layout import Statistics
from rnn_diag.terminal import Console, Table, Text

STAGES: Final = ("train", "val", "test", "baseline")
"""First words of the metrics that models log; what else is named `<diagnostic>/<layer>/<statistic>` is a diagnostic."""

STATISTICS_PER_LAYER: Final = 5
"""How many numbers are shown of a diagnostic that declares no headlines."""


def print_summary(run: Run, seconds: float, output_dir: str, console: Console | None = None) -> None:
    """Print what a finished run reached; nothing on ranks other than zero."""
    if run.trainer.global_rank != 0:
        return
    console = console or Console()
    console.print(Text(f"\n{_headline(run, seconds)}", "bold"))
    console.print(_metrics(run))
    metrics = {name: float(value) for name, value in run.trainer.callback_metrics.items()}
    diagnostics = _diagnostics(metrics, _declared(run))
    if diagnostics.row_count:
        console.print(Text("\nWhat happened inside, when last measured", "bold"))
        console.print(diagnostics)
    console.print(f"baseline: {run.task.spec.baseline_meaning}", highlight=False, soft_wrap=True)
    where = os.path.relpath(_run_or_sweep(output_dir))
    if run.best is not None and run.best.best_model_path:
        console.print(f"best checkpoint: {os.path.relpath(run.best.best_model_path)}", highlight=False, soft_wrap=True)
    if run.best is not None:
        console.print(
            _continuation(run, run.best.last_model_path or run.best.best_model_path), highlight=False, soft_wrap=True
        )
    if any(type(logger).__name__ == "TensorBoardLogger" for logger in run.trainer.loggers):
        how = Text("to see the curves and pictures: ").append(f"tensorboard --logdir {where}", "bold")
        console.print(how, soft_wrap=True)
    else:
        console.print(f"results: {where}", highlight=False, soft_wrap=True)


def _continuation(run: Run, last: str) -> str:
    """Return how to continue the run from its last checkpoint."""
    if not last:
        return "no checkpoint was written yet; the same command starts anew"
    trainer, more = run.trainer, ""
    if 0 <= trainer.max_steps <= trainer.global_step:
        more = " and a larger trainer.max_steps"
    elif trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch:
        more = " and a larger trainer.max_epochs"
    return f"to continue: the same command with checkpoint={os.path.relpath(last)}{more}"


def _run_or_sweep(output_dir: str) -> Path:
    """Return the folder of the sweep that the run belongs to, so that its runs are seen together, or else the run's."""
    run = Path(output_dir)
    return run.parent if (run.parent / "multirun.yaml").is_file() else run


def _headline(run: Run, seconds: float) -> str:
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    return (
        f"{type(run.task).__name__} · {type(run.model.recurrent).__name__} · {parameters:,} parameters · "
        f"{run.trainer.global_step:,} steps · {_duration(seconds)}"
    )


def _metrics(run: Run) -> Table:
    table = Table("metric")
    for column in ("last", "best", "baseline"):
        table.add_column(column, justify="right")
    metrics, baselines = run.trainer.callback_metrics, run.task.spec.baseline
    for name in sorted(name for name in metrics if name.split("/")[0] in STAGES[:3]):
        best = run.best.best_model_score if run.best is not None and run.best.monitor == name else None
        metric = name.split("/", 1)[1]
        known_nothing = baselines.get(run.model.loss_name if metric == "loss" else metric)
        table.add_row(name, _number(float(metrics[name])), _number(best), _number(known_nothing))
    return table


def _declared(run: Run) -> Statistics:
    """Return the statistics of this package's diagnostics, and those that the run's own declare."""
    callbacks = [one for one in run.trainer.callbacks if isinstance(one, DiagnosticCallback)]  # type: ignore[attr-defined]
    return statistics_of(concern for callback in callbacks for concern in callback.diagnostics)


def _diagnostics(metrics: Mapping[str, float], statistics: Statistics) -> Table:
    table = Table("diagnostic", "layer", "statistic")
    table.add_column("value", justify="right")
    previous: tuple[str, str] | None = None
    for diagnostic, layer, statistic, value in _headlines(metrics, statistics):
        shown = ("", "") if (diagnostic, layer) == previous else (diagnostic, layer)
        table.add_row(*shown, statistic, _number(value))
        previous = (diagnostic, layer)
    return table


def _headlines(metrics: Mapping[str, float], declared: Statistics) -> Iterator[tuple[str, str, str, float]]:
    """Yield diagnostic, layer, statistic and value."""
    layers: dict[tuple[str, str], list[str]] = {}
    for name in sorted(metrics):
        diagnostic, _, rest = name.partition("/")
        layer, _, statistic = rest.partition("/")
        if diagnostic not in STAGES and statistic:
            layers.setdefault((diagnostic, layer), []).append(statistic)
    for (diagnostic, layer), statistics in layers.items():
        for statistic in _shown(statistics, declared.get(diagnostic, ())):
            yield diagnostic, layer, statistic, metrics[f"{diagnostic}/{layer}/{statistic}"]


def _shown(names: Sequence[str], declared: Sequence[Statistic]) -> Sequence[str]:
    """Return the names of a diagnostic's headlines, in the order in which it declares them; else the first few."""
    if not declared:
        return names[:STATISTICS_PER_LAYER]
    headlines = (one for one in declared if one.headline)
    return [name for one in headlines for name in names if fnmatchcase(name, one.glob)]


def _number(value: object) -> str:
    return "" if value is None else number(float(value), digits=4)  # type: ignore[arg-type]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
