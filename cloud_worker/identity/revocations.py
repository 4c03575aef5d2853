"""Which certificates a gateway takes no more: read again every two seconds, and asked before every call.

Rules:
 * While the database can't be read, what was read last counts: nobody who was revoked comes back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from cloud_worker.identity.register import Register
from router.core.errors import HeadraceError

log = logging.getLogger(__name__)

READ_SECONDS = 2.0


class Revocations:
    """The revoked certificates, as one gateway knows them."""

    def __init__(self, register: Register, clock: Callable[[], float] = time.time) -> None:
        """Read what ``register`` holds now; ``clock`` tells Unix time in seconds."""
        self._register, self._clock = register, clock
        self._serials = register.revoked(clock())

    def is_void(self, serial: str) -> bool:
        """Whether the certificate of a serial number, in hex, was revoked."""
        return serial in self._serials

    async def keep_reading(self) -> None:
        """Read again and again, until cancelled."""
        while True:
            await asyncio.sleep(READ_SECONDS)
            try:
                self._serials = await asyncio.to_thread(self._register.revoked, self._clock())
            except (HeadraceError, SQLAlchemyError) as error:
                log.warning("what was revoked can't be read: %s", error)
