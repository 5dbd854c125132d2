"""The page of a run: the verdict, every layer's numbers, and the figures of its layers, the worst first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from html import escape
from typing import TYPE_CHECKING, Final

from rnn_diag.measurements.layer import STATISTICS
from rnn_diag.reporting.colours import GRID, INK, MUTED, STRIP
from rnn_diag.reporting.page.frame import folding, framed
from rnn_diag.reporting.page.picture import inlined, svg_of
from rnn_diag.reporting.run.figures import figures_of
from rnn_diag.reporting.run.logged import LoggedLayer, LoggedRun
from rnn_diag.tb.kinds.verdict import SEVERITIES
from rnn_diag.terminal.html import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN: Final = 6
"""Layers whose figures are drawn unless others are asked for: a figure takes a tenth of a second."""
COLOURS: Final = {INK: "currentColor", MUTED: "var(--faint)", GRID: "var(--line)", STRIP: "var(--raised)"}
OURS: Final = (*STATISTICS, "doctor", "rnn_diag", "epoch", "hp_metric")
"""First words of what is not shown as a metric of the run's own."""


def page_of(name: str, run: LoggedRun, *, layers: Sequence[str] = (), vitals: str = "", nothing_wrong: str = "") -> str:
    """Return the page of a run.

    Args:
        name: What the run is called.
        run: What its log holds.
        layers: Glob patterns of the layers whose figures are drawn; the worst few if there are none.
        vitals: Every layer's numbers as the doctor's last report has them, HTML; or empty.
        nothing_wrong: What is said where there is no finding.
    """
    order = sorted(run.layers, key=lambda layer: -_severity(run, layer))
    wanted = [layer for layer in order if any(fnmatchcase(layer, one) for one in layers)] if layers else order[:DRAWN]
    body = _opening(name, run) + _verdict(run, nothing_wrong)
    if vitals:
        body += folding("Every layer and direction", vitals, True)
    body += _metrics(run.metrics)
    left = len(order) - len(wanted)
    if left:
        others = f"figures of {left} more by <code>--layers PATTERN</code>"
        body += f'<p class="faint">Figures of {len(wanted)} layers, the worst first; {others}</p>\n'
    body += "".join(_layer(number, layer, run) for number, layer in enumerate(wanted))
    return framed(f"{name} · rnn_diag", body)


def _severity(run: LoggedRun, layer: str) -> int:
    return max((SEVERITIES.index(one["severity"]) for one in run.standing if one.get("layer") == layer), default=-1)


def _opening(name: str, run: LoggedRun) -> str:
    steps = [one.steps[-1] for layer in run.layers.values() for one in layer.series.values()] + list(run.verdicts)
    until = f" · measured until training step {max(steps)}" if steps else ""
    count = f"{len(run.layers)} recurrent layer{'s' * (len(run.layers) != 1)}"
    unreadable = "".join(f'<p class="conclusion bad">Not shown: {escape(one)}</p>\n' for one in run.unreadable)
    return f'<header>\n<h1>{escape(name)}</h1>\n<p class="faint">{count}{until}</p>\n</header>\n{unreadable}'


def _verdict(run: LoggedRun, nothing_wrong: str) -> str:
    if not run.standing:
        said = nothing_wrong or ("nothing wrong found" if run.verdicts else "The log holds no verdict.")
        return f'<p class="conclusion">{escape(said)}</p>\n'
    return f"<h2>What the doctor found</h2>\n{''.join(_finding(one, run) for one in run.standing)}"


def _finding(finding: Mapping[str, str], run: LoggedRun) -> str:
    severity, layer, advice = finding["severity"], finding.get("layer", ""), finding.get("advice", "")
    where = f"at {layer}, " if layer else ""
    lines = (finding.get("evidence", ""), f"Try: {advice}" if advice else "")
    details = "".join(f'<p class="faint">{escape(line)}</p>\n' for line in lines if line)
    return (
        f'<div class="conclusion {escape(severity)}"><p><b>{escape(severity)}</b> '
        f'<span class="faint">{escape(where)}since step {run.since(finding)}</span></p>\n'
        f"<p>{escape(finding.get('title', ''))}</p>\n{details}</div>\n"
    )


def _metrics(metrics: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    own = {tag: values for tag, values in metrics.items() if tag.split("/")[0] not in OURS and values}
    if not own:
        return ""
    rows = [(tag, f"{values[0][1]:.4g}", f"{values[-1][1]:.4g}", values[-1][0]) for tag, values in own.items()]
    return folding("What else was logged", table(("metric", "first", "last", "at step"), rows), len(rows) <= 8)


def _layer(number: int, name: str, run: LoggedRun) -> str:
    layer = run.layers[name]
    cell = layer.series["grad"].content.get("cell", "") if "grad" in layer.series else ""
    about = f' <span class="row">{escape(cell)}</span>' if cell else ""
    found = [one for one in run.standing if one.get("layer") == name]
    told = "; ".join(f"{one['severity']}: {one.get('title', '').partition(':')[0]}" for one in found)
    line = f'<p class="question">{escape(told or "nothing wrong found")}</p>\n' if run.verdicts else ""
    return f"<section>\n<h2>{escape(name)}{about}</h2>\n{line}{''.join(_pictures(number, name, layer))}</section>\n"


def _pictures(number: int, name: str, layer: LoggedLayer) -> Iterator[str]:
    for index, (title, draw) in enumerate(figures_of(layer)):
        description = escape(f"{name}: {title}", quote=True)
        yield f"<h3>{escape(title)}</h3>\n{_figure(draw, f'p{number}-{index}', description)}"


def _figure(draw: Callable[[], Figure], key: str, description: str) -> str:
    """Return a figure, or why it is not drawn: of numbers that do not fit together the others are shown."""
    try:
        svg = svg_of(draw())
    except ValueError as error:
        return f'<p class="faint">Not drawn: {escape(str(error))}</p>\n'
    return f"<figure>{inlined(svg, key, description, COLOURS)}</figure>\n"
