"""What a student learns from beside its task's own lessons: queries without a usable answer, and other tasks.

Rules:
 * A query that is set aside to certify, and not yet spent, stays out, whatever row of the log repeats it.
 * Of such queries the text alone is used: what stands in the row as its answer teaches nothing.
 * Nothing is gathered that the task's recipe does not use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cloud_worker.config.recipe_needs import others_of, wants_queries
from cloud_worker.state.store import Store
from cloud_worker.training.reviewed_data import taught_of
from router.core.domain.record import Record, is_set_aside, may_certify
from router.core.domain.task import Task
from router.core.learning.training_rows import Key, current


@dataclass(frozen=True, slots=True)
class AuxiliaryData:
    """What stands beside the lessons of a task.

    Attributes:
        queries: Rows of the task that teach no answer, each text once.
        tasks: Other tasks, each with its rows that may teach.
    """

    queries: tuple[Record, ...] = ()
    tasks: tuple[tuple[Task, tuple[Record, ...]], ...] = ()


def auxiliary_data_of(task: Task, logs: Mapping[str, tuple[Task, Sequence[Record]]], store: Store) -> AuxiliaryData:
    """What the recipe of ``task`` uses beside its lessons.

    Args:
        task: The task.
        logs: Each task, and all of its rows.
        store: Knows which rows are spent, and what operators accepted of feedback.
    """
    queries: tuple[Record, ...] = ()
    if wants_queries(task):
        records = logs[task.name][1]
        taught = taught_of(current(records, task), store, task.name)
        queries = unanswered(records, taught, store.spent(task.name))
    others = [logs[name] for name in others_of(task)]
    return AuxiliaryData(
        queries, tuple((other, tuple(taught_of(current(rows, other), store, other.name))) for other, rows in others)
    )


def unanswered(records: Sequence[Record], taught: Sequence[Record], spent: set[Key]) -> tuple[Record, ...]:
    """The latest row of each text that no lesson has: other versions, cheaper teachers' answers, unreadable ones.

    Args:
        records: All rows of a task.
        taught: Those of them that teach.
        spent: Keys that a certificate has observed.
    """
    held = {(row.caller, row.query_id) for row in records if _is_held_back(row, spent)}
    known = {row.text for row in taught}
    rest = (row for row in records if row.text not in known and (row.caller, row.query_id) not in held)
    return tuple({row.text: row for row in rest}.values())


def _is_held_back(row: Record, spent: set[Key]) -> bool:
    return may_certify(row) and is_set_aside(row.caller, row.query_id) and row.key not in spent
