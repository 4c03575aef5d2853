"""What the fleet's door counts, and its devices by their state (``headrace.devices``), read when somebody looks."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from sqlalchemy.exc import SQLAlchemyError

from cloud_worker.fleet.presence import LOST, SILENT, Presence
from cloud_worker.identity.register import EXPIRED, REVOKED, Register
from cloud_worker.state.tallies import Tallies
from router.core.errors import HeadraceError
from router.identity.names import Role

log = logging.getLogger(__name__)

UNDECLARED_TASKS = "headrace.fleet.undeclared_tasks"
REFUSED_DEVICES = "headrace.fleet.refused_devices"


class FleetMetrics:
    """The counters of one gateway's fleet."""

    def __init__(self, meter: Meter, devices: Callable[[], int], most: int) -> None:
        """Count with ``meter``; ``devices`` tells how many there are, of ``most``."""
        self._undeclared = meter.create_counter(UNDECLARED_TASKS)
        self._refused = meter.create_counter(REFUSED_DEVICES)
        meter.create_observable_gauge("headrace.fleet.devices", [_reading(devices)])
        meter.create_observable_gauge("headrace.fleet.max_devices", [_reading(lambda: most)])

    def undeclared(self, tasks: int) -> None:
        """Count parts of reports on tasks that nobody declared, or that stand there twice."""
        self._undeclared.add(tasks)

    def refused(self) -> None:
        """Count a report of whoever may not join."""
        self._refused.add(1)


class PresenceMetrics:
    """The devices of one fleet as a gauge."""

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
        except (HeadraceError, SQLAlchemyError) as error:
            log.warning("the devices can't be counted: %s", error)
            return []
        counts = Counter(here) + Counter({SILENT: sum(silent.values()), LOST: sum(lost.values())})
        return [Observation(count, {"state": state}) for state, count in sorted(counts.items())]


class IdentityMetrics:
    """The devices of one fleet that can't come, by why, as the gauge ``headrace.fleet.shut_out``."""

    def __init__(self, meter: Meter, register: Register, clock: Callable[[], float] = time.time) -> None:
        """Make the gauge; ``clock`` tells Unix time in seconds."""
        self._register, self._clock = register, clock
        meter.create_observable_gauge("headrace.fleet.shut_out", [self._read])

    def _read(self, _: CallbackOptions) -> list[Observation]:
        try:
            counts = Counter(self._register.troubled(Role.DEVICE, self._clock()).values())
        except (HeadraceError, SQLAlchemyError) as error:
            log.warning("who is shut out can't be counted: %s", error)
            return []
        return [Observation(counts[state], {"state": state}) for state in (REVOKED, EXPIRED)]


def _reading(read: Callable[[], int]) -> Callable[[CallbackOptions], list[Observation]]:
    return lambda _: [Observation(read())]
