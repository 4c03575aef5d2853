"""What the gateway refuses before anybody is asked, and what it can't send after."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import replace

from cloud_worker.pool.answer_records import Outcome
from router.core.domain.limits import MAX_ANSWER_BYTES, MAX_LABEL_BYTES
from router.core.domain.query import Query, check_query
from router.core.domain.task import Kind, Task
from router.core.errors import (
    BadInputError,
    NotPossibleError,
    TooLargeError,
    no_such_task,
)
from router.core.privacy.owner_privacy import stays_at_device
from router.io.redactors import redaction_of

LONG = 8 * 1024  # characters: milliseconds, in which nobody else should have to wait


def checked(query: Query, tasks: Mapping[str, Task]) -> Query:
    """The query as it is asked, with an id.

    Raises:
        CallerError: It can't be asked here; says what to change.
    """
    task = _task_of(query, tasks)
    query = check_query(query, task.max_text_bytes)
    if query.messages and task.kind is Kind.LABEL:
        raise BadInputError("chat", f"is not taken by task {task.name!r}, which labels one text; send text")
    _check_attempt(query, task)
    if stays_at_device(task, query):
        raise NotPossibleError("this query may not leave its device, and this is the cloud")
    return query if query.id else replace(query, id=uuid.uuid4().hex)


async def redacted(query: Query, tasks: Mapping[str, Task]) -> Query:
    """The query as it may be asked and kept: a device has redacted it already, whoever asks here has not.

    Args:
        query: Checked.
        tasks: Those that are served.

    Raises:
        HeadraceError: A redactor fails.
    """
    redaction = redaction_of(tasks[query.task].privacy.redact)
    if not redaction:
        return query
    long = len(query.text) + sum(len(message.content) for message in query.messages) > LONG
    return await asyncio.to_thread(redaction.of_query, query) if long else redaction.of_query(query)


def _task_of(query: Query, tasks: Mapping[str, Task]) -> Task:
    if not query.task:
        raise BadInputError("task", f"is empty; tasks here: {', '.join(sorted(tasks))}")
    task = tasks.get(query.task)
    if task is None:
        raise no_such_task(query.task, tasks)
    return task


def _check_attempt(query: Query, task: Task) -> None:
    answer = query.attempt.answer if query.attempt is not None else None
    if task.kind is Kind.LABEL and answer is not None and len(answer.encode()) > MAX_LABEL_BYTES:
        problem = f"has {len(answer.encode())} bytes; a label has {MAX_LABEL_BYTES} at most"
        raise BadInputError("attempt.answer", problem)


def check_answer(outcome: Outcome) -> None:
    """Check that an answer fits into a message.

    Raises:
        TooLargeError: It does not; names what is too long.
    """
    for name, text in (("answer", outcome.answer.text), ("rationale", outcome.answer.rationale)):
        if len(text) > MAX_ANSWER_BYTES // 4 and len(text.encode(errors="replace")) > MAX_ANSWER_BYTES:
            problem = f"the {name} has more than {MAX_ANSWER_BYTES:,} bytes, which no message takes"
            raise TooLargeError(f"{problem}; ask for fewer tokens (limits.max_tokens)")
