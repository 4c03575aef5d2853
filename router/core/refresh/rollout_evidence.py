"""What the drawn rows say of a release that rolls out, while few devices run it.

Rules:
 * One device is enough to speak against it: in the first step there may be no other, the rest of the fleet is well, and
   going back costs little. So nobody is accused meanwhile; a device that always loses stops one rollout, and the next
   release is tried on others.
 * The bound of a false alarm is the watch's: the chance that a release that keeps its promise is rolled back by this is
   at most what the assurance leaves.
"""

from __future__ import annotations

import math

from router.core.certification.live_watch import LiveWatch

BLIND = "too few explored rows come to see whether the promise is kept"
SUSPECTED = "its answers look worse than before, and it is too early to tell"


def why_broken(live_watch: LiveWatch) -> str:
    """Why a release that rolls out is held to break its promise; empty while it is not."""
    if live_watch.watch.log_pooled < -math.log(1.0 - live_watch.task.at_device.assurance):
        return ""
    seen = live_watch.watch.freeze()
    return f"it lost {seen.losses} of {seen.rows} explored rows"


def why_doubted(live_watch: LiveWatch | None, is_blind: bool) -> str:
    """Why the cloud can't say yet whether a release that rolls out is well; empty where it can."""
    if is_blind:
        return BLIND
    return SUSPECTED if live_watch is not None and live_watch.suspicion.is_on else ""
