"""The tasks that this device serves: for each the release in place, the orders in force, the figures.

Rules:
 * A query sees one release from its beginning to its end; activating another is the change of one reference.
 * What the cloud ordered last holds until it orders otherwise, also across a restart without a cloud.
 * Only a committed slot serves. Its manifest holds from the start; its student comes when all of it has been checked
   and opened, and until then the task is being set up.
 * What else lies in the folder of tasks is left alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.damaged_files import forsake, is_aside
from edge_agent.tasks.counters import Counters
from edge_agent.tasks.orders import Standing
from edge_agent.tasks.quota import Permit, Purse
from edge_agent.tasks.slots import Slot, Slots
from router.core.domain.limits import MAX_REFUSED
from router.core.domain.prediction import DeviceStudent
from router.core.domain.query import Consent, Query, Route
from router.core.domain.task import Mode
from router.core.errors import ModelError, ReleaseError, UnavailableError, UnknownTaskError
from router.core.policy.budget import Budget, Spent
from router.core.policy.deferral import Policy
from router.core.policy.exploration import is_explored
from router.core.release.manifest import Manifest, is_plain_name
from router.core.release.orders import Order, TaskReport
from router.core.visible_text import in_line
from router.students.loader import open_student

log = logging.getLogger(__name__)

_MOST_REASON = 200  # characters of why a release is refused, in a report


@dataclass(frozen=True, slots=True)
class Serving:
    """A release in place, its student opened; ``student`` is ``None`` in release 0, and while it is being opened."""

    slot: Slot
    student: DeviceStudent | None

    @property
    def manifest(self) -> Manifest:
        """The release."""
        return self.slot.manifest

    @property
    def is_loading(self) -> bool:
        """Whether its student is still being opened."""
        return self.student is None and self.manifest.student is not None


@dataclass(slots=True)
class HostedTask:
    """One task on this device.

    Attributes:
        name: The task's.
        slots: Where its releases lie.
        serving: The release in place, ``None`` before the first.
        order: The last order heard.
        staged: Number of the release in the idle slot, 0 for none.
        refused: Reason by number of each release refused since the start.
        counters: The figures.
        purse: What may still be sent.
        loaded: Set once the committed release serves, or can't.
    """

    name: str
    slots: Slots
    serving: Serving | None = None
    order: Order | None = None
    staged: int = 0
    refused: dict[int, str] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)
    purse: Purse = field(default_factory=Purse)
    loaded: asyncio.Event = field(default_factory=asyncio.Event)

    def permit(self, serving: Serving) -> Permit:
        """Leave for one query of this release to be sent. Before the first student everything must escalate."""
        return self.purse.permit() if serving.manifest.number else Permit()

    @property
    def exploration(self) -> float:
        """Rate in force, in [0, 1]."""
        return self.order.exploration if self.order else 0.0

    @property
    def mode(self) -> Mode:
        """The operator override; nothing is kept by a release that is newer than what was ordered.

        Numbers only grow, so an older order comes from a cloud that lost its state: it vouches for no newer release.
        """
        if self.order is None:
            return Mode.SERVE
        installed = self.serving.manifest.number if self.serving else 0
        is_unvouched = self.order.release < installed and self.order.mode is Mode.SERVE
        return Mode.ESCALATE_ALL if is_unvouched else self.order.mode

    def policy(self, manifest: Manifest) -> Policy:
        """When a release defers. An order's threshold is meant for the release that the order names."""
        order = self.order
        if order is None or order.threshold is None or order.release != manifest.number:
            return manifest.policy
        return Policy(order.threshold, order.threshold_version)

    def activate(self, serving: Serving) -> None:
        """Put a release in place of the one before; queries under way end on the old one."""
        self.serving = serving
        self.staged = 0
        self.counters.healthy_answers = 0

    def report(self) -> TaskReport:
        """What the cloud is told."""
        counters, manifest = self.counters, self.serving.manifest if self.serving else None
        return TaskReport(
            task=self.name,
            active_release=manifest.number if manifest else 0,
            staged_release=self.staged,
            answered=counters.answered,
            kept=counters.kept,
            escalated=counters.escalated,
            explored=counters.explored,
            degraded=counters.degraded,
            failed=counters.failed,
            covered=counters.covered,
            healthy_answers=counters.healthy_answers,
            explored_kept=counters.explored_kept,
            explored_disagreed=counters.explored_disagreed,
            p50_milliseconds=counters.percentile(0.5),
            p95_milliseconds=counters.percentile(0.95),
            exploration=self.exploration,
            threshold_version=self.policy(manifest).version if manifest else 0,
            refused=_newest(self.refused),
        )


