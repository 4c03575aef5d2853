"""When is a fit due?

Rules:
 * Enough teachable rows beyond the last refresh start one; after the longest time between two, any more of them do.
 * While a challenger waits that has never served, none is; a better student comes before a looser threshold.
 * While the task is held, or nothing may be explored for a proof, none is.
"""

from __future__ import annotations

from router.core.certification.refresh_schedule import why_no_trial
from router.core.refresh.loop_state import LoopState


def is_due(loop: LoopState, now: float) -> bool:
    """Whether a refresh begins at Unix time ``now`` in seconds."""
    if loop.is_held or (loop.trial is not None and not loop.trial.has_served):
        return False
    at_refresh, taught = loop.releases.rows_at_refresh, loop.rows.taught
    is_late = at_refresh > 0 and now - loop.releases.refreshed_at > loop.max_seconds
    return loop.pace.is_due(taught, at_refresh) or (is_late and taught > max(at_refresh, loop.pace.min_rows - 1))


def rows_needed(loop: LoopState) -> int:
    """Teachable rows that start the next fit; 0 where none starts one."""
    if why_no_trial(loop.task, loop.rows.sums, loop.champion):
        return 0
    return loop.pace.rows_needed(loop.releases.rows_at_refresh)
