"""The policy that serves, as a gateway knows it: the refresher writes, gateways read again after a while."""

from __future__ import annotations

import time
from collections.abc import Callable

from cloud_worker.pool.policies import StoredPolicy
from cloud_worker.pool.policy_store import PoolPolicies
from cloud_worker.state.store import Store
from router.core.domain.task import Mode, Task

CHECK_SECONDS = 2.0  # between two checks of a gateway


class Serving:
    """What serves, as a gateway knows it: read again when it is older than ``CHECK_SECONDS``."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        """Read from ``store``; ``clock`` tells seconds."""
        self._store = store
        self._policies = PoolPolicies(store.engine)
        self._clock = clock
        self._known: dict[str, tuple[float, StoredPolicy | None]] = {}

    def of(self, task: Task) -> StoredPolicy | None:
        """The policy that serves a task, none while the operator has the reference answer; may read the store.

        One whose certificate does not speak for ``task`` serves nothing.
        """
        known = self._known.get(task.name)
        if known is None or self._clock() - known[0] > CHECK_SECONDS:
            free = self._store.task_state(task.name).mode is Mode.SERVE
            found = self._policies.serving(task) if free else None
            known = (self._clock(), None if found is None or found.why_fallen(task) else found)
            self._known[task.name] = known
        return known[1]
