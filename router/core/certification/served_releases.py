"""The releases that have served, and the one rule for whether the certificate of such a release stands.

Rules:
 * It stands while it speaks for the task as it is now, neither its content nor the same at a stricter threshold has
   ever alarmed, and the reference has the version that its rows were answered by.
 * What is set may change back, and what fell with an objective stands again; an alarm stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from router.core.certification.certificate_validity import OVERTAKEN, content_of, why_fallen
from router.core.domain.task import Task
from router.core.release.manifest import Manifest

BROKEN = "it broke its promise"
LOST = "what its watch had seen was lost with the fleet's database"


@dataclass(frozen=True, slots=True)
class ServedRelease:
    """A release that serves, or has served.

    Attributes:
        manifest: What it is.
        local_share: Share of queries that it was expected to keep, in [0, 1]; ``None`` where that is not known.
        alarmed: Its watch has found that it broke its promise.
        lost: What its watch had seen is lost.
    """

    manifest: Manifest
    local_share: float | None = None
    alarmed: bool = False
    lost: bool = False

    @property
    def number(self) -> int:
        """The number of the release."""
        return self.manifest.number

    @property
    def has_student(self) -> bool:
        """Whether it can keep anything."""
        return self.manifest.student is not None


def is_same_release(one: Manifest, other: Manifest) -> bool:
    """Whether two numbers stand for the same content at the same threshold."""
    return content_of(one) == content_of(other) and one.policy.threshold == other.policy.threshold


def why_uncertified(
    manifest: Manifest, served: Iterable[ServedRelease], task: Task, judged_by: str, is_overtaken: Callable[[], bool]
) -> str:
    """Why the certificate of a release does not stand; empty when it does.

    Args:
        manifest: Of the release.
        served: All that have served, in any order.
        task: As the operator sets it now.
        judged_by: The judge of the task's lineage, empty if none is known.
        is_overtaken: Whether another version of the reference answered its rows; asked last.
    """
    why = why_fallen(manifest, task, judged_by)
    if why or manifest.student is None:
        return why
    same = [one for one in served if speaks_against(one.manifest, manifest)]
    if any(one.alarmed for one in same):
        return BROKEN
    if any(one.lost for one in same):
        return LOST
    return OVERTAKEN if is_overtaken() else ""


def speaks_against(one: Manifest, other: Manifest) -> bool:
    """Whether what one release did speaks against another: the same content, at its threshold or a stricter one."""
    return content_of(one) == content_of(other) and one.policy.threshold >= other.policy.threshold
