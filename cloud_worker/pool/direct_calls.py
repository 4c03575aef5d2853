"""How a gateway asks the copies of a teacher that run on its own machine: by sockets of theirs, past Serve's router.

Serve places the copies, looks after their health and replaces them; ``broadcast`` on its handle says which there are.

Rules:
 * Whoever breaks off a call, or no longer waits for one question of it, is heard by the copy.
 * A copy that ends breaks its calls at once; no new one goes to it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from cloud_worker.pool.batcher import Batch
from cloud_worker.pool.frames import ASK, BROKE, DONE, REPLIES, STOP, Line, connected
from cloud_worker.teachers.base import NotNow, Question, Reply

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0  # between two looks for copies, while all is well
LOOK_SOON_SECONDS = 0.5  # while some are missing

Pairs = Sequence[tuple[int, Reply | NotNow]]


class CopyBrokeError(Exception):
    """The teacher in a copy broke on a call; the copy's log says how."""


class CopyLine:
    """The connection to one copy."""

    def __init__(self, name: str) -> None:
        """Of the copy whose socket has this name; ``open`` connects."""
        self.name = name
        self.is_open = False
        self._calls: dict[int, asyncio.Queue[Pairs | Exception | None]] = {}
        self._numbers = itertools.count()
        self._line = Line(self._heard, self._lost)

    @property
    def calls(self) -> int:
        """How many are under way."""
        return len(self._calls)

    async def open(self) -> None:
        """Connect; ``OSError`` where the copy is not on this machine."""
        connection = connected(self.name)
        await asyncio.get_running_loop().create_connection(lambda: self._line, sock=connection)
        self.is_open = True

    async def ask(self, questions: Sequence[Question]) -> AsyncGenerator[Pairs]:
        """Replies as they come.

        Raises:
            ConnectionError: The copy ended.
            CopyBrokeError: Its teacher broke.
        """
        number = next(self._numbers)
        heard = self._calls[number] = asyncio.Queue()
        if isinstance(questions, Batch):
            questions.unwanted = lambda position: self._line.send((STOP, number, position))
        self._line.send((ASK, number, list(questions)))
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
                self._line.send((STOP, number, None))

    def close(self) -> None:
        """End the connection, and the calls with it."""
        self._line.close()

    def _heard(self, _: Line, message: tuple[Any, ...]) -> None:
        kind, number, *rest = message
        call = self._calls.get(number)
        if call is None:  # broken off here
            return
        if kind == REPLIES:
            call.put_nowait(rest[0])
        elif kind == DONE:
            call.put_nowait(None)
        elif kind == BROKE:
            call.put_nowait(CopyBrokeError("the teacher broke"))

    def _lost(self, _: Line) -> None:
        self.is_open = False
        for call in self._calls.values():
            call.put_nowait(ConnectionError("the copy ended"))


class Copies:
    """Those of one teacher that this machine has. Belongs to one event loop."""

    def __init__(self, teacher: str, find: Callable[[], Awaitable[Sequence[object]]]) -> None:
        """Of ``teacher``; ``find`` asks each copy for the name of its socket, and gives an error where that fails."""
        self._teacher = teacher
        self._find = find
        self._lines: dict[str, CopyLine] = {}
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = float("-inf")
        self._is_whole = False  # all copies were heard of, and none was lost since

    def least_busy(self) -> CopyLine | None:
        """The copy with the fewest calls under way; ``None`` where this machine has none that can be reached."""
        wait = LOOK_SECONDS if self._is_whole else LOOK_SOON_SECONDS
        if self._looking is None and time.monotonic() >= self._looked_at + wait:
            self._looking = asyncio.create_task(self._look(), name=f"copies of {self._teacher}")
        open_lines = [line for line in self._lines.values() if line.is_open]
        if len(open_lines) < len(self._lines):
            self._lines = {line.name: line for line in open_lines}
            self._is_whole = False
        return min(open_lines, key=lambda line: line.calls, default=None)

    async def look(self) -> None:
        """Look for copies now."""
        self.least_busy()
        if self._looking is not None:
            await asyncio.shield(self._looking)

    async def _look(self) -> None:
        try:
            found = await self._find()
            names = {name for name in found if isinstance(name, str)}
            self._is_whole = bool(names) and len(names) == len(found)
            for name in names - self._lines.keys():
                await self._connect(name)
            for name in self._lines.keys() - names if self._is_whole else ():
                if not self._lines[name].calls:
                    self._lines.pop(name).close()
        except Exception as error:  # noqa: BLE001 - Serve's handle raises of any kind; the way over it stays
            log.info("the copies of teacher %s can't be looked for now: %r", self._teacher, error)
            self._is_whole = False
        finally:
            self._looked_at = time.monotonic()
            self._looking = None

    async def _connect(self, name: str) -> None:
        line = CopyLine(name)
        try:
            await line.open()
        except OSError as error:
            log.info("a copy of teacher %s is asked through Serve: %s", self._teacher, error)
        else:
            self._lines[name] = line
