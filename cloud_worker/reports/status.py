"""What ``headrace-cloud status`` tells: from files and the state of the fleet alone, without Ray."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.fleet.turned_away import TurnedAway, turned_lines
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.mending import data_files_aside
from cloud_worker.log.spool_drain import spooled_in
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import look_into
from cloud_worker.reports.devices import briefs_of, counted, first_of, show_devices
from cloud_worker.reports.gold_accuracy import Truths, truth_lines
from cloud_worker.reports.promise_facts import Promises
from cloud_worker.reports.promise_text import lines_of
from cloud_worker.reports.unusable_answers import NONE, no_lesson_lines, no_lessons
from cloud_worker.running.config import as_it_runs, difference_lines, differences, what_runs
from cloud_worker.running.process_lock import Up, running_for, who_runs
from cloud_worker.state.database.sqlite_files import aside_in
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.states import Phase
from cloud_worker.state.store import TaskState
from router.core.errors import HeadraceError, UnavailableError
from router.core.monitoring.reference_consistency import in_words
from router.core.statistics.intervals import Interval
from router.io.table import show_table

MOST_DEVICES = 100
_TASK_HEADS = ("task", "release", "exploration", "mode", "watch", "phase", "rows")

_LOST = (
    "the fleet's database was lost and made anew; what served keeps nothing until a release is certified on new rows, "
    "or you pin one by force. What you had ordered (pin, freeze, mode) is lost: order it again"
)


def gather_report(config: CloudConfig, *, screenful: bool = False, devices: int = MOST_DEVICES) -> dict[str, Any]:
    """Everything; promises are values (``ready_for_json``). Times are Unix seconds, shares in [0, 1].

    Args:
        config: As its file has it.
        screenful: For ``show_report`` alone: as many devices as it has lines for, and all of them ``in_brief``.
        devices: Otherwise the most devices that are told of one by one, those that need somebody first, so that the
            report is bounded in any fleet; ``fleet`` counts all.
    """
    pid, up = who_runs(config.run_folder)
    runs = what_runs(config.run_folder) if pid is not None else None
    differs, config = differences(config, runs), as_it_runs(config, runs)
    store, log = look_into(config), DistillationLog(config.log_folder)
    report: dict[str, Any] = {
        "running": pid is not None,
        "ready": up is not None,
        "pid": pid,
        **_up(up),
        "log": _log(config, log),
        "config_differs": differs,
        "state_lost": store.losses(),
        "tasks": [],
        "fleet": {},
        "devices": [],
        "turned_away": {},
    }
    lineages = Lineages(store.engine)
    promises = Promises(config.tasks, store, Publisher(config.releases_folder)).gather()
    truths, lessons = Truths(config.tasks, store, log), _no_lessons(log)
    report["tasks"] = [
        _task(state)
        | _lineage(state, lineages)
        | {
            "promise": promises[state.name],
            "no_lessons": None if lessons is None else lessons.get(state.name, NONE),
        }
        | truths.of(state.name)
        for state in store.task_states()
        if state.name in promises  # a task that was removed is not told of
    ]
    briefs = briefs_of(config, store, up)
    report["fleet"] = counted(briefs)
    if screenful:
        report["in_brief"] = briefs
        report["devices"] = first_of(config, store, up, briefs)
    else:
        report["devices"] = first_of(config, store, up, briefs, devices)
    turned_away = TurnedAway(store.engine).all()
    report["turned_away"] = {what: asdict(turned) for what, turned in turned_away.items()}
    return report


def ready_for_json(report: dict[str, Any]) -> dict[str, Any]:
    """A report with its promises as JSON holds them."""
    return {**report, "tasks": [{**task, "promise": task["promise"].as_json()} for task in report["tasks"]]}


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
            for line in filter(None, (*promised, escape(_lineage_line(task)), *truth_lines(task))):
                console.print(line, highlight=False, soft_wrap=True, markup=True)
            for line in no_lesson_lines(task["task"], task["no_lessons"]):
                console.print(line, highlight=False, soft_wrap=True, markup=False)
    _show_fleet(console, report)


def _show_fleet(console: Console, report: dict[str, Any]) -> None:
    """Who is in it, and who or what was turned away."""
    if report["devices"]:
        show_devices(console, report["devices"], report.get("in_brief"))
    for line in turned_lines(report["turned_away"], time.time()):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _log(config: CloudConfig, log: DistillationLog) -> dict[str, Any]:
    """The log, its spools, and what is wrong with them."""
    spools = spooled_in(config.spool_folder)
    aside = [*aside_in(config.data), *data_files_aside(config.log_folder)]
    told: dict[str, Any] = {
        "spool_pending": spools.pending,
        "quarantined": spools.quarantined,
        "unreadable_spools": spools.unreadable,
        "put_aside": [*spools.put_aside, *(str(path.relative_to(config.data)) for path in aside)],
        "state": "ok",
    }
    try:
        return {"rows": log.rows(), "version": log.version(), **told}
    except HeadraceError as error:
        return {"rows": 0, "version": -1, **told, "state": str(error)}


def _no_lessons(log: DistillationLog) -> dict[str, Any] | None:
    """By task; ``None`` where the log can't be read."""
    try:
        return no_lessons(log)
    except UnavailableError:  # ``log.state`` says so, once
        return None


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


def _up(up: Up | None) -> dict[str, Any]:
    if up is None:
        return {"listen": "", "ray": "", "seconds": 0.0}
    return {"listen": up.listen, "ray": up.ray, "seconds": running_for(up)}


def _task(state: TaskState) -> dict[str, Any]:
    return {
        "task": state.name,
        "release": state.champion,
        "exploration": state.exploration,
        "mode": state.mode.value,
        "watch": state.watch,
        "phase": state.phase,
        "phase_note": state.phase_note,
        "phase_progress": state.phase_progress,
        "rows": state.rows_seen,
    }


def _lineage(state: TaskState, lineages: Lineages) -> dict[str, Any]:
    """Who judges, and the least promise that the reference's own unsteadiness leaves, once it has been asked twice."""
    least = lineages.least_promise(state.name, state.version)
    return {
        "judged_by": lineages.judge(state.name, state.version),
        "least_promise": asdict(least) if least.rows else None,
    }


def _lineage_line(task: dict[str, Any]) -> str:
    """In words, empty while nothing is known."""
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
