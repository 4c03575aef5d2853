"""The calls of one model's server: each within its time, none while the server is left alone, refusals told once.

Rules:
 * What only an operator can mend is logged once, and again when it has been mended in between.
 * A server that says when it wants to be asked again is asked nothing until then. That counts where the trouble passes:
   what only the question or the operator can mend keeps nobody else waiting.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from router.core.errors import BusyError, DeclinedError, HeadraceError, ModelError, UnavailableError
from router.students.writers.retry_after import wait_of

log = logging.getLogger(__name__)


class ServerCalls:
    """What is known of one server. Threads may share one."""

    def __init__(self, whose: str, seconds: float) -> None:
        """Nothing is known yet.

        Args:
            whose: The server, for people.
            seconds: Most for one call, above 0.
        """
        self._whose = whose
        self._seconds = seconds
        self._told = ""
        self._left_alone_until = 0.0  # by time.monotonic

    @contextmanager
    def one(self) -> Iterator[None]:
        """One call is made in here, as long as it may take; its errors pass on, and what is new of them is logged.

        Raises:
            BusyError: The server is left alone.
        """
        from router.students.writers.time_limits import within  # loaded with the first call, as httpx is

        left = self._left_alone_until - time.monotonic()
        if left > 0:
            raise BusyError(f"{self._whose} asked to be left alone; it is asked again in {left:.0f} s", left)
        try:
            with within(self._seconds):
                yield
        except DeclinedError:  # of one question alone
            raise
        except ModelError as error:
            if str(error) != self._told:
                log.error("%s; it is asked again with every question", error)
            self._told = str(error)
            raise
        self._told = ""

    def refused(self, error: HeadraceError, headers: Mapping[str, str]) -> HeadraceError:
        """What a refusal means.

        Args:
            error: By its status and words.
            headers: Of HTTP.
        """
        wait = wait_of(headers, time.time())
        if wait is None or not isinstance(error, UnavailableError):
            return error
        self._left_alone_until = max(self._left_alone_until, time.monotonic() + wait)
        return BusyError(f"{error}; it asks to be left alone for {wait:.0f} s", wait)
