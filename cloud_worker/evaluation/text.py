"""An evaluation for people: tables that no terminal cuts, and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from cloud_worker.evaluation.chain_figures import ChainFigures, Evaluation, Recovered
from router.core.errors import ConfigError
from router.core.evaluation.cascade_curves import Curve, Interval

if TYPE_CHECKING:  # comes with an extra
    from matplotlib.axes import Axes

SHOWN_COVERAGES = (0.5, 0.8)
_MOST_COLUMNS = 10_000  # of characters: tables are as wide as they need to be


def show_evaluation(console: Console, found: Evaluation) -> None:
    """Print models and chains as tables, on a console that is made wide enough."""
    for table in (_models(found), _areas(found), _gaps(found)):
        wanted = console.measure(table, options=console.options.update(max_width=_MOST_COLUMNS)).maximum
        console.width = max(console.width, wanted)
        console.print(table)
    mean = found.mean_area
    console.print(f"mean area {mean.value:.4f}  ({mean.low:.4f} to {mean.high:.4f})")


def draw_curves(found: Evaluation, path: Path) -> None:
    """Draw error over cost, one line per chain, and risk over coverage, one line per model.

    Raises:
        ConfigError: matplotlib is not installed, or the file can't be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("--picture", "", "needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(13, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_chains(found, left)
    _draw_models(found, right)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ConfigError("--picture", str(path), f"can't be written: {error}") from error


def _models(found: Evaluation) -> Table:
    risks = (f"risk at {share:.0%}" for share in SHOWN_COVERAGES)
    table = _table("no.", "model", "wrong", "AURC", "95 %", "oracle", *risks, caption="AURC by chance: as wrong")
    for number, one in enumerate(found.models):
        aurc = f"{one.aurc.value:.3f}", _span(one.aurc, 3), f"{one.oracle:.3f}"
        shown = (f"{one.curve.at(share):.3f}" for share in SHOWN_COVERAGES)
        table.add_row(str(number), one.model, f"{one.error:.3f}", *aurc, *shown)
    return table


def _areas(found: Evaluation) -> Table:
    table = _table("cascade", "area", "95 %", "random", "oracle", caption="area: mean error between the costs")
    for one in found.chains:
        ends = f"{one.random_area:.4f}", f"{one.oracle_area:.4f}"
        table.add_row(one.cascade, f"{one.area.value:.4f}", _span(one.area, 4), *ends)
    return table


def _gaps(found: Evaluation) -> Table:
    names = [name for level in ("APGR", "CPT50", "CPT80") for name in (level, "95 %", "oracle")]
    table = _table("cascade", *names, caption="random: 0.5, 50 and 80; - where the last model is no better")
    for one in found.chains:
        table.add_row(one.cascade, *_gap(one))
    return table


def _gap(one: ChainFigures) -> list[str]:
    if one.gap is None:
        return ["-"] * 9
    parts = ((one.gap.apgr, 1, 3), *((cpt, 100, 1) for cpt in one.gap.cpt))
    return [word for recovered, unit, digits in parts for word in _recovered(recovered, unit, digits)]


def _recovered(found: Recovered, unit: int, digits: int) -> tuple[str, str, str]:
    interval = found.interval
    scaled = Interval(interval.value * unit, interval.low * unit, interval.high * unit)
    return f"{scaled.value:.{digits}f}", _span(scaled, digits), f"{found.oracle * unit:.{digits}f}"


def _span(interval: Interval, digits: int) -> str:
    return f"{interval.low:.{digits}f}-{interval.high:.{digits}f}"


def _table(*names: str, caption: str) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), caption=caption, caption_justify="left")
    for position, name in enumerate(names):
        table.add_column(name, justify="left" if position == 0 or name == "model" else "right", no_wrap=True)
    return table


def _draw_chains(found: Evaluation, axes: Axes) -> None:
    for number, one in enumerate(found.chains):
        colour = f"C{number % 10}"
        axes.plot(one.curve.x, one.curve.y, label=one.cascade, linewidth=1.2, color=colour)
        _bound(axes, one.random, colour, ":")
        _bound(axes, one.oracle, colour, "--")
    if min(one.curve.x[0] for one in found.chains) > 0:
        axes.set_xscale("log")
    axes.set(xlabel="cost of a query", ylabel="error", title="dotted: a coin; dashed: the oracle")
    axes.legend(fontsize="x-small", ncols=2)


def _draw_models(found: Evaluation, axes: Axes) -> None:
    for number, one in enumerate(found.models):
        axes.plot(one.curve.x, one.curve.y, label=one.model, linewidth=1.2, color=f"C{number % 10}")
        _bound(axes, Curve(one.curve.x[[0, -1]], one.curve.y[[-1, -1]]), f"C{number % 10}", ":")
        _bound(axes, _oracle_risk(1.0 - one.error), f"C{number % 10}", "--")
    axes.set(xlabel="coverage: share of answers kept", ylabel="risk: error among them", title="risk-coverage")
    axes.set_ylim(0.0, min(1.0, 2 * max(one.error for one in found.models) + 0.01))  # a few surest rows tell nothing
    axes.legend(fontsize="x-small")


def _oracle_risk(right: float) -> Curve:
    """Risk over coverage where every right answer is kept before the first wrong one."""
    kept = np.linspace(max(right, 1e-9), 1.0, 50)
    return Curve(np.append(0.0, kept), np.append(0.0, 1.0 - right / kept))


def _bound(axes: Axes, curve: Curve, colour: str, style: str) -> None:
    axes.plot(curve.x, curve.y, linewidth=0.7, color=colour, linestyle=style, alpha=0.5)
