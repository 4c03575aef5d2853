"""Whether the next tier can be reached, told when it changes and not per query.

Rules:
 * Away begins with a call that nothing answered, and ends with any reply, a refusal too.
 * Each change is one line in the log, with the address and how long it lasted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


class Reach:
    """Of one target."""

    def __init__(self, target: str, clock: Callable[[], float]) -> None:
        """Begin as reachable; ``clock`` gives seconds that never run backwards."""
        self._target = target
        self._clock = clock
        self._away_since: float | None = None

    @property
    def is_away(self) -> bool:
        """Whether nothing has answered since a call failed."""
        return self._away_since is not None

    def failed(self, why: str) -> None:
        """A call got no reply at all."""
        if self._away_since is None:
            self._away_since = self._clock()
            log.warning("the next tier at %s can't be reached: %s; it is tried until it is back", self._target, why)

    def replied(self) -> None:
        """Something came back."""
        if self._away_since is not None:
            away = self._clock() - self._away_since
            self._away_since = None
            log.warning("the next tier at %s is back, after %.0f s", self._target, away)
