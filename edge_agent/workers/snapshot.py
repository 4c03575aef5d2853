"""What the owner tells its workers: everything that they need to know to answer without it."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.tasks.all_tasks import Tasks
from edge_agent.tasks.orders import KeptOrders
from edge_agent.tasks.slots import Slot
from edge_agent.workers.board import MOST_TASKS
from router.core.domain.query import Reason
from router.core.release.orders import Order


@dataclass(frozen=True, slots=True)
class TaskNow:
    """One task.

    Attributes:
        name: The task's.
        position: Its position on the board.
        slot: The release in place, once its student is opened; ``None`` before, or without one.
        order: The last one heard.
        holds_floor: Its releases are signed.
        granted: Its limits let a query leave now.
    """

    name: str
    position: int
    slot: Slot | None
    order: Order | None
    holds_floor: bool
    granted: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a worker knows.

    Attributes:
        epoch: Of the board, when it was made.
        kept_orders: The orders in force, and the seed of the draw.
        tasks: Each task that workers may answer.
        obstacle: Why the next tier can't be asked now.
        erasures: How often answers of the last minutes had to be forgotten.
        ready: All workers know enough; health may say so.
    """

    epoch: int
    kept_orders: KeptOrders
    tasks: tuple[TaskNow, ...]
    obstacle: Reason | None
    erasures: int
    ready: bool


class Positions:
    """Which position on the board each task has, given once and for good."""

    def __init__(self) -> None:
        """Give none yet."""
        self._positions: dict[str, int] = {}

    def of(self, name: str) -> int | None:
        """The position of a task; ``None`` when there is none left."""
        if name not in self._positions and len(self._positions) < MOST_TASKS:
            self._positions[name] = len(self._positions)
        return self._positions.get(name)


def tasks_now(tasks: Tasks, positions: Positions) -> tuple[TaskNow, ...]:
    """What workers have to know of the owner's tasks."""
    found = []
    for hosted in tasks:
        position = positions.of(hosted.name)
        if position is not None:
            serving = hosted.serving
            slot = serving.slot if serving is not None and not serving.is_loading else None
            permit = hosted.quota.permit()
            permit.close()
            found.append(TaskNow(hosted.name, position, slot, hosted.order, hosted.holds_floor, permit.granted))
    return tuple(found)
