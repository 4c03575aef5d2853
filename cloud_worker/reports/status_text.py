"""A report of ``status`` in lines and tables, for people."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape

from cloud_worker.fleet.turned_away import turned_lines
from cloud_worker.reports.devices import show_devices
from cloud_worker.reports.gold_accuracy import truth_lines
from cloud_worker.reports.promise.text import lines_of
from cloud_worker.reports.task_facts import rollout_line
from cloud_worker.reports.trust import trust_lines
from cloud_worker.reports.unusable_answers import no_lesson_lines
from cloud_worker.running.config import difference_lines
from cloud_worker.state.states import Phase
from router.core.monitoring.reference_consistency import in_words
from router.core.statistics.intervals import Interval
from router.io.table import show_table

_TASK_HEADS = ("task", "release", "exploration", "mode", "watch", "phase", "rows")

_LOST = (
    "the fleet's database was lost and made anew; what served keeps nothing until a release is certified on new rows, "
    "or you pin one by force. What you had ordered (pin, freeze, mode) is lost: order it again"
)


def show_report(console: Console, report: dict[str, Any]) -> None:
    """Print a report for people."""
    if report["ready"]:
        console.print(f"serves on {report['listen']} for {report['seconds']:.0f} s (process {report['pid']})")
    elif report["running"]:
        console.print(f"starts or ends (process {report['pid']})")
    else:
        console.print("nothing runs on this data folder; this is what it holds")
    lost = (f"{task}: {_LOST}" for task in report["state_lost"])
    for line in (*difference_lines(report["config_differs"]), *lost):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    log = report["log"]
    rows = f"{log['rows']} rows at version {log['version']}, " if log["version"] >= 0 or log["state"] == "ok" else ""
    console.print(f"log: {rows}{log['spool_pending']} wait in spools")
    for line in _log_lines(log):
        console.print(line, soft_wrap=True)
    if report["tasks"]:
        show_table(console, _TASK_HEADS, _task_rows(report["tasks"]), title="tasks")
        for task in report["tasks"]:
            promised = lines_of(task["task"], task["release"], task["promise"])
            lines = (*promised, escape(rollout_line(task)), escape(_lineage_line(task)), *truth_lines(task))
            for line in filter(None, lines):
                console.print(line, highlight=False, soft_wrap=True, markup=True)
            for line in no_lesson_lines(task["task"], task["no_lessons"]):
                console.print(line, highlight=False, soft_wrap=True, markup=False)
    _show_fleet(console, report)


def _show_fleet(console: Console, report: dict[str, Any]) -> None:
    """Who is in it, and who or what was turned away."""
    if report["devices"]:
        show_devices(console, report["devices"], report.get("in_brief"))
    for line in (*trust_lines(report), *turned_lines(report["turned_away"], time.time())):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _log_lines(log: dict[str, Any]) -> list[str]:
    """What the operator should look into."""
    lines = [] if log["state"] == "ok" else [f"log: {log['state']}"]
    if log["quarantined"]:
        lines.append(f"log: {log['quarantined']} records can't be written, and are kept in quarantine in their spools")
    if log["unreadable_spools"]:
        lines.append(f"log: {log['unreadable_spools']} spools can't be read now")
    if log["put_aside"]:
        lines.append(f"put aside as damaged, to be removed by you: {', '.join(log['put_aside'])}")
    return lines


def _lineage_line(task: dict[str, Any]) -> str:
    """The lineage in words, empty while nothing is known."""
    parts = [f"as judged by {task['judged_by']}"] if task["judged_by"] else []
    if task["least_promise"]:
        parts.append(in_words(Interval(**task["least_promise"])))
    return f"{task['task']}: {'; '.join(parts)}" if parts else ""


def _task_rows(tasks: list[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    for task in tasks:
        phase = task["phase"]
        if phase != Phase.IDLE:
            phase = f"{phase} {task['phase_progress']:.0%}"
        phase = f"{phase} {task['phase_note']}".strip()
        told = f"{task['exploration']:.2f}", task["mode"], task["watch"], phase
        yield task["task"], task["release"], *told, task["rows"]