def _newest(refused: Mapping[int, str]) -> tuple[tuple[int, str], ...]:
    """The releases refused last and their reasons, as much as a report may hold."""
    newest = sorted(refused.items())[-MAX_REFUSED:]
    return tuple((release, in_line(reason, _MOST_REASON)) for release, reason in newest)


class Tasks:
    """All tasks of this device, by name."""

    def __init__(
        self,
        folder: Path,
        standing: Standing,
        servers: Mapping[str, str] | None = None,
        spent: Mapping[str, Spent] | None = None,
    ) -> None:
        """Find what is committed in ``folder``, under the orders heard last; ``load`` opens it.

        Args:
            folder: One folder a task.
            standing: The orders.
            servers: URL by model, for students that are served rather than shipped.
            spent: By task, of its limits.
        """
        self.spending = asyncio.Event()
        self._spent = dict(spent or {})
        self._folder = folder
        self.servers = dict(servers or {})
        self._hosted: dict[str, HostedTask] = {}
        self.standing = standing
        self.heard = asyncio.Event()
        for place in _folders(folder):
            self._hosted[place.name] = _found(place)
            self._fill(self._hosted[place.name])
        self._take_orders()

    def __iter__(self) -> Iterator[HostedTask]:
        """All of them, as they are now."""
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

    def obey(self, standing: Standing) -> None:
        """Take new orders; rate, mode and threshold hold from the next query on."""
        self.standing = standing
        self._take_orders()

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
        if not self.standing.heard:
            raise UnavailableError("this agent has not heard from the cloud yet; ask again in a moment")
        raise UnknownTaskError(f"there is no task {name!r} here; there are: {self._known()}")

    def _known(self) -> str:
        served = (one.name for one in self if one.order is None or not one.order.is_withdrawn)
        return ", ".join(sorted(served)) or "none"

    def is_drawn(self, hosted: HostedTask, serving: Serving, query: Query) -> bool:
        """Whether the query is drawn for the reference, before anything is known of it but that it may go there."""
        may_go = may_be_logged(serving.manifest, query) and query.route is Route.AUTO
        if not may_go or serving.manifest.task.local_only or not self.standing.seed:
            return False
        return is_explored(self.standing.seed, query.id, hosted.exploration)

    def _fill(self, hosted: HostedTask) -> None:
        hosted.purse = Purse(spent=self._spent.get(hosted.name, Spent()), changed=self.spending.set)

    def _take_orders(self) -> None:
        for order in self.standing.orders:
            if not is_plain_name(order.task):
                log.error("the cloud orders a task %r, whose name can't be a folder's; it is left out", order.task)
                continue
            if order.task not in self._hosted:
                self._hosted[order.task] = HostedTask(order.task, Slots(_room(self._folder / order.task)))
                self._fill(self._hosted[order.task])
            hosted = self._hosted[order.task]
            hosted.order = order
            hosted.purse.budget = Budget(order.queries_per_minute, order.queries_per_day)


def may_be_logged(manifest: Manifest, query: Query) -> bool:
    """Whether the caller, or else the task, consents to log the query."""
    if query.consent is Consent.AS_TASK:
        return manifest.task.log_by_default
    return query.consent is Consent.GRANTED


def _folders(folder: Path) -> list[Path]:
    """The folders of tasks in ``folder``; whatever else lies there is left alone."""
    if os.path.lexists(folder) and not folder.is_dir():
        _room(folder)
        return []
    try:
        found = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        log.error("%s can't be read; releases are fetched anew: %s", folder, error)
        return []
    strays = [place for place in found if not is_plain_name(place.name) or not place.is_dir()]
    if strays:
        log.warning("%s holds what is no task's folder, and is left alone: %s", folder, in_line(str(strays[0].name)))
    return [place for place in found if place not in strays and not is_aside(place)]


def _room(folder: Path) -> Path:
    """The place of a folder, cleared of what is none."""
    if os.path.lexists(folder) and not folder.is_dir():
        forsake(folder, "it is no folder")
    return folder


def _found(folder: Path) -> HostedTask:
    """A task with what its folder says is committed, nothing of which has been opened."""
    hosted = HostedTask(folder.name, Slots(folder))
    try:
        slot = hosted.slots.named()
        hosted.slots.tidy()
        hosted.serving = Serving(slot, None) if slot is not None else None
    except (ReleaseError, OSError) as error:
        _give_up(hosted, error)
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
