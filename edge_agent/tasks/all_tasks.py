"""All tasks that this device serves, as they lie in their folder and as the cloud orders them.

Rules:
 * What the cloud ordered last holds until it orders otherwise, also across a restart without a cloud.
 * Only a committed slot serves. Its manifest holds from the start; its student comes when all of it has been checked
   and opened, and until then the task is being set up.
 * What else lies in the folder of tasks is left alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from edge_agent.damaged_files import forsake, is_aside
from edge_agent.tasks.hosted_task import HostedTask, Serving
from edge_agent.tasks.orders import KeptOrders
from edge_agent.tasks.quota import Quota
from edge_agent.tasks.slots import Slot, Slots
from router.core.domain.query import Consent, Query, Route
from router.core.errors import ModelError, ReleaseError, UnavailableError, UnknownTaskError
from router.core.policy.budget import Budget, Spent
from router.core.policy.exploration import is_explored
from router.core.privacy.owner_privacy import stays_by_task
from router.core.release.manifest import Manifest, is_plain_name
from router.core.release.orders import COUNTS_MEMORY
from router.core.visible_text import in_line
from router.students.loader import open_student

log = logging.getLogger(__name__)


class Tasks:
    """The tasks of this device, by name."""

    def __init__(
        self,
        folder: Path,
        kept_orders: KeptOrders,
        servers: Mapping[str, str] | None = None,
        spent: Mapping[str, Spent] | None = None,
    ) -> None:
        """Find what is committed in ``folder``, under the orders heard last; ``load`` opens it.

        Args:
            folder: One folder a task.
            kept_orders: The orders.
            servers: URL by model, for students that are served rather than shipped.
            spent: By task, of its limits.
        """
        self.spending = asyncio.Event()
        self.proving = asyncio.Event()  # set when a release has proven itself
        self.changed: Callable[[], None] = lambda: None  # called when orders or a release have changed
        self._spent = dict(spent or {})
        self._folder = folder
        self._floors_hold = False
        self.servers = dict(servers or {})
        self._hosted: dict[str, HostedTask] = {}
        self.kept_orders = kept_orders
        self.heard = asyncio.Event()
        self.contract = 0  # of the cloud, as heard in this life
        for path in _folders(folder):
            self._hosted[path.name] = _found(path)
            self._fill(self._hosted[path.name])
        self._take_orders()

    def __iter__(self) -> Iterator[HostedTask]:
        """The tasks, as they are now."""
        return iter(tuple(self._hosted.values()))

    def get(self, name: str) -> HostedTask | None:
        """The task of this name, whatever state it is in."""
        return self._hosted.get(name)

    async def load(self) -> None:
        """Open every committed release, one after the other; what can't be opened is fetched anew."""
        for hosted in self:
            if hosted.serving is not None and hosted.serving.is_loading:
                await asyncio.to_thread(_load, hosted, self.servers)
            hosted.loaded.set()

    def obey(self, kept_orders: KeptOrders) -> None:
        """Take new orders; rate, mode and threshold hold from the next query on."""
        self.kept_orders = kept_orders
        self._take_orders()
        self.changed()

    @property
    def cloud_counts_memory(self) -> bool:
        """Whether the cloud counts what is answered from memory against the promise; an older one would not."""
        return self.contract >= COUNTS_MEMORY

    def find(self, name: str) -> tuple[HostedTask, Serving | None]:
        """The task of this name and the release that serves it; ``None`` while its first is being set up.

        Raises:
            UnknownTaskError: The cloud knows no such task.
            UnavailableError: Nothing is known yet: the cloud has not been heard.
        """
        hosted = self._hosted.get(name)
        if hosted is not None and hosted.order is not None and hosted.order.is_withdrawn:
            raise UnknownTaskError(f"the cloud has no task {name!r} any more; there are: {self._known()}")
        if hosted is not None and (hosted.serving is not None or hosted.order is not None):
            return hosted, hosted.serving
        if not self.kept_orders.heard:
            raise UnavailableError("this agent has not heard from the cloud yet; ask again in a moment")
        raise UnknownTaskError(f"there is no task {name!r} here; there are: {self._known()}")

    def _known(self) -> str:
        served = (one.name for one in self if one.order is None or not one.order.is_withdrawn)
        return ", ".join(sorted(served)) or "none"

    def is_drawn(self, hosted: HostedTask, serving: Serving, query: Query) -> bool:
        """Whether the query is drawn for the reference, before anything is known of it but that it may go there."""
        may_go = may_be_logged(serving.manifest, query) and query.route is Route.AUTO
        if not may_go or stays_by_task(serving.manifest.task, query) or not self.kept_orders.seed:
            return False
        return is_explored(self.kept_orders.seed, query.id, hosted.exploration)

    def hold_floors(self) -> None:
        """Releases are signed: explore at least as much as the task says."""
        self._floors_hold = True
        for hosted in self:
            hosted.holds_floor = True

    def _fill(self, hosted: HostedTask) -> None:
        hosted.holds_floor = self._floors_hold
        hosted.quota = Quota(spent=self._spent.get(hosted.name, Spent()), changed=self.spending.set)
        hosted.proven = self.proving.set
        hosted.changed = lambda: self.changed()  # whatever it becomes

    def _take_orders(self) -> None:
        for order in self.kept_orders.orders:
            if not is_plain_name(order.task):
                log.error("the cloud orders a task %r, whose name can't be a folder's; it is left out", order.task)
                continue
            if order.task not in self._hosted:
                self._hosted[order.task] = HostedTask(order.task, Slots(_task_folder(self._folder / order.task)))
                self._fill(self._hosted[order.task])
            hosted = self._hosted[order.task]
            hosted.order = order
            hosted.quota.budget = Budget(order.queries_per_minute, order.queries_per_day)


