"""What ``headrace-cloud status`` tells: from files and the state of the fleet alone, without Ray."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.fleet.turned_away import TurnedAway
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_for_reading
from cloud_worker.reports.devices import briefs_of, counted, first_of
from cloud_worker.reports.gold_accuracy import Truths
from cloud_worker.reports.log_state import lessons_lost, log_state
from cloud_worker.reports.promise.gather import Promises
from cloud_worker.reports.task_facts import TaskFacts
from cloud_worker.reports.trust import trust_facts
from cloud_worker.reports.unusable_answers import NONE
from cloud_worker.running.config import as_it_runs, differences, what_runs
from cloud_worker.running.process_lock import Up, running_for, who_runs

MOST_DEVICES = 100


def gather_report(config: CloudConfig, *, screenful: bool = False, devices: int = MOST_DEVICES) -> dict[str, Any]:
    """Everything; promises are values (``ready_for_json``). Times are Unix seconds, shares in [0, 1].

    Args:
        config: As its file has it.
        screenful: For ``status_text`` alone: as many devices as it has lines for, and all of them ``in_brief``.
        devices: Otherwise the most devices that are told of one by one, those that need somebody first, so that the
            report is bounded in any fleet; ``fleet`` counts all.
    """
    pid, up = who_runs(config.run_folder)
    runs = what_runs(config.run_folder) if pid is not None else None
    differs, config = differences(config, runs), as_it_runs(config, runs)
    store, log = open_for_reading(config), DistillationLog(config.log_folder)
    report: dict[str, Any] = {
        "running": pid is not None,
        "ready": up is not None,
        "pid": pid,
        **_up(up),
        "log": log_state(config, log),
        "config_differs": differs,
        "state_lost": store.losses(),
        "tasks": [],
        "fleet": {},
        "devices": [],
        "turned_away": {},
        **trust_facts(config, store),
    }
    facts = TaskFacts(store)
    promises = Promises(config.tasks, store, Publisher(config.releases_folder)).gather()
    truths, lessons = Truths(config.tasks, store, log), lessons_lost(log)
    report["tasks"] = [
        facts.of(state)
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


def _up(up: Up | None) -> dict[str, Any]:
    if up is None:
        return {"listen": "", "ray": "", "seconds": 0.0}
    return {"listen": up.listen, "ray": up.ray, "seconds": running_for(up)}
