"""How far a promise holds, and why it is no better."""

from __future__ import annotations

from cloud_worker.reports.promise.known import Known
from cloud_worker.reports.promise.values import (
    PromiseState,
)
from router.core.certification.certificate_validity import why_never_proved, why_unwatched
from router.core.certification.served_releases import BROKEN
from router.core.domain.task import Mode, Task
from router.core.release.orders import Watch

NO_STUDENT = "everything escalates: the reference answers"


def promise_state(known: Known) -> tuple[PromiseState, str]:
    """How far the promise holds, and why it is no better."""
    rows = known.figures.watched.rows if known.figures and known.figures.watched else 0
    if known.manifest is None:
        return PromiseState.UNPROVEN, "the manifest of what serves can't be read"
    if known.manifest.student is None:
        return _without_student(known.task)
    if known.fallen and known.fallen != BROKEN and known.state.watch != Watch.UNPROVEN:
        return PromiseState.UNPROVEN, f"{known.fallen}; everything escalates"
    if known.state.watch == Watch.ALARMED:
        return PromiseState.ALARMED, f"release {known.state.champion} broke its promise; everything escalates"
    why = known.fallen or why_unwatched(known.task, rows)
    if why:
        return PromiseState.UNPROVEN, why
    if known.state.watch == Watch.UNPROVEN:
        return PromiseState.UNPROVEN, "it is pinned without proof"
    if known.override.mode is not Mode.SERVE:
        return PromiseState.ESCALATING, f"operator override: {known.override.mode.value}"
    if known.state.watch == Watch.BLIND:
        return PromiseState.BLIND, "too few explored rows come to see a break"
    return PromiseState.PROVEN, ""


def _without_student(task: Task) -> tuple[PromiseState, str]:
    if task.local_only:
        return PromiseState.NO_STUDENT, "nothing may leave: queries are refused"
    why = why_never_proved(task)
    return (PromiseState.UNPROVEN, why) if why else (PromiseState.NO_STUDENT, NO_STUDENT)
