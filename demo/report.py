"""The end of a demo: a table, and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from demo.measure import WINDOW
from router.drawing import drawing

_SHARES = (
    ("answered on the device", "local_share"),
    ("seen by the cloud", "cloud_share"),
    ("different from the cloud's answer", "disagreement"),
)

_OVER_ALL = "the promise is over all queries of a release, not one window"


def table(figures: dict[str, Any], promise: float) -> Table:
    """The figures that a person wants to see."""
    title = f"{figures['queries']} queries to {figures['agents']} agents in {figures['seconds']:.0f} s"
    above = len(_above(figures, promise))
    caption = f"{above} of {len(figures['windows'])} windows above the promise; {_OVER_ALL}" if above else None
    result = Table(title=title, caption=caption)
    for name in ("", "all", "last quarter"):
        result.add_column(name, justify="left" if not name else "right")
    for words, key in _SHARES:
        result.add_row(words, f"{figures[key]:.1%}", f"{figures[key + '_last_quarter']:.1%}")
    result.add_row("promised at most", f"{promise:.1%}", f"{promise:.1%}")
    result.add_row("covered by the promise", f"{figures['covered_share']:.1%}", "")
    result.add_row("right (the teacher)", f"{figures['accuracy']:.1%} ({figures['teacher_accuracy']:.1%})", "")
    result.add_row("lost", str(figures["lost"]), "")
    for words, key in (("median, on the device", "p50_ms_local"), ("median, escalated", "p50_ms_escalated")):
        value = figures[key]
        result.add_row(words, "-" if value is None else f"{value:.1f} ms", "")
    for number, served in figures["disagreement_by_release"].items():
        result.add_row(f"release {number}, {served['n']} queries", f"{served['disagreement']:.2%} differ", "")
    return result


def picture(figures: dict[str, Any], promise: float, path: Path) -> None:
    """Local share and disagreement over queries, releases marked, as a PNG."""
    with drawing():
        _draw(figures, promise, path)


def _above(figures: dict[str, Any], promise: float) -> list[int]:
    """The numbers of the windows in which more answers differ than the promise allows over a release."""
    return [number for number, window in enumerate(figures["windows"]) if window["disagreement"] > promise]


def _draw(figures: dict[str, Any], promise: float, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    windows = figures["windows"]
    places = [(number + 0.5) * WINDOW for number in range(len(windows))]
    figure, (upper, lower) = pyplot.subplots(2, 1, sharex=True, figsize=(9, 5.5), height_ratios=(2, 1))
    upper.plot(places, [window["local_share"] for window in windows], marker="o", color="tab:blue")
    upper.set_ylabel("answered on the device")
    upper.set_ylim(0, 1)
    lower.plot(places, [window["disagreement"] for window in windows], marker="o", color="tab:red")
    lower.axhline(promise, color="grey", linestyle="--", label=f"promise: at most {promise:.1%}")
    if above := _above(figures, promise):
        differ = [windows[number]["disagreement"] for number in above]
        label = f"window above it: {_OVER_ALL}"
        lower.scatter([places[number] for number in above], differ, s=90, marker="s", color="tab:orange", label=label)
    lower.set_ylabel("differs from the cloud")
    lower.set_xlabel("queries")
    lower.set_ylim(bottom=0)
    lower.legend(loc="upper right")
    for release in figures["releases"]:
        if release["number"]:
            for axis in (upper, lower):
                axis.axvline(release["at_query"], color="tab:green", linewidth=0.8)
            upper.annotate(f" {release['number']}", (release["at_query"], 0.02), color="tab:green")
    upper.set_title("Fewer queries leave the device (green: releases)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
