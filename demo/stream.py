"""The stream: queries over gRPC to the agents in turn, and what came back of each.

Rules:
 * Query n goes to agent n mod agents, and to that one only; while it restarts, the query waits for it.
 * Under lockstep the stream pauses every ``STRIDE`` queries until nothing is being computed or copied.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from demo.setting import TASK, Addresses, Setting
from router.client.async_client import AsyncClient
from router.core.domain.query import Answer, Tier
from router.core.errors import CallerError, DeadlineError, HeadraceError

STRIDE = 100
CONCURRENCY = 8
DEADLINE_SECONDS = 30.0


@dataclass(slots=True)
class Asked:
    """What became of the queries, by their position in the stream.

    Attributes:
        answers: The answer of each, ``None`` until there is one.
        errors: The error of each that got one.
        milliseconds: As the caller saw it.
        sent: How many queries have been sent.
    """

    answers: list[Answer | None]
    errors: dict[int, HeadraceError] = field(default_factory=dict)
    milliseconds: list[float] = field(default_factory=list)
    sent: int = 0

    @property
    def done(self) -> int:
        """How many queries have an answer or an error."""
        return sum(answer is not None for answer in self.answers) + len(self.errors)

    @property
    def failed(self) -> list[HeadraceError]:
        """Errors that are not the caller's own."""
        return [error for error in self.errors.values() if not isinstance(error, DeadlineError | CallerError)]


def query_id(position: int) -> str:
    """The id of a query, by its position in the stream."""
    return f"q-{position:06d}"


def is_local(answer: Answer) -> bool:
    """Whether a student answered."""
    return answer.provenance.tier is Tier.DEVICE


async def send(setting: Setting, addresses: Addresses, asked: Asked, settled: Callable[[], Awaitable[None]]) -> None:
    """Send the whole stream.

    Args:
        setting: The demo.
        addresses: Where the agents are.
        asked: Filled as answers come.
        settled: Returns once nothing is being computed or copied; used under lockstep.
    """
    clients = [AsyncClient(target, insecure=True, device="demo") for target in addresses.agent_targets]
    began = time.monotonic()
    gate = asyncio.Semaphore(CONCURRENCY)

    async def ask(position: int) -> None:
        started = time.monotonic()
        try:
            asked.answers[position] = await clients[position % len(clients)].ask(
                setting.stream[position].text, TASK, query_id=query_id(position), deadline=DEADLINE_SECONDS
            )
        except HeadraceError as error:
            asked.errors[position] = error
        finally:
            asked.milliseconds[position] = 1000 * (time.monotonic() - started)
            gate.release()

    try:
        async with asyncio.TaskGroup() as group:
            pending: list[asyncio.Task[None]] = []
            for position in range(len(setting.stream)):
                if setting.rate:
                    await asyncio.sleep(max(0.0, began + position / setting.rate - time.monotonic()))
                await gate.acquire()
                pending.append(group.create_task(ask(position)))
                asked.sent += 1
                if setting.lockstep and asked.sent % STRIDE == 0:
                    await asyncio.gather(*pending)
                    pending.clear()
                    await settled()
    finally:
        await asyncio.gather(*(client.close() for client in clients))
