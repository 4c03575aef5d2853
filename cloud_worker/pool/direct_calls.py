"""How a gateway asks the replicas of a teacher that run on its own machine: by sockets of theirs, past Serve's router.

Serve places the replicas, looks after their health and replaces them; ``broadcast`` on its handle says which there are.

Rules:
 * Whoever breaks off a call, or no longer waits for one question of it, is heard by the replica.
 * A replica that ends breaks its calls at once; no new one goes to it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from cloud_worker.pool.batcher import Batch
from cloud_worker.pool.frames import ASK, BROKE, DONE, REPLIES, STOP, Connection, connected
from cloud_worker.teachers.base import NotNow, Question, Reply

log = logging.getLogger(__name__)

CHECK_SECONDS = 10.0  # between two checks for replicas, while all is well
CHECK_AGAIN_SECONDS = 0.5  # while some are missing

Pairs = Sequence[tuple[int, Reply | NotNow]]


class ReplicaBrokeError(Exception):
    """The teacher in a replica broke on a call; the replica's log says how."""


class ReplicaConnection:
    """The connection to one replica."""

    def __init__(self, name: str) -> None:
        """Make the connection to the replica whose socket has this name; ``open`` connects."""
        self.name = name
        self.is_open = False
        self._calls: dict[int, asyncio.Queue[Pairs | Exception | None]] = {}
        self._numbers = itertools.count()
        self._connection = Connection(self._heard, self._lost)

    @property
    def calls(self) -> int:
        """How many are under way."""
        return len(self._calls)

    async def open(self) -> None:
        """Connect; ``OSError`` where the replica is not on this machine."""
        connection = connected(self.name)
        await asyncio.get_running_loop().create_connection(lambda: self._connection, sock=connection)
        self.is_open = True

    async def ask(self, questions: Sequence[Question]) -> AsyncGenerator[Pairs]:
        """Replies as they come.

        Raises:
            ConnectionError: The replica ended.
            ReplicaBrokeError: Its teacher broke.
        """
        number = next(self._numbers)
        heard = self._calls[number] = asyncio.Queue()
        if isinstance(questions, Batch):
            questions.unwanted = lambda position: self._connection.send((STOP, number, position))
        self._connection.send((ASK, number, list(questions)))
        over = False
        try:
            while (pairs := await heard.get()) is not None:
                if isinstance(pairs, Exception):
                    over = True
                    raise pairs
                yield pairs
            over = True
        finally:
            del self._calls[number]
            if isinstance(questions, Batch):
                questions.unwanted = None
            if not over:
                self._connection.send((STOP, number, None))

    def close(self) -> None:
        """End the connection, and the calls with it."""
        self._connection.close()

    def _heard(self, _: Connection, message: tuple[Any, ...]) -> None:
        kind, number, *rest = message
        call = self._calls.get(number)
        if call is None:  # broken off here
            return
        if kind == REPLIES:
            call.put_nowait(rest[0])
        elif kind == DONE:
            call.put_nowait(None)
        elif kind == BROKE:
            call.put_nowait(ReplicaBrokeError("the teacher broke"))

    def _lost(self, _: Connection) -> None:
        self.is_open = False
        for call in self._calls.values():
            call.put_nowait(ConnectionError("the replica ended"))


class Replicas:
    """Those of one teacher that this machine has. Belongs to one event loop."""

    def __init__(self, teacher: str, find: Callable[[], Awaitable[Sequence[object]]]) -> None:
        """Know no replica of ``teacher`` yet; ``find`` asks each for the name of its socket, or gives an error."""
        self._teacher = teacher
        self._find = find
        self._replicas: dict[str, ReplicaConnection] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._checked_at = float("-inf")
        self._is_whole = False  # all replicas were heard of, and none was lost since

    def least_busy(self) -> ReplicaConnection | None:
        """The replica with the fewest calls under way; ``None`` where this machine has none that can be reached."""
        wait = CHECK_SECONDS if self._is_whole else CHECK_AGAIN_SECONDS
        if self._refreshing is None and time.monotonic() >= self._checked_at + wait:
            self._refreshing = asyncio.create_task(self._refresh(), name=f"replicas of {self._teacher}")
        open_replicas = [replica for replica in self._replicas.values() if replica.is_open]
        if len(open_replicas) < len(self._replicas):
            self._replicas = {replica.name: replica for replica in open_replicas}
            self._is_whole = False
        return min(open_replicas, key=lambda replica: replica.calls, default=None)

    async def refresh(self) -> None:
        """Look for replicas now."""
        self.least_busy()
        if self._refreshing is not None:
            await asyncio.shield(self._refreshing)

    async def _refresh(self) -> None:
        try:
            found = await self._find()
            names = {name for name in found if isinstance(name, str)}
            self._is_whole = bool(names) and len(names) == len(found)
            for name in names - self._replicas.keys():
                await self._connect(name)
            for name in self._replicas.keys() - names if self._is_whole else ():
                if not self._replicas[name].calls:
                    self._replicas.pop(name).close()
        except Exception as error:  # noqa: BLE001 - Serve's handle raises of any kind; the way over it stays
            log.info("the replicas of teacher %s can't be looked for now: %r", self._teacher, error)
            self._is_whole = False
        finally:
            self._checked_at = time.monotonic()
            self._refreshing = None

    async def _connect(self, name: str) -> None:
        replica = ReplicaConnection(name)
        try:
            await replica.open()
        except OSError as error:
            log.info("a replica of teacher %s is asked through Serve: %s", self._teacher, error)
        else:
            self._replicas[name] = replica
