"""The picture of a replay: what stays on the device and what differs, over queries or dates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from router.backtest.logs.reader import Log
from router.backtest.metrics import WINDOW
from router.backtest.run import Result
from router.core.errors import ConfigError


def draw(log: Log, results: Sequence[Result], path: Path) -> None:
    """Draw local share and disagreement, one line a promise, as a picture in ``path``.

    Raises:
        ConfigError: The file can't be written.
    """
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for number, result in enumerate(results):
        _line(log, result, f"C{number}", upper, lower)
    upper.set_ylabel("answered on the device")
    upper.set_ylim(0, 1)
    upper.legend(loc="upper left")
    upper.set_title(f"{log.path.name}: {len(log.rows):,} queries replayed")
    lower.set_ylabel("differs")
    lower.set_ylim(bottom=0)
    lower.set_xlabel("time" if log.columns.time else "queries")
    if len(results) == 1:
        _mark_releases(log, results[0], upper, lower)
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise ConfigError("--picture", str(path), f"can't be written: {error}") from error


def _line(log: Log, result: Result, colour: str, upper: Axes, lower: Axes) -> None:
    windows = result.figures["windows"]
    positions = [_position(log, min(int((number + 0.5) * WINDOW), len(log.rows) - 1)) for number in range(len(windows))]
    label = f"promise: at most {result.promise:.3g} differ"
    upper.plot(positions, [window["local_share"] for window in windows], marker=".", color=colour, label=label)
    lower.plot(positions, [window["disagreement"] for window in windows], marker=".", color=colour)
    lower.axhline(result.promise, color=colour, linestyle="--", linewidth=0.8)


def _mark_releases(log: Log, result: Result, upper: Axes, lower: Axes) -> None:
    for release in result.figures["releases"]:
        if release["number"]:
            position = _position(log, release["at_query"])
            for axis in (upper, lower):
                axis.axvline(position, color="tab:green", linewidth=0.8)
            upper.annotate(f" {release['number']}", (position, 0.02), color="tab:green")


def _position(log: Log, query: int) -> Any:
    """Where a query stands on the axis: its date where the log has times, else its number."""
    return datetime.fromtimestamp(log.rows[query].asked_at, UTC) if log.columns.time else query
