"""What devices are told of each task: what to run, and whether it may keep anything.

Rules:
 * Of the configured tasks alone, each once it has a release. A device that still reports a task which is configured no
   more is told that it is withdrawn: it names no release, and agents that don't know of that escalate everything.
 * A release keeps answers only while its certificate stands for the task as it is configured, or while the operator has
   pinned it by force; else its devices escalate everything, from the first order of a gateway on.
 * While a task's watch is alarmed its devices escalate everything; a device in quarantine does so alone. So they all do
   while a change is suspected: all is asked of the reference then, and its answers are given, unless a limit might
   leave a query without one.
 * Nothing is explored less than the configured floor.
 * Where releases are signed, devices hear of those alone that are: until the one that serves is, they stay with the
   signed one before it, and keep answers by it only while its own certificate stands.
 * While a release rolls out, the others are told the former one, by its own certificate; see ``rollouts.orders``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import dataclass, replace

from cloud_worker.fleet.quarantines import REMEDY, Quarantines
from cloud_worker.fleet.rollouts.orders import RolloutOrders, TaskView
from cloud_worker.fleet.rollouts.store import Rollout
from cloud_worker.releases.certificates import Certificates
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.repository.signed import SignedNow
from cloud_worker.state.overrides import Override, Overrides
from cloud_worker.state.store import Store, TaskState
from router.core.domain.task import Limits, Mode, Task
from router.core.release.orders import Order, Watch

log = logging.getLogger(__name__)

Signed = Callable[[], SignedNow | None]  # what is signed; ``None`` where nothing needs to be
CHECK_SECONDS = 10.0  # between two checks at a certificate of which nothing is heard


@dataclass(frozen=True, slots=True)
class _Checked:
    """A certificate that was checked: what it was, until when that holds (seconds), why it does not stand."""

    at: tuple[int, str, str, Override]
    until: float
    why: str


class OrderBook:
    """The orders of one cluster, as one gateway gives them."""

    def __init__(
        self,
        store: Store,
        tasks: Iterable[Task] = (),
        publisher: Publisher | None = None,
        clock: Callable[[], float] = time.monotonic,
        signed: Signed = lambda: None,
    ) -> None:
        """Order from ``store``.

        Args:
            store: The state of the fleet.
            tasks: Those that are configured; without any, all that the store knows.
            publisher: Where the releases lie; without one no certificate is looked at.
            clock: Tells seconds.
            signed: Tells what is signed, ``None`` where nothing needs to be.
        """
        self._signed = signed
        self._store = store
        self._tasks = {task.name: task for task in tasks}
        self._overrides, self._quarantines = Overrides(store.engine), Quarantines(store.engine)
        self._certificates = None if publisher is None else Certificates(store, publisher)
        self._clock = clock
        self._rollouts = RolloutOrders(store.engine)
        self._checked: dict[tuple[str, bool], _Checked] = {}

    def orders(self, device: str, runs: Mapping[str, int] | None = None) -> tuple[tuple[Order, ...], str]:
        """What a device is told: an order for each task that has a release, by name; and what else it should know.

        Args:
            device: Its name.
            runs: The release that it says it runs, by task.
        """
        return self.orders_of_all({device: runs or {}}, self._store.task_states())[device]

    def orders_of_all(
        self, runs: Mapping[str, Mapping[str, int]], states: Collection[TaskState]
    ) -> dict[str, tuple[tuple[Order, ...], str]]:
        """What each of some devices is told, as ``orders`` says it.

        Args:
            runs: The release that each says it runs, by device and task.
            states: Where the tasks stood a moment ago.
        """
        states, rollouts = self._settled(states)
        states = [state for state in states if state.manifest_sha256 and self.knows(state.name)]
        overrides = self._overrides.of_all() if self._certificates is not None else {}
        apart, signed = self._quarantines.tasks_of_all(runs), self._signed()
        made: dict[tuple[str, bool], Order] = {}  # the same to all devices that see the same of a task

        def order(view: TaskView, is_apart: bool) -> Order:
            key = (view.state.name, view.is_former)
            if key not in made:
                state = _as_signed(view.state, signed)
                made[key] = self._order(state, overrides.get(state.name, Override(state.mode)), view.is_former)
            return _escalating(made[key]) if view.is_halted or is_apart else made[key]

        found = {}
        for device, views in self._rollouts.views(states, rollouts, runs).items():
            mine = apart.get(device, frozenset())
            found[device] = tuple(order(view, view.state.name in mine) for view in views), _said_of(mine)
        return found

    def _settled(self, states: Collection[TaskState]) -> tuple[Collection[TaskState], list[Rollout]]:
        """Tasks and rollouts as they stood in one moment: what served was the same before and after they were read."""
        while True:
            rollouts, now = self._rollouts.open(), self._store.task_states()
            if {(one.name, one.champion) for one in now} == {(one.name, one.champion) for one in states}:
                return now, rollouts
            states = now

    def withdrawn(self, reported: Iterable[str]) -> tuple[Order, ...]:
        """What a device is told of those of its tasks that are configured no more."""
        gone = sorted(name for name in reported if not self.knows(name))
        return tuple(Order(name, 0, "", 0.0, Mode.ESCALATE_ALL, Watch.UNPROVEN) for name in gone)

    def knows(self, task: str) -> bool:
        """Whether a task is configured."""
        return not self._tasks or task in self._tasks

    def _order(self, state: TaskState, override: Override, is_former: bool) -> Order:
        task, why = self._tasks.get(state.name), self._why_nothing_is_kept(state, override, is_former)
        alarmed, suspected = state.watch == Watch.ALARMED, task is not None and _is_suspected(state, task)
        return Order(
            task=state.name,
            release=state.champion,
            manifest_sha256=state.manifest_sha256,
            exploration=max(state.exploration, task.exploration.floor if task is not None else 0.0),
            mode=Mode.ESCALATE_ALL if (alarmed or suspected or why) and state.mode is Mode.SERVE else state.mode,
            watch=Watch.UNPROVEN if why and not alarmed else state.watch,
        )

    def _why_nothing_is_kept(self, state: TaskState, override: Override, is_former: bool) -> str:
        task = self._tasks.get(state.name)
        if task is None or self._certificates is None:
            return ""
        key = (state.name, is_former)
        known, at = self._checked.get(key), (state.champion, state.manifest_sha256, state.watch, override)
        if known is None or known.at != at or self._clock() >= known.until:
            why = self._certificates.why_nothing_is_kept(task, state, override)
            if why and (known is None or known.why != why):
                log.warning("task %s: release %d keeps nothing: %s", state.name, state.champion, why)
            known = self._checked[key] = _Checked(at, self._clock() + CHECK_SECONDS, why)
        return known.why


def _as_signed(state: TaskState, signed: SignedNow | None) -> TaskState:
    """Where a task stands as devices are told; one of which nothing is signed yet stays as it is."""
    if signed is None or signed.holds(state.name, state.champion, state.manifest_sha256):
        return state
    before = signed.before(state.name, state.champion)
    return state if before is None else replace(state, champion=before[0], manifest_sha256=before[1])


def _escalating(order: Order) -> Order:
    """The order to a device in quarantine: it keeps nothing."""
    return replace(order, mode=Mode.ESCALATE_ALL) if order.mode is Mode.SERVE else order


def _said_of(apart: Set[str]) -> str:
    if not apart:
        return ""
    return f"this device is in quarantine and escalates everything of {', '.join(sorted(apart))}: {REMEDY}"


def _is_suspected(state: TaskState, task: Task) -> bool:
    """Whether everything is explored beside a release that serves although less is due: see ``LoopState.keeps``."""
    return state.champion > 0 and state.exploration >= 1.0 > task.exploration.floor and task.budget == Limits()
