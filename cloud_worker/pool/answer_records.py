"""What the log keeps of one answered query.

Rules:
 * A query is explored when its device says so and the draw, recomputed with the device's seed, agrees.
 * A claim that does not verify makes an ordinary row: of no exploration rate, and of weight one.
 * A query without an attempt was asked directly: it is neither explored nor covered.
 * Calls of tools stand in the log as JSON text; the caller gets them apart from the text too.
 * An answer that can't be read, or has no readable reason where the task wants one, goes out and is no lesson.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from cloud_worker.config.recipe_needs import LOGGED_ALTERNATIVES, instruction_of, wants_rationales, wants_tokens
from cloud_worker.teachers.base import Question, TeacherAnswer
from router.core.domain.agreement import parse_calls, parse_json, tool_calls_in
from router.core.domain.chat import calls_as_text, messages_as_json, transcript
from router.core.domain.prompting import limits_of
from router.core.domain.query import (
    Answer,
    Attempt,
    Distribution,
    FinishReason,
    Provenance,
    Query,
    Reason,
    Route,
    Tier,
    TokenProbability,
    ToolCall,
    Usage,
    Wanted,
)
from router.core.domain.record import Record, Source, Tried
from router.core.domain.task import Judge, Kind, Task
from router.core.domain.token_codec import pack
from router.core.policy.exploration import is_explored

_PARSERS: dict[Judge, Callable[[str], object]] = {Judge.STRUCTURE: parse_json, Judge.TOOL_CALL: parse_calls}

_NO_ATTEMPT = Attempt()
_NO_LABELS = Distribution()

Stages = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """One query as the gateway took it in.

    Attributes:
        query: With its id; its attempt names the rate that its device was ordered.
        caller: Who asked, authenticated.
        task: Its task.
        received_at: Unix time in seconds.
        explored: Drawn for the reference, as recomputed here.
    """

    query: Query
    caller: str
    task: Task
    received_at: float
    explored: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the pool said to one query.

    Attributes:
        answer: That goes out.
        teacher: Whose it is.
        tried: What cheaper teachers said.
        stands: A cheaper teacher's answer stands, or would have, had the query not been explored.
        usd: Price of all that was asked.
    """

    answer: TeacherAnswer
    teacher: str
    tried: tuple[Tried, ...] = ()
    stands: bool = False
    usd: float = 0.0


def verify_draw(query: Query, seed: bytes) -> bool:
    """Whether a query was explored: its first tier claims so, and drew it by its seed at the rate in the attempt."""
    attempt = query.attempt
    return attempt is not None and attempt.explored and is_explored(seed, query.id, attempt.exploration)


def is_covered(query: Query) -> bool:
    """Whether a query counts in the promise: a device might have answered it, and was not kept from asking."""
    return query.attempt is not None and not query.attempt.degraded and query.route is Route.AUTO


def source_of(attempt: Attempt | None) -> Source:
    """How a query came to the cloud."""
    if attempt is None:
        return Source.DIRECT
    return Source.TAUGHT if attempt.kept else Source.ESCALATED


def question_of(asked: Asked, trace: tuple[tuple[str, str], ...] = ()) -> Question:
    """What the task's reference is asked.

    Args:
        asked: The query.
        trace: The trace that it belongs to.
    """
    query, task = asked.query, asked.task
    wanted = query.wanted
    if task.kind is Kind.TEXT:
        most = max(wanted.top_k, LOGGED_ALTERNATIVES if wants_tokens(task) else 0)
        wanted = Wanted(most, wanted.rationale or wants_rationales(task))
    return Question(
        text=text_of(query),
        messages=query.messages,
        tools=query.tools,
        response_schema=query.response_schema,
        limits=limits_of(query.limits, task.limits),
        wanted=wanted,
        instruction=instruction_of(task),
        reason_apart=not wants_rationales(task),
        trace=trace,
    )


def text_of(query: Query) -> str:
    """What was asked, as one text."""
    return query.text or transcript(query.messages)


def problem_of(task: Task, said: TeacherAnswer) -> str:
    """Why an answer is no lesson; empty where it is one. What the task's judge can't read teaches nothing."""
    if said.problem:
        return said.problem
    parse = _PARSERS.get(task.judge)
    if parse is None or parse(said_text(said)) is not None:
        return ""
    return "the answer is no tool call" if task.judge is Judge.TOOL_CALL else "the answer is no JSON"


