"""The figures of a replay, from its history, under the demo's names.

Rules:
 * Every query is measured, none is estimated: the log has the large model's answer to each.
 * What a replay can't know is ``None``: times per answer, and accuracy without labels.
 * Accuracy is of the queries whose label is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from router.backtest.history import History, Served
from router.core.statistics.intervals import Interval, share_interval

WINDOW = 500
FIRST = (1000, 2000, 5000)  # queries of a replay whose saving is told
QUARTERS = 4


def figures(history: History, *, devices: int, seconds: float, teacher_right: float | None) -> dict[str, Any]:
    """The demo's keys.

    Args:
        history: The replay's outcome.
        devices: How many asked.
        seconds: That the replay took.
        teacher_right: Share of the large model's answers that are right, of those with a label, in [0, 1]; ``None``
            without labels.
    """
    rows = history.served
    last = rows[len(rows) * 3 // 4 :]
    return {
        "agents": devices,
        "lost": 0,
        "queries": len(rows),
        "releases": _releases(history),
        "local_share": share(rows, "local"),
        "local_share_last_quarter": share(last, "local"),
        "cloud_share": share(rows, "cloud"),
        "cloud_share_last_quarter": share(last, "cloud"),
        "explored_share": share(rows, "explored"),
        "covered_share": 1.0,
        "disagreement": disagreement(rows),
        "disagreement_last_quarter": disagreement(last),
        "disagreement_by_release": _by_release(rows),
        "accuracy": None if teacher_right is None else share(labelled(rows), "right"),
        "teacher_accuracy": None if teacher_right is None else round(teacher_right, 6),
        "p50_ms_local": None,
        "p50_ms_escalated": None,
        "windows": [_window(rows[start : start + WINDOW]) for start in range(0, len(rows), WINDOW)],
        "seconds": round(seconds, 1),
        "restarts": 0,
    }


def quarters(rows: Sequence[Served]) -> list[dict[str, float]]:
    """Local share, cloud share and disagreement of each quarter of the log."""
    cuts = [len(rows) * number // QUARTERS for number in range(QUARTERS + 1)]
    parts = [rows[start:end] for start, end in pairwise(cuts)]
    return [
        {"local_share": share(part, "local"), "cloud_share": share(part, "cloud"), "disagreement": disagreement(part)}
        for part in parts
    ]


def net_saving(rows: Sequence[Served]) -> dict[str, Any]:
    """Share of the queries that never asked the large model, whatever it would have been asked for.

    Returns:
        Of ``all`` queries, of the ``last_quarter``, and ``since_first_release``: ``None`` where none served. ``least``
        is that of the poorest ``WINDOW`` queries in a row since then. ``from_memory`` is the part of ``all`` that a
        device's memory answered; ``first`` is of the first so many, by their number.
    """
    first = next((row.position for row in rows if row.release), len(rows))
    since = rows[first:]
    return {
        "all": _saved(rows),
        "last_quarter": _saved(rows[len(rows) * 3 // 4 :]),
        "since_first_release": _saved(since) if since else None,
        "least": _least_saved(since) if since else None,
        "from_memory": round(sum(row.remembered and not row.cloud for row in rows) / len(rows), 6) if rows else 0.0,
        "first": {str(most): _saved(rows[:most]) for most in FIRST if most <= len(rows)},
    }


def _least_saved(rows: Sequence[Served]) -> float:
    """The least share saved over any ``WINDOW`` rows in a row, or over all where they are fewer."""
    width = min(WINDOW, len(rows))
    kept = np.cumsum([0, *(not row.cloud for row in rows)])
    return round(float((kept[width:] - kept[:-width]).min()) / width, 6)


def _saved(rows: Sequence[Served]) -> float:
    return round(1 - share(rows, "cloud"), 6)


def release_intervals(rows: Sequence[Served], assurance: float) -> dict[int, Interval]:
    """Disagreement of each release that served, with the interval of what such queries would show."""
    counts, lost = Counter(row.release for row in rows), Counter(row.release for row in rows if not row.agrees)
    return {number: share_interval(lost[number], counts[number], assurance) for number in sorted(counts)}


def labelled(rows: Sequence[Served]) -> list[Served]:
    """The queries whose label is known."""
    return [row for row in rows if row.right is not None]


def share(rows: Sequence[Served], name: str) -> float:
    """Share of the rows that have a property, in [0, 1]."""
    return round(sum(bool(getattr(row, name)) for row in rows) / len(rows), 6) if rows else 0.0


def disagreement(rows: Sequence[Served]) -> float:
    """Share of the rows answered otherwise than the large model did."""
    return round(1 - share(rows, "agrees"), 6) if rows else 0.0


def _releases(history: History) -> list[dict[str, Any]]:
    met = Counter(row.release for row in history.served)
    rows = {"certifying_rows": 0, "certifying_weight": 0.0, "certifying_queries": 0}
    start = {"number": 0, "at_query": 0, "threshold": None, **rows, "losses": 0, "attempt": 0}
    return [start] + [
        {
            "number": release.number,
            "at_query": release.at_query,
            "threshold": release.threshold,
            "certifying_rows": release.rows,
            "certifying_weight": round(release.weight, 2),
            "certifying_queries": release.distinct,
            "losses": release.losses,
            "attempt": release.attempt,
        }
        for release in history.releases
        if met[release.number]
    ]


def _by_release(rows: Sequence[Served]) -> dict[str, dict[str, float]]:
    parts: dict[int, list[Served]] = {}
    for row in rows:
        parts.setdefault(row.release, []).append(row)
    return {str(number): {"n": len(part), "disagreement": disagreement(part)} for number, part in sorted(parts.items())}


def _window(rows: Sequence[Served]) -> dict[str, float]:
    release = Counter(row.release for row in rows).most_common(1)[0][0]
    return {"local_share": share(rows, "local"), "disagreement": disagreement(rows), "release": release}
