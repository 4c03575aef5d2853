"""The distillation log and its spools as ``status`` tells them: how much, and what is wrong."""

from __future__ import annotations

from typing import Any

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.repair import data_files_aside
from cloud_worker.log.spool_drain import spooled_in
from cloud_worker.reports.unusable_answers import no_lessons
from cloud_worker.state.database.sqlite_files import aside_in
from router.core.errors import HeadraceError, UnavailableError


def log_state(config: CloudConfig, log: DistillationLog) -> dict[str, Any]:
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


def lessons_lost(log: DistillationLog) -> dict[str, Any] | None:
    """The lessons that were lost, by task; ``None`` where the log can't be read."""
    try:
        return no_lessons(log)
    except UnavailableError:  # ``log.state`` says so, once
        return None
