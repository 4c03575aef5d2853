"""What callers think of their answers: kept beside the fleet's state, reviewed by operators.

Rules:
 * Feedback on the same query replaces what was said before, and what an operator made of it.
 * Nothing here certifies. What an operator accepts of a drawn row becomes a label that is not blind; of any other row
   it may teach.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Engine, delete, func, insert, select

from cloud_worker.state.schema import FEEDBACK
from cloud_worker.state.states import Review
from router.core.domain.feedback import Opinion
from router.core.domain.query import Tier


@dataclass(frozen=True, slots=True)
class Given:
    """One caller's feedback, as it is kept.

    Attributes:
        task: Of the query.
        caller: Who was answered, authenticated.
        query_id: The query.
        teacher_version: Of its record; empty where there is none.
        opinion: Right or wrong.
        correction: What would have been right, may be empty.
        comment: For people, may be empty.
        tier: Where the answer came from.
        release: The student's that answered, or gave way; 0 for none.
        answer: That was given; empty if not known.
        drawn: The query was drawn for the reference and counts in the promise.
        subject: Whom it concerns.
        given_at: Unix time in seconds.
        review: What an operator made of it.
        label: What the operator accepted as right.
        reviewed_by: The operator.
        reviewed_at: Unix time in seconds.
    """

    task: str
    caller: str
    query_id: str
    teacher_version: str
    opinion: Opinion
    correction: str
    comment: str
    tier: Tier
    release: int
    answer: str
    drawn: bool
    subject: str
    given_at: float
    review: Review = Review.NONE
    label: str = ""
    reviewed_by: str = ""
    reviewed_at: float = 0.0


class Feedbacks:
    """What was said of every task's answers."""

    def __init__(self, engine: Engine) -> None:
        """Keep it in the database of ``engine``."""
        self._engine = engine

    def keep(self, given: Given) -> None:
        """Keep feedback, in place of what the same caller said of the same query."""
        with self._engine.begin() as connection:
            connection.execute(delete(FEEDBACK).where(*_is(given.task, given.caller, given.query_id)))
            connection.execute(insert(FEEDBACK).values(**asdict(given)))

    def of(self, task: str) -> list[Given]:
        """What was said of a task's answers, oldest first."""
        query = select(FEEDBACK).where(FEEDBACK.c.task == task).order_by(FEEDBACK.c.given_at)
        with self._engine.connect() as connection:
            return [_given(row) for row in connection.execute(query)]

    def find(self, task: str, query_id: str, caller: str = "") -> list[Given]:
        """Feedback on a query id, which several callers may have used."""
        return [one for one in self.of(task) if one.query_id == query_id and caller in ("", one.caller)]

    def review(self, given: Given, verdict: Review, label: str, who: str, now: float) -> Given:
        """Note what an operator made of feedback: accepted with the right answer, or dismissed."""
        reviewed = replace(given, review=verdict, label=label, reviewed_by=who, reviewed_at=now)
        self.keep(reviewed)
        return reviewed

    def lessons(self, task: str) -> dict[tuple[str, str, str], str]:
        """What operators accepted of rows that were not drawn, by the record's key: it may teach."""
        return {
            (one.caller, one.query_id, one.teacher_version): one.label
            for one in self.of(task)
            if one.review is Review.ACCEPTED and not one.drawn and one.teacher_version
        }

    def forget(self, *, caller: str = "", subject: str = "") -> int:
        """Erase what a device said, or what concerns a subject; how many rows are gone.

        Raises:
            ValueError: Neither is named.
        """
        if not caller and not subject:
            raise ValueError("name a caller or a subject")
        which = FEEDBACK.c.caller == caller if caller else FEEDBACK.c.subject == subject
        with self._engine.begin() as connection:
            return int(connection.execute(delete(FEEDBACK).where(which)).rowcount)

    def count(self, *, caller: str = "", subject: str = "") -> int:
        """How many rows ``forget`` would erase."""
        which = FEEDBACK.c.caller == caller if caller else FEEDBACK.c.subject == subject
        with self._engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(FEEDBACK).where(which)).scalar_one())

    def forget_queries(self, is_gone: Callable[[str, str], bool]) -> int:
        """Erase what was said of queries, by caller and id; how many rows are gone."""
        with self._engine.begin() as connection:
            known = connection.execute(select(FEEDBACK.c.task, FEEDBACK.c.caller, FEEDBACK.c.query_id)).all()
            gone = [row for row in known if is_gone(row.caller, row.query_id)]
            for row in gone:
                connection.execute(delete(FEEDBACK).where(*_is(row.task, row.caller, row.query_id)))
        return len(gone)


def _is(task: str, caller: str, query_id: str) -> tuple[Any, ...]:
    return (FEEDBACK.c.task == task, FEEDBACK.c.caller == caller, FEEDBACK.c.query_id == query_id)


def _given(row: Any) -> Given:
    return Given(**row._mapping)
