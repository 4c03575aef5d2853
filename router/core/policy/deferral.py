"""Decide whether an answer stays on the device.

Nothing here reads a clock, a file or a socket: every input is an argument.

Rules:
 * A confident answer stays: ``score >= policy.threshold``.
 * An unconfident one is deferred while the next tier can be asked.
 * Otherwise the local answer is kept and marked degraded, with the reason.
 * A local-only query is never deferred; the operator override defers everything else that it can.
 * What a student read only in part is never kept, however sure it is: it is deferred, or else degraded, as cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from router.core.domain.limits import MAX_RELEASE, MOST_THRESHOLD
from router.core.domain.query import Reason, Route
from router.core.domain.task import Mode
from router.core.ranges import check_range


@dataclass(frozen=True, slots=True)
class Policy:
    """When to defer.

    Attributes:
        threshold: Least score kept on the device, in [0, 1]; above 1 defers everything.
        version: Never reused; grows with each change.
    """

    threshold: float
    version: int = 0

    def __post_init__(self) -> None:
        """Check the ranges: what a query can carry."""
        check_range("threshold", self.threshold, 0.0, MOST_THRESHOLD)
        check_range("version", self.version, 0, MAX_RELEASE)


class Action(StrEnum):
    """What to do with a query."""

    KEEP = "keep"
    DEFER = "defer"
    DEGRADE = "degrade"  # keep, although it should have been deferred
    REFUSE = "refuse"  # nothing can answer it


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and why."""

    action: Action
    reason: Reason


def decide(
    policy: Policy,
    score: float | None,
    *,
    route: Route = Route.AUTO,
    local_only: bool = False,
    mode: Mode = Mode.SERVE,
    obstacle: Reason | None = None,
    cut: bool = False,
) -> Decision:
    """Say what happens to one query.

    Args:
        policy: When to defer.
        score: The student's score in [0, 1]; ``None`` without a student.
        route: What the caller allows.
        local_only: The task never leaves the device.
        mode: The operator override.
        obstacle: Why the next tier can't be asked now (unreachable, deadline, budget, refused), ``None`` when it can.
        cut: The student read only a part of the query.
    """
    stays = local_only or route is Route.LOCAL_ONLY
    if score is None:
        if stays:
            return Decision(Action.REFUSE, Reason.PRIVACY if local_only else Reason.ROUTE)
        # Without a student there is nothing to fall back on: ask all the same, and let the error be the next tier's.
        return Decision(Action.DEFER, Reason.INPUT_CUT if cut else Reason.NO_STUDENT)
    if stays and cut:
        return Decision(Action.DEGRADE, Reason.INPUT_CUT)
    if stays:
        return Decision(Action.KEEP, Reason.PRIVACY if local_only else Reason.ROUTE)
    reason = _reason_to_defer(policy, score, route, mode, cut)
    if reason is None:
        return Decision(Action.KEEP, Reason.CONFIDENT)
    if obstacle is None:
        return Decision(Action.DEFER, reason)
    if route is Route.CLOUD_ONLY:
        return Decision(Action.REFUSE, obstacle)
    return Decision(Action.DEGRADE, Reason.INPUT_CUT if cut else obstacle)


def _reason_to_defer(policy: Policy, score: float, route: Route, mode: Mode, cut: bool) -> Reason | None:
    if route is Route.CLOUD_ONLY:
        return Reason.ROUTE
    if mode is not Mode.SERVE:
        return Reason.OPERATOR
    if cut:
        return Reason.INPUT_CUT
    if score < policy.threshold:
        return Reason.UNCONFIDENT
    return None
