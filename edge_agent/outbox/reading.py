"""The rows of the outbox as the queries that they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from edge_agent.outbox.file import OutboxFile
from router.core.domain.query import Query
from router.core.errors import CallerError
from router.io.sealed import unseal
from router.transport.wire import query_from_proto
from router.v1 import cascade_pb2


@dataclass(frozen=True, slots=True)
class Waiting:
    """One query of the outbox and its position in the queue."""

    position: int
    query: Query


def select(
    file: OutboxFile, most: int, besides: frozenset[str], gone: frozenset[int]
) -> tuple[list[Waiting], list[int]]:
    """The first ``most`` queries of other tasks than ``besides``, and the positions of those that can't be read."""

    def read(rows: Iterator[tuple[int, object]]) -> tuple[list[Waiting], list[int]]:
        waiting: list[Waiting] = []
        broken: list[int] = []
        for position, data in rows:
            if len(waiting) + len(broken) >= most:
                break
            query = None if position in gone else query_of(data)
            if query is None and position not in gone:
                broken.append(position)
            elif query is not None and query.task not in besides:
                waiting.append(Waiting(position, query))
        return waiting, broken

    return file.read(read)


def number_of(query: Query) -> tuple[str, int] | None:
    """Task and number of a query that has one of its own."""
    attempt = query.attempt
    is_numbered = attempt is not None and attempt.kept and not attempt.degraded and attempt.sequence_number > 0
    return (query.task, attempt.sequence_number) if attempt is not None and is_numbered else None


def query_of(data: object) -> Query | None:
    """A query as it was written, ``None`` when it can't be read any more."""
    try:
        return query_from_proto(cascade_pb2.AnswerRequest.FromString(unseal(data))) if isinstance(data, bytes) else None
    except (DecodeError, CallerError, ValueError):
        return None
