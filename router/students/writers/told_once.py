"""Logs once what only an operator can mend, and again when it has been mended in between."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from router.core.errors import DeclinedError, ModelError

log = logging.getLogger(__name__)


class Once:
    """What one server has been said to refuse. Threads may share one."""

    def __init__(self) -> None:
        """Nothing has been told."""
        self._told = ""

    @contextmanager
    def logging_once(self) -> Iterator[None]:
        """Log a ``ModelError`` that comes out, unless the last one said the same; the errors pass on."""
        try:
            yield
        except DeclinedError:  # of one question alone
            raise
        except ModelError as error:
            if str(error) != self._told:
                log.error("%s; it is asked again with every question", error)
            self._told = str(error)
            raise
        self._told = ""
