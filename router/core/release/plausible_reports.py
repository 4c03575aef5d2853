"""What a device says of itself, bounded by what can be.

Rules:
 * Counters grow no faster than a device can answer, whatever it says.
 * No part is larger than the whole: what was kept, escalated, degraded, covered or explored was answered.
 * At first contact there is nothing to compare with; what was done before counts for nobody.
"""

from __future__ import annotations

from dataclasses import replace

from router.core.release.reports import DeviceReport, TaskReport

MOST_PER_SECOND = 1000  # queries of one task that a device answers
MOST_AT_ONCE = 100  # beside these: two reports may come close together
_PARTS = ("kept", "escalated", "degraded", "covered", "explored", "healthy_answers")
_GROWING = ("answered", "failed", "explored_kept")  # what was drawn in a life before may be taught in this one


def plausible(report: DeviceReport, before: DeviceReport | None, seconds: float) -> DeviceReport:
    """The report, every counter cut to what can be.

    Args:
        report: As it came.
        before: The one before, as it was believed; ``None`` at first contact.
        seconds: Since then.
    """
    if before is None:
        return replace(report, tasks=tuple(_with_parts(task) for task in report.tasks))
    known = {task.task: task for task in before.tasks}
    most = int(MOST_PER_SECOND * max(seconds, 0.0)) + MOST_AT_ONCE
    tasks = (_grown(task, known.get(task.task, TaskReport(task.task)), most) for task in report.tasks)
    return replace(report, tasks=tuple(_with_parts(task) for task in tasks))


def _grown(now: TaskReport, before: TaskReport, most: int) -> TaskReport:
    """The report of a task whose counters grew by ``most`` at most; one that shrank began anew."""
    base = before if before.answered <= now.answered else TaskReport(now.task)
    return replace(now, **{name: min(getattr(now, name), getattr(base, name) + most) for name in _GROWING})


def _with_parts(now: TaskReport) -> TaskReport:
    parts = {name: min(getattr(now, name), now.answered) for name in _PARTS}
    return replace(now, **parts, explored_disagreed=min(now.explored_disagreed, now.explored_kept))
