"""Report to the fleet and take its orders, at the interval that the fleet sets.

Rules:
 * New orders hold from the next query on, and are kept for a restart. A full disk keeps them from being kept, not from
   being obeyed.
 * After an activation or a refusal it reports at once.
 * What the cloud has to say is logged once, until it says something else.
 * A cloud that is away is asked again soon at first, then less often; nothing waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edge_agent.fleet.erasing import Erasing
from edge_agent.tasks.all_tasks import Tasks
from edge_agent.tasks.orders import KeptOrders, save_orders
from edge_agent.upstream.client import Upstream
from router.core.domain.limits import MAX_REASON_BYTES
from router.core.errors import DeadlineError, HeadraceError, UnavailableError
from router.core.release.orders import CONTRACT, Orders
from router.core.release.reports import DeviceReport
from router.core.visible_text import in_line

log = logging.getLogger(__name__)

SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.05, 3600.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0  # seconds between failing reports


class Sync:
    """Keeps this device known, and told what to run."""

    def __init__(
        self,
        upstream: Upstream,
        tasks: Tasks,
        report: Callable[[], DeviceReport],
        ordered: Callable[[], None],
        path: Path,
        erasing: Erasing,
    ) -> None:
        """Prepare.

        Args:
            upstream: Where the fleet is.
            tasks: Take the orders.
            report: Makes the report.
            ordered: Called when orders were taken.
            path: Where seed and orders are kept.
            erasing: Erases what is to be erased.
        """
        self._erasing = erasing
        self._upstream = upstream
        self._tasks = tasks
        self._report = report
        self._ordered = ordered
        self._path = path
        self._poked = asyncio.Event()
        self._told = ""
        self.clock_ahead = 0.0  # seconds that this device's clock is ahead of the cloud's, as it was told last

    def poke(self) -> None:
        """Report soon: something has changed."""
        self._poked.set()

    async def run(self) -> None:
        """Report and take orders, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            self._poked.clear()
            try:
                interval = await self.once()
                pause = FIRST_PAUSE
            except HeadraceError as error:
                away = isinstance(error, UnavailableError | DeadlineError)  # told by ``reachability.py``
                level = logging.WARNING if pause == FIRST_PAUSE and not away else logging.DEBUG
                log.log(level, "could not sync with %s: %s", self._upstream.in_use, error)
                interval = pause * random.uniform(1.0, 1.5)
                pause = min(2 * pause, LONGEST_PAUSE)
            await self._rest(interval)

    async def once(self) -> float:
        """Report and take orders once; seconds until the next time.

        Raises:
            HeadraceError: The fleet can't be reached, or refuses.
        """
        orders = await self._upstream.sync(replace(self._report(), erased=self._erasing.to_tell))
        self.clock_ahead = time.time() - orders.now if orders.now else 0.0
        self._note_contract(orders.contract)
        kept_orders = self._tasks.kept_orders.after(orders)
        if kept_orders != self._tasks.kept_orders:
            self._tasks.obey(kept_orders)
            self._ordered()
            await self._keep(kept_orders)
        if await self._erasing.obey(orders.erasures):
            self._ordered()
            self.poke()
        self._tasks.heard.set()
        if orders.message and orders.message != self._told:
            log.warning("the cloud says: %s", in_line(orders.message, MAX_REASON_BYTES))
        self._told = orders.message
        return _bounded(orders)

    def _note_contract(self, contract: int) -> None:
        is_new = contract != self._tasks.contract or not self._tasks.heard.is_set()
        if contract < CONTRACT and is_new:
            log.warning("the cloud is older than this agent: nothing is answered from memory until it is upgraded")
        self._tasks.contract = contract

    async def _keep(self, kept_orders: KeptOrders) -> None:
        try:
            await asyncio.to_thread(save_orders, self._path, kept_orders)
        except OSError as error:
            log.error("orders hold, but can't be kept for a restart: %s", error)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._poked.wait()
        except TimeoutError:
            pass


def _bounded(orders: Orders) -> float:
    seconds = orders.interval_seconds
    if not math.isfinite(seconds) or seconds <= 0:
        return Orders().interval_seconds
    return min(max(seconds, SHORTEST_INTERVAL), LONGEST_INTERVAL)
