"""A task that this device serves: the release in place, the orders in force, the figures.

Rules:
 * A query sees one release from its beginning to its end; activating another is the change of one reference.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edge_agent.tasks.counters import Counters
from edge_agent.tasks.quota import Permit, Quota
from edge_agent.tasks.slots import Slot, Slots
from router.core.domain.limits import MAX_REFUSED
from router.core.domain.prediction import DeviceStudent
from router.core.domain.task import Mode
from router.core.policy.deferral import Policy
from router.core.release.manifest import Manifest
from router.core.release.orders import Order
from router.core.release.reports import TaskReport
from router.core.visible_text import in_line

log = logging.getLogger(__name__)

PROVEN_ANSWERS = 20  # by the student of a release, after which it stays
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
        quota: What may still be sent.
        forget_idle: The slot that does not serve is to be cleared whenever it is free, in this life of the agent.
        loaded: Set once the committed release serves, or can't.
        holds_floor: Whether its releases are signed, so that the task's own floor of exploration holds.
        on_probation: Whether the release in place has yet to prove itself.
        crashed: SHA-256 in hex of the manifest of a release that had to give way, and is not tried again.
        proven: Called with each healthy answer once there are enough of them.
        elsewhere: What workers, processes of their own, have counted.
        changed: Called when another release is in place.
    """

    name: str
    slots: Slots
    serving: Serving | None = None
    order: Order | None = None
    staged: int = 0
    refused: dict[int, str] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)
    quota: Quota = field(default_factory=Quota)
    forget_idle: bool = False
    loaded: asyncio.Event = field(default_factory=asyncio.Event)
    holds_floor: bool = False
    on_probation: bool = False
    crashed: str = ""
    proven: Callable[[], None] = lambda: None
    elsewhere: Callable[[], Counters] = Counters
    changed: Callable[[], None] = lambda: None

    def count_healthy(self) -> None:
        """The release in place answered once more."""
        self.counters.healthy_answers += 1
        if self.on_probation and self.has_proven_itself:
            self.proven()

    @property
    def has_proven_itself(self) -> bool:
        """Whether the release in place has answered often enough to stay."""
        return self.counters.healthy_answers + self.elsewhere().healthy_answers >= PROVEN_ANSWERS

    def permit(self, serving: Serving) -> Permit:
        """Leave for one query of this release to be sent. Before the first student everything must escalate."""
        return self.quota.permit() if serving.manifest.number else Permit()

    @property
    def exploration(self) -> float:
        """Rate in force, in [0, 1]; at least the floor that was signed offline, whatever is ordered."""
        ordered = self.order.exploration if self.order else 0.0
        if self.order is None or self.serving is None or not self.holds_floor:
            return ordered
        return max(ordered, self.serving.manifest.task.exploration.floor)

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

    @property
    def is_overridden(self) -> bool:
        """Whether something else than the policy decides, such as that everything escalates."""
        return self.mode is not Mode.SERVE

    def policy(self, manifest: Manifest) -> Policy:
        """When a release defers. An order's threshold is meant for the release that the order names."""
        order = self.order
        if order is None or order.threshold is None or order.release != manifest.number:
            return manifest.policy
        return Policy(order.threshold, order.threshold_version)

    @property
    def float32_because(self) -> str:
        """Why the release in place runs by its float32 file; empty where it does not."""
        return self.serving.slot.float32_because if self.serving else ""

    def activate(self, serving: Serving) -> None:
        """Put a release in place of the one before; queries under way end on the old one."""
        self.serving = serving
        self.on_probation = serving.student is not None
        self.staged = 0
        self.counters.begin_release()
        self.changed()

    def report(self) -> TaskReport:
        """What the cloud is told."""
        counters = self.counters.plus(self.elsewhere())
        manifest = self.serving.manifest if self.serving else None
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
            model=manifest.student.model if manifest and manifest.student else "",
            float32_because=in_line(self.float32_because, _MOST_REASON),
        )


def _newest(refused: Mapping[int, str]) -> tuple[tuple[int, str], ...]:
    """The releases refused last and their reasons, as much as a report may hold."""
    newest = sorted(refused.items())[-MAX_REFUSED:]
    return tuple((release, in_line(reason, _MOST_REASON)) for release, reason in newest)
