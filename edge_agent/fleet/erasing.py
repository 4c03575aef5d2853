"""Erases what this device holds, as the cloud orders, and says so with the next report.

Rules:
 * An order is carried out each time that it comes, until the cloud has heard what became of it: it comes again after a
   crash, and finds nothing any more.
 * What the disk does not let go yet is erased when the order comes again.
 * Answers of the last minutes all go: whose they are is not kept.
 * The slot that does not serve is cleared, now and after the next activation: golden inputs quote what was asked.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from edge_agent.tasks.all_tasks import Tasks
from router.core.privacy.erasure import MOST_NUMBERS, Erased, Erasure

log = logging.getLogger(__name__)

EraseQueries = Callable[[str], Awaitable[tuple[int, tuple[tuple[str, int], ...]] | None]]  # see ``Outbox.erase``


class Erasing:
    """The erasures that one device carries out.

    Attributes:
        to_tell: What the next report says.
    """

    def __init__(self, erase: EraseQueries, tasks: Tasks, *forget: Callable[[str], object]) -> None:
        """Erase queries by ``erase``; ``tasks`` clear their idle slots; each ``forget`` erases what is remembered."""
        self._erase, self._tasks, self._forget = erase, tasks, forget
        self.to_tell: tuple[Erased, ...] = ()

    async def obey(self, orders: Sequence[Erasure]) -> bool:
        """Carry out what was ordered, and not told yet; whether there is anything new to tell."""
        known = {one.number: one for one in self.to_tell}
        new = [one for one in orders if one.number not in known]
        for one in new:
            for forget in self._forget:
                forget(one.subject)
            found = await self._erase(one.subject)
            if found is None:
                continue
            for hosted in self._tasks:
                hosted.forget_idle = True
            known[one.number] = Erased(one.number, found[0], found[1][:MOST_NUMBERS])
            log.warning("%d queries that waited were erased, as the cloud orders (%d)", found[0], one.number)
        self.to_tell = tuple(known[one.number] for one in orders if one.number in known)
        return any(one.number in known for one in new)
