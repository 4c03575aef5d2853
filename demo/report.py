"""The end of a demo: a table, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from demo.measure import WINDOW
from router.io.matplotlib_setup import drawing

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
    certificates = {str(release["number"]): certificate(release) for release in figures["releases"]}
    for number, served in figures["disagreement_by_release"].items():
        result.add_section()
        result.add_row(f"release {number}, {served['n']} queries", f"{served['disagreement']:.2%} differ", "")
        if certificates.get(number):
            result.add_row(f"  {certificates[number]}", "", "")
    return result


def certificate(release: dict[str, Any]) -> str:
    """The rows and the loss on which a release was certified, in words; empty where it was not."""
    if not release.get("certifying_rows"):
        return ""
    allowed = f", at most {release['allowance']:.1%}" if release.get("allowance") is not None else ""
    return f"certified: {release['certifying_rows']:,} rows, {release['losses']} lost{allowed}"


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
    positions = [(number + 0.5) * WINDOW for number in range(len(windows))]
    figure, (upper, lower) = pyplot.subplots(2, 1, sharex=True, figsize=(9, 6), height_ratios=(3, 2))
    upper.plot(positions, [window["local_share"] for window in windows], marker="o", color="tab:blue")
    upper.set_title("Fewer queries leave the device (green: releases, and what certified them)")
    upper.set_ylabel("answered on the device")
    upper.set_ylim(0, 1)
    lower.plot(positions, [window["disagreement"] for window in windows], marker="o", color="tab:red")
    lower.axhline(promise, color="grey", linestyle="--", label=f"promise: at most {promise:.1%}")
    _mark_above(lower, figures, promise, positions)
    lower.set_ylabel("differs from the cloud")
    lower.set_xlabel("queries")
    lower.set_ylim(0, 1.6 * max([promise, *(window["disagreement"] for window in windows)]))  # with room for the words
    _mark_newcomers(upper, lower, figures["new_intents_from"])
    _mark_releases(upper, lower, figures["releases"])
    lower.legend(loc="upper left", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _mark_above(lower: Any, figures: dict[str, Any], promise: float, positions: Sequence[float]) -> None:
    """Windows above the promise, with their share."""
    above = _above(figures, promise)
    if not above:
        return
    differ = [figures["windows"][number]["disagreement"] for number in above]
    at = [positions[number] for number in above]
    lower.scatter(at, differ, s=90, marker="s", color="tab:orange", label=f"window above it: {_OVER_ALL}")
    for position, share in zip(at, differ, strict=True):
        lower.annotate(f"{share:.1%}", (position, share), (0, 7), textcoords="offset points", fontsize=7, ha="center")


def _mark_newcomers(upper: Any, lower: Any, first: int | None) -> None:
    """Where the stream begins to ask new intents."""
    if first is not None:
        upper.axvline(first, color="tab:purple", linewidth=1.2, linestyle=":")
        lower.axvline(first, color="tab:purple", linewidth=1.2, linestyle=":", label="new intents from here on")


def _mark_releases(upper: Any, lower: Any, releases: Sequence[dict[str, Any]]) -> None:
    """Each release where it began to serve, with its number and certificate."""
    for turn, release in enumerate(one for one in releases if one["number"]):
        for axis in (upper, lower):
            axis.axvline(release["at_query"], color="tab:green", linewidth=0.8)
        height = 0.03 if turn % 2 == 0 else 0.33  # one that follows soon does not cover the last one's words
        words = f" release {release['number']}  {certificate(release).removeprefix('certified: ')}"
        upper.text(release["at_query"], height, words, rotation=90, fontsize=6.5, color="tab:green", ha="left")
