"""What callers think of their answers: taken at the gateway, kept beside the fleet's state, reviewed by operators.

Rules:
 * Only whoever was answered is heard: the record waits in the spool, stands in the log, or the answer went out lately.
   A device vouches for what it answered itself. Everybody else hears one and the same refusal.
 * Feedback on the same query replaces what was said before, and what an operator made of it.
 * Nothing here certifies. What an operator accepts of a drawn row becomes a label that is not blind; of any other row
   it may teach.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, delete, insert, select

from cloud_worker.state.schema import FEEDBACK
from router.core.domain.feedback import Allowance, Feedback, Opinion, check_feedback, unknown_answer
from router.core.domain.query import Tier
from router.core.domain.record import Record, may_certify
from router.core.domain.task import Task
from router.core.errors import OverloadedError
from router.core.visible_text import in_line
from router.v1 import cascade_pb2

if TYPE_CHECKING:  # pyarrow: half a second, which commands that only read feedback save
    from cloud_worker.log.distillation_log import DistillationLog
    from cloud_worker.log.spool import Spool


MOST_KEPT = 4096  # characters of an answer that was spoken of
ACCEPTED, DISMISSED = "accepted", "dismissed"


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
        review: ``accepted``, ``dismissed``, or empty.
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
    review: str = ""
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

    def review(self, given: Given, verdict: str, label: str, who: str, now: float) -> Given:
        """Note what an operator made of feedback: ``accepted`` with the right answer, or ``dismissed``."""
        reviewed = replace(given, review=verdict, label=label, reviewed_by=who, reviewed_at=now)
        self.keep(reviewed)
        return reviewed

    def lessons(self, task: str) -> dict[tuple[str, str, str], str]:
        """What operators accepted of rows that were not drawn, by the record's key: it may teach."""
        return {
            (one.caller, one.query_id, one.teacher_version): one.label
            for one in self.of(task)
            if one.review == ACCEPTED and not one.drawn and one.teacher_version
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


class FeedbackTaker:
    """The gateway's ear. Belongs to one event loop."""

    def __init__(
        self,
        feedbacks: Feedbacks,
        tasks: Mapping[str, Task],
        spool: Spool,
        log: DistillationLog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take feedback on answers of ``tasks``; ``log`` is this taker's alone."""
        from cloud_worker.log.answered_queries import Answered  # late: pyarrow, which commands on feedback never need

        self._feedbacks, self._tasks, self._spool, self._clock = feedbacks, tasks, spool, clock
        self._answered = Answered(log)
        self._allowance = Allowance()
        self._reading = asyncio.Lock()

    async def take(self, feedback: Feedback, caller: str) -> None:
        """Keep one caller's feedback.

        Raises:
            BadInputError: A field is out of its range.
            OverloadedError: The caller says too much at a time.
            UnknownTaskError: It was given no such answer.
        """
        check_feedback(feedback)
        now = self._clock()
        wait = self._allowance.wait(caller, now)
        if wait:
            raise OverloadedError("feedback comes faster than it is taken; wait a little", wait)
        given = await self._given(feedback, caller, now)
        if given is None:
            raise unknown_answer()
        await asyncio.to_thread(self._feedbacks.keep, given)

    async def _given(self, feedback: Feedback, caller: str, now: float) -> Given | None:
        task, attempt = self._tasks.get(feedback.task), feedback.attempt
        if task is None:
            return None
        record = self._spool.record(caller, feedback.query_id) or await self._logged(feedback, caller, now)
        if record is not None:
            return _of_record(feedback, record, now) if record.task == task.name else None
        if attempt is not None and attempt.kept:
            return _said(feedback, caller, now, Tier.DEVICE, attempt.release, attempt.answer or "")
        stored = self._spool.find(caller, feedback.query_id, now)
        if stored is None:
            return None
        response = cascade_pb2.AnswerResponse.FromString(stored.response)
        if response.provenance.model not in (task.reference, *task.cheaper.teachers):
            return None
        return _said(feedback, caller, now, Tier.CLUSTER, 0, response.answer)

    async def _logged(self, feedback: Feedback, caller: str, now: float) -> Record | None:
        async with self._reading:
            return await asyncio.to_thread(self._answered.find, feedback.task, caller, feedback.query_id, now)


def _of_record(feedback: Feedback, record: Record, now: float) -> Given:
    tier = Tier.DEVICE if record.kept else Tier.CLUSTER
    answer = record.local_answer if record.kept else record.answer
    given = _said(feedback, record.caller, now, tier, record.release, answer or "")
    return replace(given, teacher_version=record.teacher_version, drawn=may_certify(record), subject=record.subject)


def _said(feedback: Feedback, caller: str, now: float, tier: Tier, release: int, answer: str) -> Given:
    return Given(
        task=feedback.task,
        caller=caller,
        query_id=feedback.query_id,
        teacher_version="",
        opinion=feedback.opinion,
        correction=feedback.correction,
        comment=feedback.comment,
        tier=tier,
        release=release,
        answer=_kept(answer),
        drawn=False,
        subject="",
        given_at=now,
    )


def _kept(answer: str) -> str:
    """As much of an answer as a reviewer needs; no database keeps a NUL."""
    return in_line(answer, MOST_KEPT) if len(answer) > MOST_KEPT else answer.replace("\0", "\ufffd")


def _is(task: str, caller: str, query_id: str) -> tuple[Any, ...]:
    return (FEEDBACK.c.task == task, FEEDBACK.c.caller == caller, FEEDBACK.c.query_id == query_id)


def _given(row: Any) -> Given:
    values = dict(row._mapping)
    return Given(**{**values, "opinion": Opinion(row.opinion), "tier": Tier(row.tier), "drawn": bool(row.drawn)})
