"""Keeps a device's certificate fresh, for as long as the agent runs.

Rules:
 * It is renewed after two thirds of its time, and tried again until it is; also long after it has ended.
 * A certificate that somebody puts in place, as ``enroll`` does, is taken up at once.
 * While the next tier is away, the gateway's certificate is looked at: the clock may be why.
 * Whatever goes wrong is remembered for ``status``, and nothing ends the loop.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from edge_agent.identity.clock import Clock, by_certificate
from edge_agent.identity.enrolling import renew
from edge_agent.identity.files import IdentityFolder
from router.core.errors import DeniedError, HeadraceError, RevokedError, WrongClockError
from router.identity.bundle import changed_at
from router.identity.certificates import Certificate, read_certificate
from router.identity.shown_certificate import read_shown_certificate
from router.transport.address import read_address

log = logging.getLogger(__name__)

CHECK_SECONDS = 5.0
RENEWED_AFTER = 2 / 3  # of the time that a certificate holds
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0  # seconds between tries
CLOCK_PAUSE = 30.0  # seconds between looks at the clock
TAKE_UP_PAUSE = 30.0  # seconds until a certificate that could not be used is tried again


class Renewal:
    """The renewal of one device's certificate.

    Attributes:
        certificate: What it shows now.
        refusal: What the cloud said when it refused to renew, ``None`` while it does not.
        clock: How this device's clock goes, as far as gateways' certificates tell.
    """

    def __init__(
        self,
        folder: IdentityFolder,
        rotate: Callable[[], Awaitable[None]],
        is_away: Callable[[], bool],
        now: Callable[[], float] = time.time,
    ) -> None:
        """Prepare.

        Args:
            folder: Of the identity.
            rotate: Shows another certificate.
            is_away: Whether the next tier is.
            now: Tells Unix time in seconds.

        Raises:
            ConfigError: The certificate can't be read.
        """
        self._folder, self._rotate, self._is_away, self._now = folder, rotate, is_away, now
        self._stamp = changed_at(folder.path)
        self.certificate: Certificate = folder.certificate()
        self.refusal: DeniedError | None = None
        self.clock = Clock.RIGHT
        self._pause = FIRST_PAUSE
        self._not_before = 0.0  # monotonic
        self._clock_check_at = 0.0
        self._take_up_at = 0.0

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.step()
            await asyncio.sleep(CHECK_SECONDS * random.uniform(0.9, 1.1))

    @property
    def is_due(self) -> bool:
        """Whether it is time to renew."""
        held = self.certificate.ends - self.certificate.starts
        return self._now() > self.certificate.starts + RENEWED_AFTER * held

    async def step(self) -> None:
        """Do what is due now."""
        await self._take_up()
        now = time.monotonic()
        if self.is_due and now >= self._not_before:
            await self._renew(now)
            await self._take_up()
        elif self._is_away() and now >= self._clock_check_at:
            self._clock_check_at = now + CLOCK_PAUSE
            await self._see_clock()
        elif not self._is_away():
            self.clock = Clock.RIGHT

    async def _take_up(self) -> None:
        stamp, now = changed_at(self._folder.path), time.monotonic()
        if stamp in (0, self._stamp) or now < self._take_up_at:
            return
        try:
            certificate = self._folder.certificate()
            await self._rotate()
        except HeadraceError as error:
            log.error("the certificate that was put in place can't be used, and the one before is: %s", error)
            self._take_up_at = now + TAKE_UP_PAUSE
            return
        log.info("another certificate is shown from now on")
        self.certificate, self._stamp = certificate, stamp
        self.refusal, self._not_before, self._pause = None, 0.0, FIRST_PAUSE

    async def _renew(self, now: float) -> None:
        try:
            await renew(self._folder, self._now)
        except (HeadraceError, OSError) as error:
            first = self._pause == FIRST_PAUSE
            log.log(logging.WARNING if first else logging.DEBUG, "the certificate could not be renewed: %s", error)
            if isinstance(error, DeniedError):
                self.refusal = error
            if isinstance(error, WrongClockError):
                self.clock = Clock.AHEAD if error.is_ahead else Clock.BEHIND
            self._pause = LONGEST_PAUSE if isinstance(error, RevokedError) else min(2 * self._pause, LONGEST_PAUSE)
            self._not_before = now + self._pause * random.uniform(0.5, 1.0)
        else:
            self.clock, self.refusal = Clock.RIGHT, None

    async def _see_clock(self) -> None:
        try:
            address, root = read_address(self._folder.cloud(), "identity", "cloud"), self._folder.bundle().authorities
            shown = await asyncio.to_thread(read_shown_certificate, address.host, address.port, root)
            self.clock = by_certificate(read_certificate(shown), self._now())
        except HeadraceError as error:
            log.debug("the clock can't be compared: %s", error)
