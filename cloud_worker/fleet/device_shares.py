"""What a device may send of the fleet's limits: its own limit, and its share of what all may."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cloud_worker.fleet.registry import Registry
from cloud_worker.state.fleet_quota import FleetLimits, share_of_device
from cloud_worker.state.store import Store
from router.core.domain.task import Limits, Task
from router.core.policy.budget import DAY_SECONDS

COUNT_SECONDS = 5.0  # between two counts of the devices


class DeviceShares:
    """The share of a fleet's limits that each of its devices may use."""

    def __init__(self, store: Store, registry: Registry, tasks: Iterable[Task]) -> None:
        """Share the limits of ``tasks`` among the devices in ``registry``."""
        self._limited = {task.name: task for task in tasks if task.budget != Limits()}
        self._limits = FleetLimits(store)
        self._registry = registry
        self._counted: tuple[float, int] | None = None

    def of_all(self, champions: Mapping[str, int], now: float) -> dict[str, dict[str, Any]]:
        """What a device may send of each task, as an order says it; its share is nothing once the fleet's is spent.

        Args:
            champions: The release that serves each task that there is.
            now: Unix time in seconds.
        """
        limited = [task for name, task in self._limited.items() if name in champions]
        if not limited:
            return {}
        is_open, found = self._limits.open_of(limited, champions), {}
        for task in limited:
            share = None
            if task.budget.of_fleet:
                share = share_of_device(task.budget, self._devices_of_day(now)) if task.name in is_open else 0
            found[task.name] = {"queries_per_minute": task.budget.queries_per_minute, "queries_per_day": share}
        return found

    def _devices_of_day(self, now: float) -> int:
        """How many devices in use reported within the last day, as counted some seconds ago at most.

        Whoever only reports takes nothing of anybody's share; see ``registry``.
        """
        if not self._counted or now - self._counted[0] > COUNT_SECONDS:
            self._counted = (now, self._registry.in_use_since(now - DAY_SECONDS))
        return self._counted[1]
