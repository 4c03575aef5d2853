"""After a break: no row asked until then certifies anything any more, and no challenger that observed such serves.

It is done before the break itself is told: after a kill in between, the break is found anew in the log.
"""

from __future__ import annotations

from router.core.refresh.actions import Reject, Spend, Step
from router.core.refresh.loop_state import LoopState


def void_earlier_rows(loop: LoopState, release: int, why: str) -> Step[None]:
    """Let no row asked until now certify anything.

    Args:
        loop: Of the task.
        release: That serves.
        why: A challenger that waits is given up, in words.
    """
    yield Spend(release, loop.rows.spend_held())
    if loop.trial is not None and not loop.trial.has_served:
        yield Reject(loop.trial.number, why)
        loop.end_trial()
