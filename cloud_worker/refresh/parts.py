"""What the refresh of every task works with: one configuration, one store, one log, one place for releases."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.refresh.monitoring.reference_consistency import AskAgain
from cloud_worker.refresh.rollout.loop import RolloutLoop
from cloud_worker.refresh.rollout.opening import RolloutOpening
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.state.store import Store
from router.core.domain.task import Task

__all__ = ["AskAgain", "RefreshParts"]


@dataclass(frozen=True, slots=True)
class RefreshParts:
    """The parts that the refresher of one cluster works with.

    Attributes:
        config: All that is set.
        store: The fleet's state.
        log: The distillation log.
        publisher: Writes and reads releases.
        locks: Of each task, by its name: held by whoever changes which release serves.
        opening: Begins rollouts.
        rollouts: Leads them.
        ask_again: Asks the pool a second time; ``None`` where there is no pool.
    """

    config: CloudConfig
    store: Store
    log: DistillationLog
    publisher: Publisher
    locks: Mapping[str, threading.Lock]
    opening: RolloutOpening
    rollouts: RolloutLoop
    ask_again: AskAgain | None = None

    @classmethod
    def of(cls, config: CloudConfig, ask_again: AskAgain | None = None) -> RefreshParts:
        """Open what ``config`` names."""
        publisher = Publisher(config.releases_folder, config.server_urls)
        store, log = open_store(config), DistillationLog(config.log_folder)
        locks = {task.name: threading.Lock() for task in config.tasks}
        opening = RolloutOpening(store, publisher, config.rollout, config.fleet)
        rollouts = RolloutLoop(store, publisher, config.tasks, (config.rollout, config.fleet), locks)
        return cls(config, store, log, publisher, locks, opening, rollouts, ask_again)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of the cluster."""
        return self.config.tasks
