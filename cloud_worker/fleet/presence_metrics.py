"""The fleet's devices as a gauge, ``headrace.devices``, by their state; read when somebody looks."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from sqlalchemy.exc import SQLAlchemyError

from cloud_worker.fleet.presence import LOST, SILENT, Presence
from cloud_worker.state.tallies import Tallies

log = logging.getLogger(__name__)


class PresenceMetrics:
    """Of one fleet."""

    def __init__(
        self, meter: Meter, tallies: Tallies, presence: Presence, clock: Callable[[], float] = time.time
    ) -> None:
        """Make the gauge; ``clock`` tells Unix time in seconds."""
        self._tallies, self._presence, self._clock = tallies, presence, clock
        meter.create_observable_gauge("headrace.devices", [self._read])

    def _read(self, _: CallbackOptions) -> list[Observation]:
        steps = (self._presence.silent_after, self._presence.lost_after)
        try:
            here, silent, lost = self._tallies.states(steps, self._clock())
        except SQLAlchemyError as error:
            log.warning("the devices can't be counted: %s", error)
            return []
        counts = Counter(here) + Counter({SILENT: sum(silent.values()), LOST: sum(lost.values())})
        return [Observation(count, {"state": state}) for state, count in sorted(counts.items())]
