"""The refresher as a Ray actor, and its fits as Ray tasks.

Rules:
 * The loop runs in a thread of the actor, so that a restarted actor goes on by itself. Rollouts are led in another one:
   a fit, which the loop waits for, delays no halt.
 * A fit runs in a process of its own, on the loop's node: it hands files over by where they lie.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from sqlalchemy import URL

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.refresh.monitoring.reask import ask_again
from cloud_worker.refresh.monitoring.reask_budget import paying
from cloud_worker.refresh.refresher import RefreshLoop
from cloud_worker.refresh.rollout.loop import RolloutLoop
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.running.process_memory import keep_memory_low
from cloud_worker.state.database.wal_checkpoints import Checkpoints
from cloud_worker.state.fleet_quota import FleetLimits
from cloud_worker.state.store import Store
from cloud_worker.training.fit import fit_student
from cloud_worker.training.spec import Fitted, Recipe
from router.core.domain.record import Record

log = logging.getLogger(__name__)

ACTOR = "refresher"
ROLLOUT_SECONDS = 1.0  # between two checks at the rollouts
ROLLOUT_REST = 20.0  # times as long as a look, at least: in a large fleet it takes its time
_LOOP_CPUS = 0.1
_FIT_CPUS = 0.5
_FIT_NICENESS = 10


def start_refresher(config: CloudConfig) -> Any:
    """Start the actor and return its handle."""
    actor = ray.remote(Refresher).options(
        name=ACTOR, num_cpus=_LOOP_CPUS, max_restarts=-1, max_task_retries=-1, namespace="headrace", get_if_exists=True
    )
    return actor.remote(config)


class Refresher:
    """The actor: steps until it ends."""

    def __init__(self, config: CloudConfig) -> None:
        """Begin to step, in a thread."""
        keep_memory_low()
        self._config = config
        self._stopping = threading.Event()
        self._rollouts: RolloutLoop | None = None  # while there is none, the loop has not begun
        self._thread = threading.Thread(target=self._run, name="refresher", daemon=True)
        self._thread.start()
        threading.Thread(target=self._roll, name="rollouts", daemon=True).start()

    def is_alive(self) -> bool:
        """Whether the loop runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the loop after its step."""
        self._stopping.set()

    def _run(self) -> None:
        refresher: RefreshLoop | None = None
        checkpoints: Checkpoints | None = None
        while not self._stopping.wait(self._config.refresh.poll_seconds):
            try:
                refresher = refresher or self._refresher()
                self._rollouts = refresher.rollouts
                refresher.step()
                checkpoints = checkpoints or Checkpoints(open_store(self._config).engine)
                checkpoints.check()
            except Exception:  # the actor's outermost edge
                log.exception("the refresher failed; it goes on")

    def _roll(self) -> None:
        pause = ROLLOUT_SECONDS
        while not self._stopping.wait(pause):
            began = time.monotonic()
            try:
                if self._rollouts is not None:
                    self._rollouts.step(time.time())
            except Exception:  # as above
                log.exception("the rollouts could not be looked at; they wait")
            pause = max(ROLLOUT_SECONDS, ROLLOUT_REST * (time.monotonic() - began))

    def _refresher(self) -> RefreshLoop:
        limits = FleetLimits(open_store(self._config))
        return RefreshLoop(self._config, self._fit, paying(ask_again, limits))

    def _fit(self, task: str, rows: Sequence[Record], recipe: Recipe) -> Fitted | None:
        remote = ray.remote(**fit_options(ray.get_runtime_context().get_node_id()))(_fit_remotely)
        fitted: Fitted | None = ray.get(remote.remote(self._config.store_url, task, list(rows), recipe))
        return fitted


def fit_options(node: str) -> dict[str, Any]:
    """How Ray is to run a fit: on ``node``, and nowhere else."""
    here = NodeAffinitySchedulingStrategy(node, soft=False)
    return {"num_cpus": _FIT_CPUS, "max_retries": 2, "scheduling_strategy": here}


def _fit_remotely(store_url: str | URL, task: str, rows: list[Record], recipe: Recipe) -> Fitted | None:
    os.setpriority(os.PRIO_PROCESS, 0, _FIT_NICENESS)  # behind gateway and teachers, whom people wait for
    store = Store(store_url)

    def progress(phase: str, share: float) -> None:
        store.update_task(task, phase=phase, phase_progress=share)

    return fit_student(rows, recipe, progress)
