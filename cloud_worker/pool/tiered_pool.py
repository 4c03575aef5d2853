"""Asks the teachers of a task: cheaper ones first where a proved policy says so, the reference otherwise.

Rules:
 * An explored query is answered by the reference; every cheaper teacher is asked beside it, so that a policy can be
   fitted and proved on what they say.
 * Only covered queries that were not drawn may end with a cheaper teacher: the promise speaks of no others.
 * A cheaper teacher that fails, is late, or gives no whole answer costs its wait, and nothing else: the next one is
   asked.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cloud_worker.pool.answer_records import Asked, Outcome, is_covered, problem_of, said_text
from cloud_worker.pool.batcher import Gatherer
from cloud_worker.pool.policies import StoredPolicy
from cloud_worker.pool.serving_policy import Serving
from cloud_worker.teachers.base import Question, TeacherAnswer
from router.core.arrays import Array
from router.core.domain.query import Wanted
from router.core.domain.record import Tried
from router.core.errors import HeadraceError
from router.core.policy.pool_routing import said_by
from router.core.policy.text_confidence import LEAST_LOG_PROBABILITY
from router.core.privacy.read_version import read_version

TOKEN_QUANTILE = 0.1  # of the token probabilities: how sure a written answer is
MOST_OF_TIME = 0.5  # share of the time left that a cheaper teacher may take


class TieredPool:
    """The teachers of all tasks, as one gateway asks them."""

    def __init__(self, teachers: Mapping[str, Gatherer], serving: Serving) -> None:
        """Ask ``teachers``, by name, as the policies in ``serving`` say."""
        self._teachers = teachers
        self._serving = serving

    async def ask(self, asked: Asked, question: Question, deadline: float) -> Outcome:
        """The answer of a task's pool.

        Args:
            asked: The query.
            question: What the reference is asked.
            deadline: By ``time.monotonic``, in seconds.

        Raises:
            HeadraceError: The reference can't answer; as ``Gatherer.ask`` says.
        """
        if not asked.task.cheaper.teachers or not is_covered(asked.query):
            return self._whole(asked, await self._reference(asked, question, deadline), ())
        policy = await asyncio.to_thread(self._serving.of, asked.task)
        if asked.explored:
            return await self._explore(asked, question, deadline, policy)
        if policy is None:
            return self._whole(asked, await self._reference(asked, question, deadline), ())
        return await self._walk(asked, question, deadline, policy)

    async def _explore(self, asked: Asked, question: Question, deadline: float, policy: StoredPolicy | None) -> Outcome:
        """The reference's answer, and what all cheaper teachers say beside it."""
        names = asked.task.cheaper.teachers
        cheaper = [asyncio.create_task(self._try(name, asked, question, deadline)) for name in names]
        try:
            answer = await self._reference(asked, question, deadline)
            tried = [said for said, _ in await asyncio.gather(*cheaper)]
        finally:
            for task in cheaper:
                task.cancel()
        stands = policy is not None and _would_serve(policy, question.text, tried)
        return replace(self._whole(asked, answer, tried), stands=stands)

    async def _walk(self, asked: Asked, question: Question, deadline: float, stored: StoredPolicy) -> Outcome:
        """One teacher after the other, as the policy says."""
        policy = stored.policy
        odds = _odds(stored, question.text)
        tried: list[Tried] = []
        for position in range(int(policy.first(odds)[0]), len(policy.tiers)):
            said, answer = await self._try(policy.tiers[position].teacher, asked, question, deadline)
            tried.append(said)
            sure, counts = said_by([said], replace(policy, tiers=policy.tiers[position : position + 1]))
            if answer is not None and counts[0] and policy.stays(position, odds[:, position], np.array(sure))[0]:
                return Outcome(answer, said.teacher, tuple(tried), stands=True, usd=_price(tried))
        return self._whole(asked, await self._reference(asked, question, deadline), tried)

    async def _reference(self, asked: Asked, question: Question, deadline: float) -> TeacherAnswer:
        seconds = deadline - time.monotonic()
        return await self._said(asked.task.reference, asked, question, seconds, rests=seconds)

    async def _said(
        self, name: str, asked: Asked, question: Question, seconds: float, *, rests: float
    ) -> TeacherAnswer:
        """A teacher's answer, under its version for texts as the task's are redacted."""
        answer = await self._teachers[name].ask(question, seconds, asked.caller, rests=rests)
        redact = asked.task.privacy.redact
        return replace(answer, version=read_version(answer.version, redact)) if redact else answer

    async def _try(
        self, name: str, asked: Asked, question: Question, deadline: float
    ) -> tuple[Tried, TeacherAnswer | None]:
        """What a cheaper teacher says; nothing where it fails, is late, or asked to be left alone."""
        seconds = min(asked.task.cheaper.seconds, MOST_OF_TIME * (deadline - time.monotonic()))
        wanted = Wanted(max(question.wanted.top_k, 1), asked.query.wanted.rationale)
        try:
            answer = await self._said(name, asked, replace(question, wanted=wanted), seconds, rests=0.0)
        except HeadraceError:
            return Tried(name, failed=True), None
        if problem_of(asked.task, answer):  # half an answer decides nothing
            spent, took = answer.usd, answer.milliseconds
            return Tried(name, answer.version, usd=spent, milliseconds=took, failed=True), None
        sure = log_confidence(answer)
        return Tried(name, answer.version, said_text(answer), sure, answer.usd, answer.milliseconds), answer

    def _whole(self, asked: Asked, answer: TeacherAnswer, tried: Sequence[Tried]) -> Outcome:
        return Outcome(answer, asked.task.reference, tuple(tried), usd=answer.usd + _price(tried))


def log_confidence(said: TeacherAnswer) -> float | None:
    """How sure a teacher is of its answer, as a natural logarithm: its label's, or a low quantile of its tokens'."""
    if said.distribution.top:
        found = said.distribution.top[0][1]
    elif said.tokens:
        logs = [max(token.log_probability, LEAST_LOG_PROBABILITY) for token in said.tokens]
        found = float(np.quantile(logs, TOKEN_QUANTILE))
    else:
        return None
    return None if math.isnan(found) else min(max(found, LEAST_LOG_PROBABILITY), 0.0)


def _would_serve(stored: StoredPolicy, text: str, tried: Sequence[Tried]) -> bool:
    """Whether a cheaper teacher's answer would have stood, had the query not been explored."""
    sure, counts = said_by(tried, stored.policy)
    ends, _ = stored.policy.walk(_odds(stored, text), np.array([sure]), np.array([counts]))
    return bool(ends[0] < len(stored.policy.tiers))


def _odds(stored: StoredPolicy, text: str) -> Array:
    """(1, tiers) log-odds that each teacher agrees, known from the text."""
    return np.stack([head.odds([text]) for head in stored.words], axis=1)


def _price(tried: Sequence[Tried]) -> float:
    return math.fsum(said.usd for said in tried)
