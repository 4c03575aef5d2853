"""Whether the next tier can be reached, told when it changes and not per query.

Rules:
 * Away begins with a call that nothing answered, and ends with any reply, a refusal too.
 * Each change is one line in the log, with the address and how long it lasted. Why it is away may change meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from router.transport.connection_failures import ConnectionFailure, FailureKind, read_failure

log = logging.getLogger(__name__)


class Reach:
    """The reachability of one target.

    Attributes:
        failure: Why it is away; ``None`` while it is not.
    """

    def __init__(self, target: str, clock: Callable[[], float]) -> None:
        """Begin as reachable; ``clock`` gives seconds that never run backwards."""
        self._target = target
        self._clock = clock
        self._away_since = 0.0
        self.failure: ConnectionFailure | None = None

    @property
    def is_away(self) -> bool:
        """Whether nothing has answered since a call failed."""
        return self.failure is not None

    def failed(self, details: str) -> None:
        """A call got no reply at all; ``details`` are what gRPC says of it.

        That addresses known from before don't answer tells less than that the name can't be resolved.
        """
        failure = read_failure(details or "no reply")
        if self.failure is None or self.failure.kind is not FailureKind.NAME or failure.kind is not FailureKind.NOBODY:
            self._away(failure)

    def looked(self, details: str) -> None:
        """The same of a look that began with the name."""
        self._away(read_failure(details))

    def _away(self, failure: ConnectionFailure) -> None:
        before, self.failure = self.failure, failure
        if before is None:
            self._away_since = self._clock()
        if before is None or before.kind is not failure.kind:
            why = failure.words
            log.warning("the next tier at %s can't be reached: %s; it is tried until it is back", self._target, why)

    def replied(self) -> None:
        """Something came back."""
        if self.failure is not None:
            away = self._clock() - self._away_since
            self.failure = None
            log.warning("the next tier at %s is back, after %.0f s", self._target, away)