def said_text(said: TeacherAnswer) -> str:
    """The answer as one text: calls that are said apart from the text stand for it."""
    return calls_as_text(said.tool_calls) if said.tool_calls else said.text


def record_of(asked: Asked, outcome: Outcome) -> Record:
    """The record of one answer of the pool."""
    query, attempt, answer = asked.query, asked.query.attempt or _NO_ATTEMPT, outcome.answer
    # Else the reference was asked for certain.
    drawn = (attempt.kept and not attempt.degraded) or outcome.stands
    claims = attempt.explored or (attempt.kept and not attempt.degraded)
    rate = 0.0 if claims and not asked.explored else attempt.exploration
    return Record(
        caller=asked.caller,
        query_id=query.id,
        teacher=outcome.teacher,
        teacher_version=answer.version,
        is_reference=outcome.teacher == asked.task.reference,
        task=asked.task.name,
        task_version=asked.task.version,
        asked_at=attempt.asked_at or asked.received_at,
        received_at=asked.received_at,
        text=text_of(query),
        chat=messages_as_json(query.messages) if query.messages else "",
        answer=said_text(answer),
        source=source_of(query.attempt),
        labels=tuple([label for label, _ in answer.distribution.top]),
        log_probabilities=tuple([value for _, value in answer.distribution.top]),
        tail_log_probability=answer.distribution.tail,
        tenant=query.tenant,
        subject=query.subject,
        conversation=query.conversation,
        release=attempt.release,
        local_answer=attempt.answer,
        local_score=attempt.score,
        kept=attempt.kept,
        degraded=attempt.degraded,
        covered=is_covered(query),
        explored=asked.explored,
        propensity=rate if drawn and rate > 0 else 1.0,
        exploration=rate,
        threshold=attempt.threshold,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        milliseconds=answer.milliseconds,
        usd=answer.usd,
        rationale=answer.rationale,
        tokens=pack(answer.tokens),
        problem=problem_of(asked.task, answer),
        tried=outcome.tried,
        sequence_number=max(attempt.sequence_number, 0),
    )


def answer_of(asked: Asked, outcome: Outcome, node: str, logged: bool, stages: Stages) -> Answer:
    """What the caller hears.

    Args:
        asked: The query.
        outcome: What the pool said.
        node: Opaque name of the gateway.
        logged: The record is, or will be, in the log.
        stages: Where the time went, in milliseconds.
    """
    query, attempt, said = asked.query, asked.query.attempt, outcome.answer
    calls = _calls_of(asked.task, said)
    called = bool(calls) and said.finish_reason is FinishReason.STOP
    return Answer(
        query_id=query.id,
        text=said.text or said_text(said),
        finish_reason=FinishReason.TOOL_CALLS if called else said.finish_reason,
        tool_calls=calls,
        tokens=tuple(_shortened(token, query.wanted.top_k) for token in said.tokens) if query.wanted.top_k else (),
        rationale=said.rationale if query.wanted.rationale else "",
        provenance=Provenance(
            tier=Tier.CLUSTER,
            model=outcome.teacher,
            model_version=said.version,
            reason=Reason.DIRECT if attempt is None else attempt.reason,
            covered=is_covered(query),
            logged=logged,
            explored=asked.explored,
            node=node,
        ),
        distribution=shorten(said.distribution, query.wanted.top_k),
        usage=Usage(said.tokens_in, said.tokens_out, stages, outcome.usd),
    )


def _calls_of(task: Task, said: TeacherAnswer) -> tuple[ToolCall, ...]:
    """The calls that an answer asks for; those that it spells as text too, where the task is about calls."""
    if said.tool_calls or task.judge is not Judge.TOOL_CALL:
        return said.tool_calls
    return tool_calls_in(said.text) or ()


def _shortened(token: TokenProbability, top_k: int) -> TokenProbability:
    return replace(token, alternatives=shorten(token.alternatives, top_k))


def shorten(distribution: Distribution, top_k: int) -> Distribution:
    """The ``top_k`` likeliest labels; the tail takes in the others."""
    if top_k <= 0:
        return _NO_LABELS
    if top_k >= len(distribution.top):
        return distribution
    left_out = [value for _, value in distribution.top[top_k:]]
    left_out += [] if distribution.tail is None else [distribution.tail]
    total = math.fsum(math.exp(value) for value in left_out)
    return Distribution(distribution.top[:top_k], math.log(max(total, 1e-300)))
