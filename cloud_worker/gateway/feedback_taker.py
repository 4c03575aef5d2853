"""Takes what callers think of their answers, at the gateway.

Rules:
 * Only whoever was answered is heard: the record waits in the spool, stands in the log, or the answer went out lately.
   A device vouches for what it answered itself. Everybody else hears one and the same refusal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from cloud_worker.log.answered_queries import Answered
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.spool import Spool
from cloud_worker.state.feedback import Feedbacks, Given
from router.core.domain.feedback import Allowance, Feedback, check_feedback, unknown_answer
from router.core.domain.query import Tier
from router.core.domain.record import Record, may_certify
from router.core.domain.task import Task
from router.core.errors import OverloadedError
from router.core.visible_text import in_line
from router.io.redactors import redaction_of
from router.v1 import cascade_pb2

MOST_KEPT = 4096  # characters of an answer that was spoken of


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
        task = self._tasks.get(feedback.task)
        if task is not None:
            feedback = redaction_of(task.privacy.redact).of_feedback(feedback)
        given = await self._given(feedback, caller, now)
        if given is None:
            raise unknown_answer()
        await asyncio.to_thread(self._feedbacks.keep, given)

    async def _given(self, feedback: Feedback, caller: str, now: float) -> Given | None:
        task, attempt = self._tasks.get(feedback.task), feedback.attempt
        if task is None:
            return None
        record = await self._spool.record(caller, feedback.query_id) or await self._logged(feedback, caller, now)
        if record is not None:
            return _of_record(feedback, record, now) if record.task == task.name else None
        if attempt is not None and attempt.kept:
            return _said(feedback, caller, now, Tier.DEVICE, attempt.release, attempt.answer or "")
        stored = await self._spool.find(caller, feedback.query_id, now)
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
    """The beginning of an answer, as much as a reviewer needs; no database keeps a NUL."""
    return in_line(answer, MOST_KEPT) if len(answer) > MOST_KEPT else answer.replace("\0", "\ufffd")
