"""What the fleet's door counts: who reports, and what of it is not taken."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

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


def _reading(read: Callable[[], int]) -> Callable[[CallbackOptions], list[Observation]]:
    return lambda _: [Observation(read())]
