"""The answers of the last minutes by query id: the same call made twice is answered once.

Rules:
 * The same id with the same digest within ``KEPT_SECONDS`` gets the stored answer, or joins the one under way.
 * The same id with another digest is refused.
 * An error is not stored: asking again tries again.
 * Ids are scoped to this agent, which is the one caller that the next tier sees.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache

from edge_agent.answering.hand_over import HandOver
from router.core.domain.query import Answer, GenerationLimits, Query, Wanted
from router.core.errors import ConflictingQueryError, HeadraceError, UnavailableError

KEPT_SECONDS = 600.0
MOST_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class _Entry:
    digest: bytes
    until: float
    answer: asyncio.Future[Answer]


def _digest(query: Query) -> bytes:
    """What tells two questions apart in this process. ``Query.digest`` says it for ever, and takes its time."""
    asked = (
        *(query.task, query.text, query.messages, query.tenant, query.subject, query.conversation, query.tools),
        *(query.response_schema, query.route.value, query.consent.value, _spelt(query.limits), _spelt(query.wanted)),
    )
    return hashlib.sha256(repr(asked).encode(errors="surrogatepass")).digest()


@lru_cache(64)
def _spelt(value: GenerationLimits | Wanted) -> str:
    """A value of few kinds as text: nearly all queries have the same."""
    return repr(value)


class RecentAnswers:
    """Answers of the last minutes by query id, in memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST_KEPT) -> None:
        """Keep at most ``most`` answers; ``clock`` gives seconds that never run backwards."""
        self._clock = clock
        self._most = most
        self._entries: dict[str, _Entry] = {}  # oldest first

    async def once(self, query: Query, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer to ``query``: stored, under way, or made now by ``work``.

        Raises:
            ConflictingQueryError: The id came with another question.
            HeadraceError: What ``work`` raised.
        """
        self._forget()
        digest = _digest(query)
        known = self._entries.get(query.id)
        if known is None:
            return await self._make(query.id, digest, work)
        if known.digest != digest:
            raise ConflictingQueryError(f"query id {query.id!r} came before with another question; make a new id")
        return await asyncio.shield(known.answer)

    async def _make(self, query_id: str, digest: bytes, work: Callable[[], Awaitable[Answer]]) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._entries[query_id] = _Entry(digest, self._clock() + KEPT_SECONDS, future)
        try:
            answer = await work()
        except BaseException as error:
            del self._entries[query_id]
            ours = isinstance(error, HeadraceError | HandOver)
            future.set_exception(error if ours else UnavailableError("the first call of this query ended; ask again"))
            future.exception()  # nobody may have joined
            raise
        future.set_result(answer)
        return answer

    def forget_all(self) -> None:
        """Drop every answer that is there; who asks again is answered anew."""
        for query_id in [query_id for query_id, entry in self._entries.items() if entry.answer.done()]:
            del self._entries[query_id]

    def _forget(self) -> None:
        """Drop what is too old, or too much; what is under way stays."""
        for query_id in self._droppable(self._clock()):
            del self._entries[query_id]

    def _droppable(self, now: float) -> list[str]:
        dropped: list[str] = []
        for query_id, entry in self._entries.items():
            if entry.until > now and len(self._entries) - len(dropped) < self._most:
                break
            if entry.answer.done():
                dropped.append(query_id)
        return dropped
