"""The calls that a replica of a teacher works on, and the socket where gateways of its machine make them.

Rules:
 * One thread computes in a replica of a teacher; one that waits for others is asked by several, a question each.
 * A question that nobody waits for any more, because its time is over, it was broken off or its gateway is gone, is not
   begun; a teacher that is at work on it is left between two replies.
 * Replies go out as they come; those of a fast teacher travel together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from typing import Any, cast

from cloud_worker.pool.frames import ASK, BROKE, DONE, REPLIES, STOP, Connection, listening, new_name
from cloud_worker.teachers.base import NotNow, Question, Reply

Pairs = list[tuple[int, Reply | NotNow]]
Answer = Callable[[Sequence[Question]], Iterator[Reply | NotNow]]

_STEP = 16  # questions that a teacher gets at once
_FLUSH_SECONDS = 0.005  # replies that came within it travel together


class _Call:
    """Questions that came together, and which of them somebody waits for."""

    def __init__(self, questions: Sequence[Question]) -> None:
        """Wait for all questions, from now on."""
        self.questions = questions
        self._began = time.monotonic()
        self._stopped: set[int] = set()
        self._is_over = False

    def stop(self, position: int | None) -> None:
        """Nobody waits for one of them any more, or for any (``None``)."""
        if position is None:
            self._is_over = True
        else:
            self._stopped.add(position)

    def waits(self, position: int) -> bool:
        """Whether somebody still waits for a question."""
        if self._is_over or position in self._stopped:
            return False
        return self.questions[position].milliseconds > (time.monotonic() - self._began) * 1000


class ReplicaCalls:
    """The work of one replica."""

    def __init__(self, answer: Answer, threads: int) -> None:
        """Ask a teacher by ``answer``, in so many threads."""
        self._answer, self._threads = answer, threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="teacher")
        self._under_way: dict[tuple[Connection, int], tuple[_Call, asyncio.Task[None]]] = {}
        self._name = ""
        self._server: asyncio.AbstractServer | None = None  # held: uvloop closes one that nobody holds

    def answers(self, questions: Sequence[Question]) -> AsyncGenerator[Pairs]:
        """Replies as they come, each with its question's position; questions that nobody waits for get none."""
        return self._pieces(_Call(questions))

    async def socket(self) -> str:
        """The name of the socket where gateways of this machine ask; empty where there is none."""
        if not self._name and (name := new_name()):
            loop = asyncio.get_running_loop()
            made = loop.create_unix_server(lambda: Connection(self._heard, self._lost), sock=listening(name))
            self._server, self._name = await made, name
        return self._name

    async def _pieces(self, call: _Call) -> AsyncGenerator[Pairs]:
        loop = asyncio.get_running_loop()
        heard: asyncio.Queue[Pairs | BaseException | None] = asyncio.Queue()
        count = len(call.questions)
        parts = [range(count)] if self._threads == 1 else [range(position, position + 1) for position in range(count)]

        def put(piece: Pairs | BaseException | None) -> None:
            loop.call_soon_threadsafe(heard.put_nowait, piece)

        running = [self._pool.submit(self._work, call, positions, put) for positions in parts]
        try:
            left = len(running)
            while left:
                piece = await heard.get()
                if piece is None:
                    left -= 1
                elif isinstance(piece, BaseException):
                    raise piece
                else:
                    yield piece
        finally:
            call.stop(None)
            for each in running:
                each.cancel()

    def _work(self, call: _Call, positions: range, put: Callable[[Pairs | BaseException | None], None]) -> None:
        """Answer in a thread; the last thing put is ``None``, or what broke."""
        try:
            for start in range(0, len(positions), _STEP):
                self._step(
                    call, [position for position in positions[start : start + _STEP] if call.waits(position)], put
                )
            put(None)
        except Exception as error:  # noqa: BLE001 - logged where it was raised; whoever asked is told
            put(error)

    def _step(self, call: _Call, positions: Sequence[int], put: Callable[[Pairs], None]) -> None:
        if not positions:
            return
        ready: Pairs = []
        since = time.monotonic()
        replies = cast("Any", self._answer([call.questions[position] for position in positions]))
        with closing(replies):
            for number, (position, reply) in enumerate(zip(positions, replies, strict=True), 1):
                ready.append((position, reply))
                if number < len(positions) and not any(call.waits(later) for later in positions[number:]):
                    break
                if time.monotonic() - since >= _FLUSH_SECONDS:
                    put(ready)
                    ready, since = [], time.monotonic()
        if ready:
            put(ready)

    def _heard(self, connection: Connection, message: tuple[Any, ...]) -> None:
        kind, number, said = message
        if kind == ASK:
            call = _Call(said)
            task = asyncio.create_task(self._serve(connection, number, call))
            self._under_way[connection, number] = call, task
            task.add_done_callback(lambda _: self._under_way.pop((connection, number), None))
        elif kind == STOP and (known := self._under_way.get((connection, number))):
            known[0].stop(said)
            if said is None:
                known[1].cancel()

    async def _serve(self, connection: Connection, number: int, call: _Call) -> None:
        try:
            async with aclosing(self._pieces(call)) as pieces:
                async for pairs in pieces:
                    connection.send((REPLIES, number, pairs))
        except Exception:  # noqa: BLE001 - logged where it was raised
            connection.send((BROKE, number))
        else:
            connection.send((DONE, number))

    def _lost(self, connection: Connection) -> None:
        for (at, _), (call, task) in list(self._under_way.items()):
            if at is connection:
                call.stop(None)
                task.cancel()
