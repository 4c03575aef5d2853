"""Rows that came twice: queries a device kept and sent though the log had them. Their numbers came, their rows did not.

A query id that comes again after minutes, as in a file of questions that is asked every night, has its row already.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Engine, insert, select

from cloud_worker.state.schema import REPEATS
from router.core.certification.missing_rows import is_kept_row
from router.core.domain.record import Record


class Repeats:
    """The numbers of repeated rows, in the database of the fleet's state. One log writer adds to them."""

    def __init__(self, engine: Engine) -> None:
        """Keep them in the database of ``engine``."""
        self._engine = engine

    def note(self, rows: Iterable[Record]) -> None:
        """Remember the numbers of rows that the log has already; those without one of their own are left out."""
        self.note_numbers(
            (row.task, row.caller, row.sequence_number) for row in rows if row.sequence_number and is_kept_row(row)
        )

    def note_numbers(self, numbers: Iterable[tuple[str, str, int]]) -> None:
        """Remember numbers: task, device and number each."""
        found = set(numbers)
        for task in {task for task, _, _ in found}:
            found -= {(task, *known) for known in self.of(task)}
        if found:
            new = [{"task": task, "caller": caller, "place": number} for task, caller, number in sorted(found)]
            with self._engine.begin() as connection:
                connection.execute(insert(REPEATS), new)

    def of(self, task: str) -> frozenset[tuple[str, int]]:
        """Device and number of each of a task."""
        query = select(REPEATS.c.caller, REPEATS.c.place).where(REPEATS.c.task == task)
        with self._engine.connect() as connection:
            return frozenset((row.caller, row.place) for row in connection.execute(query))
