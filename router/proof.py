"""Does a release's certificate speak for its task as it is now? And may its watch see anything?

Rules:
 * A certificate speaks of one version of a task, one judge, one allowance and one assurance; a stricter wish of the
   operator's unmakes it, a looser one does not.
 * What can't be watched is unproven, whatever its certificate says.
"""

from __future__ import annotations

from router.release import Manifest
from router.task import Task
from router.watch import attempt_alpha

OVERTAKEN = "its reference has another version now"
_ROUNDING = 1e-12


def why_fallen(manifest: Manifest, task: Task, judged_by: str = "") -> str:
    """Why a release's certificate does not speak for a task; empty when it does.

    Args:
        manifest: Of the release.
        task: As the operator wishes it now.
        judged_by: The judge of the task's lineage, empty if none is known.
    """
    proof, wish = manifest.certificate, task.at_device
    if manifest.student is None:
        return ""  # it keeps nothing, so there is nothing to prove
    if proof is None:
        return "it was never certified"
    if manifest.task.version != task.version:
        return f"it was certified for version {manifest.task.version} of the task, which is at {task.version}"
    if manifest.task.reference != task.reference:
        return f"its reference was {manifest.task.reference}, and is {task.reference}"
    if judged_by and manifest.judged_by and manifest.judged_by != judged_by:
        return f"it was judged by {manifest.judged_by}, and the judge is {judged_by}"
    if proof.allowance > wish.max_disagreement + _ROUNDING:
        return f"it was certified for {proof.allowance:.2%}, and {wish.max_disagreement:.2%} is promised"
    if proof.alpha > attempt_alpha(wish.assurance, proof.attempt) + _ROUNDING:
        return f"its assurance is below the {wish.assurance:.0%} that are promised"
    return ""


def why_unwatched(task: Task, rows: int = 0) -> str:
    """Why a task's promise can't be watched; empty when it can.

    Args:
        task: As the operator wishes it now.
        rows: Explored ones that came all the same: callers may consent where the task does not.
    """
    if task.local_only:
        return "its queries never leave the device"
    if task.exploration.floor <= 0:
        return "it may not explore: exploration.floor is 0"
    if not task.log_by_default and not rows:
        return "its answers are logged only where callers consent, and none has"
    return ""


def why_never_proved(task: Task) -> str:
    """Why no first student of a task can be proved; empty when one can."""
    return "it may not explore: exploration.cold is 0" if task.exploration.cold <= 0 else ""


def content_of(manifest: Manifest) -> int:
    """The number under which a release's content was first published."""
    return manifest.number if manifest.content is None else manifest.content