def may_be_logged(manifest: Manifest, query: Query) -> bool:
    """Whether the caller, or else the task, consents to log the query."""
    if query.consent is Consent.AS_TASK:
        return manifest.task.log_by_default
    return query.consent is Consent.GRANTED


def _folders(folder: Path) -> list[Path]:
    """The folders of tasks in ``folder``; whatever else lies there is left alone."""
    if os.path.lexists(folder) and not folder.is_dir():
        _task_folder(folder)
        return []
    try:
        found = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        log.error("%s can't be read; releases are fetched anew: %s", folder, error)
        return []
    strays = [path for path in found if not is_plain_name(path.name) or not path.is_dir()]
    if strays:
        log.warning("%s holds what is no task's folder, and is left alone: %s", folder, in_line(str(strays[0].name)))
    return [path for path in found if path not in strays and not is_aside(path)]


def _task_folder(folder: Path) -> Path:
    """The path of a folder, cleared of what is none."""
    if os.path.lexists(folder) and not folder.is_dir():
        forsake(folder, "it is no folder")
    return folder


def _found(folder: Path) -> HostedTask:
    """A task with what its folder says is committed, nothing of which has been opened."""
    hosted = HostedTask(folder.name, Slots(folder))
    try:
        hosted.slots.start()
        slot = hosted.slots.named()
        hosted.slots.tidy()
        hosted.on_probation = hosted.slots.on_probation
        hosted.serving = Serving(slot, None) if slot is not None else None
    except (ReleaseError, OSError) as error:
        _give_up(hosted, error)
    crashed = hosted.slots.crashed()
    if crashed is not None:
        hosted.crashed = crashed.manifest_sha256
        hosted.refused[crashed.release] = crashed.reason
    return hosted


def _load(hosted: HostedTask, servers: Mapping[str, str]) -> None:
    """Check and open what is committed."""
    try:
        slot = hosted.slots.committed()
        hosted.serving = open_slot(slot, servers) if slot is not None else None
        log.info("task %s: release %d serves", hosted.name, slot.manifest.number if slot else 0)
    except (ReleaseError, ModelError, OSError) as error:
        _give_up(hosted, error)


def _give_up(hosted: HostedTask, error: Exception) -> None:
    log.error("task %s: the committed release is damaged, and is fetched anew: %s", hosted.name, error)
    hosted.serving = None
    hosted.slots.forget(error)


def open_slot(slot: Slot, servers: Mapping[str, str]) -> Serving:
    """Open the student in a slot.

    Args:
        slot: Where its release lies.
        servers: URL by model, for a student that is served.

    Raises:
        ModelError: It can't be used.
    """
    return Serving(slot, open_student(slot.folder, slot.manifest, servers) if slot.manifest.student else None)
