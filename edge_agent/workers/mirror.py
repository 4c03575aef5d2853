"""What a worker has in place of the owner's parts: the tasks as it was told, and nothing that keeps anything.

Rules:
 * Whatever needs the outbox, the next tier or the memory is handed over, and so is each query that is drawn.
 * What was told before the last change decides nothing: the board's epoch tells.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.answering.hand_over import HandOver
from edge_agent.tasks.all_tasks import Tasks, open_slot
from edge_agent.tasks.hosted_task import HostedTask, Serving
from edge_agent.tasks.orders import KeptOrders
from edge_agent.tasks.quota import Permit, Quota
from edge_agent.tasks.slots import Slots
from edge_agent.workers.board import Board, Position
from edge_agent.workers.snapshot import Snapshot, TaskNow
from router.core.domain.query import Query, Reason
from router.core.errors import HeadraceError

log = logging.getLogger(__name__)


class Told(Quota):
    """Whether the owner's limits let a query leave, as it was told. What leaves is handed over and booked there."""

    def __init__(self) -> None:
        """Nothing leaves yet."""
        super().__init__()
        self.granted = False

    def permit(self) -> Permit:
        """A permit that books nothing."""
        return Permit(granted=self.granted)


class MirroredTasks(Tasks):
    """The owner's tasks, for one worker."""

    def __init__(self, board: Board, worker: int, servers: Mapping[str, str]) -> None:
        """Know nothing yet, and hand everything over; ``servers`` are URLs by model."""
        super().__init__(Path("/nonexistent"), KeptOrders(), servers)
        self.heard.set()
        self.obstacle: Reason | None = None
        self._board, self._worker = board, worker
        self._epoch = -1
        self._positions: dict[str, Position] = {}

    @property
    def is_current(self) -> bool:
        """Whether nothing has changed since the worker was told."""
        return self._board.epoch == self._epoch

    def find(self, name: str) -> tuple[HostedTask, Serving | None]:
        """The task and its release; handed over where there is none, whose error is the owner's to tell."""
        hosted = self._hosted.get(name)
        withdrawn = hosted is not None and hosted.order is not None and hosted.order.is_withdrawn
        if hosted is None or withdrawn or hosted.serving is None or hosted.serving.student is None:
            raise HandOver
        return hosted, hosted.serving

    def is_drawn(self, hosted: HostedTask, serving: Serving, query: Query) -> bool:
        """Never: what is drawn has to be kept, and is handed over."""
        if super().is_drawn(hosted, serving, query):
            raise HandOver
        return False

    def publish(self, name: str) -> None:
        """Let the owner see the figures of a task."""
        hosted = self._hosted.get(name)
        if hosted is not None and name in self._positions:
            self._board.publish(self._positions[name], hosted.counters, _number(hosted))

    async def take(self, told: Snapshot) -> None:
        """Know what was told, and open what is new in it."""
        self.kept_orders, self.obstacle = told.kept_orders, told.obstacle
        for gone in self._hosted.keys() - {one.name for one in told.tasks}:
            del self._hosted[gone]
        for one in told.tasks:
            await self._take_one(one)
        self._epoch = told.epoch

    async def _take_one(self, told: TaskNow) -> None:
        if told.name not in self._hosted:
            self._hosted[told.name] = HostedTask(told.name, Slots(Path("/nonexistent")), quota=Told())
            self._positions[told.name] = Position(self._worker, told.position)
        hosted = self._hosted[told.name]
        hosted.order, hosted.holds_floor = told.order, told.holds_floor
        if isinstance(hosted.quota, Told):
            hosted.quota.granted = told.granted
        if told.slot is None:
            hosted.serving = None
        elif hosted.serving is None or hosted.serving.slot != told.slot:
            hosted.serving = None
            await self._open(hosted, told)

    async def _open(self, hosted: HostedTask, told: TaskNow) -> None:
        assert told.slot is not None
        release = told.slot.manifest.number
        try:
            serving = await asyncio.to_thread(open_slot, told.slot, self.servers)
        except (HeadraceError, OSError) as error:
            log.error("task %s: release %d can't be opened; the owner answers: %s", hosted.name, release, error)
            return
        # Figures go on where the worker before, or the release before, left them.
        position = self._positions[hosted.name]
        hosted.counters = self._board.figures(position, release)
        self._board.publish(position, hosted.counters, release)
        hosted.serving = serving


class NoNextTier:
    """In place of the next tier: it tells whether that can be asked, and is never asked."""

    def __init__(self, tasks: MirroredTasks) -> None:
        """Tell what ``tasks`` were told."""
        self._tasks = tasks

    def obstacle(self) -> Reason | None:
        """Why the next tier can't be asked now, as the owner knows it."""
        return self._tasks.obstacle

    async def ask(self, *_: Any) -> Any:
        """Hand over."""
        raise HandOver

    ask_patiently = ask


class NoOutbox:
    """In place of the outbox."""

    def sequence_number(self, _: str) -> int:
        """No number: whoever needs one is about to hand over."""
        return 0

    async def keep(self, *_: Any, **__: Any) -> None:
        """Hand over."""
        raise HandOver


class NoMemory:
    """In place of the memory of answers."""

    def recall(self, *_: Any, **__: Any) -> Any:
        """Hand over."""
        raise HandOver

    def learn(self, *_: Any, **__: Any) -> None:
        """Nothing comes back from the next tier here."""


def _number(hosted: HostedTask) -> int:
    return hosted.serving.manifest.number if hosted.serving else 0
