"""What is known of a task's judge and reference, for as long as its lineage lasts.

Rules:
 * A lineage has one judge: another one under the same version of the task is refused.
 * A query of the reference's version is asked twice at most once, however often the process starts.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Engine, func, insert, select
from sqlalchemy.exc import IntegrityError

from cloud_worker.state.schema import ASKED_TWICE, JUDGES
from router.core.domain.task import Task
from router.core.errors import ConfigError
from router.core.monitoring.reference_consistency import least_promise
from router.core.statistics.intervals import Interval

Key = tuple[str, str, str]  # caller, query id, teacher version


class Lineages:
    """The facts of every lineage, in the database of the fleet's state."""

    def __init__(self, engine: Engine) -> None:
        """Keep them in the database of ``engine``."""
        self._engine = engine

    def hold_judge(self, task: Task, judge: str) -> None:
        """Keep the judge that a lineage began with.

        Raises:
            ConfigError: It began with another one.
        """
        known = self.judge(task.name, task.version)
        if not known:
            try:
                with self._engine.begin() as connection:
                    connection.execute(insert(JUDGES).values(task=task.name, version=task.version, judge=judge))
            except IntegrityError:  # another process was first
                pass
            known = self.judge(task.name, task.version)
        if known != judge:
            raise ConfigError(
                f"task {task.name}",
                "version",
                f"is {task.version}, which began with the judge {known}; now it is {judge}: a new judge is a new "
                f"version, {task.version + 1} or above",
            )

    def judge(self, name: str, version: int) -> str:
        """The judge that a task's lineage began with; empty if none is known."""
        query = select(JUDGES.c.judge).where(JUDGES.c.task == name, JUDGES.c.version == version)
        with self._engine.connect() as connection:
            return str(connection.execute(query).scalar() or "")

    def keep_second_answers(self, task: Task, answers: Iterable[tuple[Key, bool]], now: float) -> None:
        """Keep whether second answers agreed with the first ones.

        Args:
            task: The task.
            answers: Pairs of a record's key and whether the judge calls both answers the same.
            now: Unix time in seconds.
        """
        rows = [
            {
                "task": task.name,
                "version": task.version,
                "teacher_version": version,
                "caller": caller,
                "query_id": query_id,
                "agreed": agreed,
                "asked_at": now,
            }
            for (caller, query_id, version), agreed in answers
        ]
        if rows:
            with self._engine.begin() as connection:
                connection.execute(insert(ASKED_TWICE), rows)

    def asked_twice(self, task: Task, teacher_version: str) -> dict[Key, bool]:
        """Keys of the records whose query was asked twice, and whether both answers agreed."""
        columns = ASKED_TWICE.c
        query = select(columns.caller, columns.query_id, columns.agreed).where(
            columns.task == task.name, columns.version == task.version, columns.teacher_version == teacher_version
        )
        with self._engine.connect() as connection:
            found = connection.execute(query)
            return {(row.caller, row.query_id, teacher_version): bool(row.agreed) for row in found}

    def least_promise(self, name: str, version: int) -> Interval:
        """How often a task's reference, in the version asked last, differs from itself."""
        columns = ASKED_TWICE.c
        of_task = (columns.task == name, columns.version == version)
        last = select(columns.teacher_version).where(*of_task).order_by(columns.asked_at.desc()).limit(1)
        query = select(columns.agreed, func.count()).where(*of_task, columns.teacher_version == last.scalar_subquery())
        with self._engine.connect() as connection:
            counts = {bool(agreed): int(count) for agreed, count in connection.execute(query.group_by(columns.agreed))}
        return least_promise(counts.get(False, 0), sum(counts.values()))
