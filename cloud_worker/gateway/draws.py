"""Was a query drawn, and at what rate? The gateway asks its own orders, and never believes a claim.

Rules:
 * Only a device that has reported makes attempts. Of anybody else an attempt says nothing: it is left out.
 * The rate is that of the device's orders when it asked, give or take one report; the draw is recomputed with it.
 * A claim that does not verify leaves an ordinary row; see ``records``.
 * Where the time of asking can't be, before the first order or after the query came, the order of its coming counts.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from cloud_worker.fleet.ordered_rates import OrderedRates, Rates
from cloud_worker.pool.answer_records import verify_draw
from cloud_worker.state.store import Store
from router.core.domain.query import Attempt, Query
from router.core.policy.exploration import Ordered, rate_in_force

CLOCK_SECONDS = 60.0  # by which a device's clock may be wrong
REMEMBERED_SECONDS = 5.0  # what another gateway ordered since is not known for so long
MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Verified:
    """A query as it is believed.

    Attributes:
        query: Its attempt, if it has one, names the rate that was ordered.
        explored: It was drawn.
        is_false_claim: It claims to be, and was not.
    """

    query: Query
    explored: bool = False
    is_false_claim: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a device: its seed and its orders, as read at a monotonic time in seconds."""

    seed: bytes
    rates: Rates
    read_at: float


class Draws:
    """Checks what devices claim. Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        sync_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[str], None] = lambda device: None,
    ) -> None:
        """Check against the orders in ``store``.

        Args:
            store: The state of the fleet.
            sync_seconds: Between two reports of a device.
            clock: Tells monotonic time in seconds.
            used: Hears, now and then, of devices that make attempts.
        """
        self._used = used
        self._store = store
        self._rates = OrderedRates(store.engine)
        self._skew = sync_seconds + CLOCK_SECONDS
        self._clock = clock
        self._devices: OrderedDict[str, _Known] = OrderedDict()

    async def verify(self, query: Query, caller: str, received_at: float) -> Verified:
        """What is believed of a query.

        Args:
            query: As its caller sent it.
            caller: Who that is.
            received_at: Unix time in seconds.
        """
        claim = query.attempt
        if claim is None:
            return Verified(query)
        known = await self._of(caller)
        ordered = known.rates.get(query.task) if known is not None else None
        if known is None or ordered is None:
            return Verified(replace(query, attempt=None), is_false_claim=claim.explored)
        query = replace(query, attempt=self._believed(claim, ordered, received_at))
        explored = verify_draw(query, known.seed)
        return Verified(query, explored, claim.explored and not explored)

    async def knows(self, caller: str) -> bool:
        """Whether a caller is a device that has reported."""
        return await self._of(caller) is not None

    def _believed(self, claim: Attempt, ordered: tuple[Ordered, ...], received_at: float) -> Attempt:
        can_be = ordered[0].since - self._skew <= claim.asked_at <= received_at
        asked_at = claim.asked_at if can_be else received_at
        return replace(claim, exploration=rate_in_force(ordered, claim.exploration, asked_at, self._skew))

    async def _of(self, caller: str) -> _Known | None:
        known = self._devices.get(caller)
        if known is None or self._clock() - known.read_at > REMEMBERED_SECONDS:
            known = await asyncio.to_thread(self._read, caller)
            if known is None:
                return None
            self._devices[caller] = known
            if len(self._devices) > MOST_REMEMBERED:
                self._devices.popitem(last=False)
        return known

    def forget(self, caller: str) -> None:
        """Read again what a device was ordered, when it is needed: it was told just now."""
        self._devices.pop(caller, None)

    def _read(self, caller: str) -> _Known | None:
        device = self._store.find_device(caller)
        if device is None:
            return None
        self._used(caller)
        return _Known(device.seed, self._rates.of(caller), self._clock())
