"""Asks the reference of a task what is in the log already, from the refresher's thread.

Rules:
 * It is asked as it was: by text or chat, with the task's limits and instruction, and for a reason where the task wants
   reasons.
 * Tools, schema and limits that a caller gave are not in the log, so they are not asked with again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import grpc
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from cloud_worker.config.recipe_needs import instruction_of, wants_rationales
from cloud_worker.pool.serve import application_of
from cloud_worker.teachers.base import NotNow, Question, Reply, TeacherAnswer
from router.core.domain.chat import messages_from_json
from router.core.domain.query import Wanted
from router.core.domain.record import Record
from router.core.domain.task import Kind, Task
from router.core.errors import UnavailableError
from router.core.privacy.read_version import read_version

_MILLISECONDS = 120_000.0  # nobody waits; what takes longer is asked another time


def ask_again(task: Task, records: Sequence[Record]) -> list[Reply | None]:
    """A fresh reply of the task's reference to each record's query; ``None`` where there was no time for one.

    Args:
        task: Of the records.
        records: What was answered before.

    Raises:
        UnavailableError: The pool can't be asked now, or has no such teacher.
    """
    replies: list[Reply | None] = [None] * len(records)
    try:
        handle: Any = serve.get_deployment_handle(task.reference, application_of(task.reference))
        asked = [question_again(task, record) for record in records]
        for piece in handle.options(stream=True, method_name="answer").remote(asked):
            for position, reply in piece:
                replies[position] = _as_read(task, reply)
    except (RayError, RayServeException, grpc.RpcError, ConnectionError, KeyError) as error:  # the key of a deployment
        raise UnavailableError(f"{type(error).__name__} from teacher {task.reference!r}") from error
    return replies


def _as_read(task: Task, reply: Reply | NotNow) -> Reply | None:
    """A reply, an answer under the teacher's version for texts as the task's are redacted; ``None`` for none now."""
    if isinstance(reply, TeacherAnswer):
        return replace(reply, version=read_version(reply.version, task.privacy.redact))
    return None if isinstance(reply, NotNow) else reply


def question_again(task: Task, record: Record) -> Question:
    """The question that a record answers."""
    return Question(
        record.text,
        milliseconds=_MILLISECONDS,
        messages=messages_from_json(record.chat) if record.chat else (),
        limits=task.limits,
        wanted=Wanted(rationale=task.kind is Kind.TEXT and wants_rationales(task)),
        instruction=instruction_of(task),
    )
