"""Asks a teacher of the pool what is in the log already, from the refresher's thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from cloud_worker.gather import Reply
from cloud_worker.pool import application_of
from cloud_worker.teachers.base import Question
from router.distillation import Record
from router.errors import UnavailableError

_MILLISECONDS = 120_000.0  # nobody waits; what takes longer is asked another time


def ask_again(teacher: str, records: Sequence[Record]) -> list[Reply | None]:
    """A fresh reply to each record's query; ``None`` where there was no time for one.

    Args:
        teacher: Its name.
        records: What was answered before.

    Raises:
        UnavailableError: The pool can't be asked now.
    """
    replies: list[Reply | None] = [None] * len(records)
    try:
        handle: Any = serve.get_deployment_handle(teacher, application_of(teacher))
        asked = [Question(record.text, _MILLISECONDS) for record in records]
        for piece in handle.options(stream=True, method_name="answer").remote(asked):
            for place, reply in piece:
                replies[place] = reply
    except (RayError, RayServeException, grpc.RpcError, ConnectionError) as error:
        raise UnavailableError(f"{type(error).__name__} from teacher {teacher!r}") from error
    return replies
