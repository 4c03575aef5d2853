"""Does a release's certificate speak for its task as it is now? And may its watch see anything?

Rules:
 * A certificate speaks of one version of a task, its kind, its judge, its reference, its labels, what is taken out of
   its texts, one allowance and one assurance; a stricter objective unmakes it, a looser one does not.
 * What a release was made for goes with it to every number under which it serves again; what is set is as it is now.
 * What can't be watched is unproven, whatever its certificate says.
"""

from __future__ import annotations

from dataclasses import replace

from router.core.domain.task import Cheaper, Task
from router.core.privacy.read_version import is_read_by
from router.core.release.manifest import Manifest
from router.core.statistics.e_process import attempt_alpha

OVERTAKEN = "its reference has another version now"
_ROUNDING = 1e-12


def why_fallen(manifest: Manifest, task: Task, judged_by: str = "") -> str:
    """Why a release's certificate does not speak for a task; empty when it does.

    Args:
        manifest: Of the release.
        task: As the operator sets it now.
        judged_by: The judge of the task's lineage, empty if none is known.
    """
    proof, objective = manifest.certificate, task.at_device
    if manifest.student is None:
        return ""  # it keeps nothing, so there is nothing to prove
    if proof is None:
        return "it was never certified"
    why = why_made_for_another(manifest, task, judged_by)
    if why:
        return why
    if proof.teacher_version and not is_read_by(proof.teacher_version, task.privacy.redact):
        return "it was certified on texts that were redacted otherwise than the task's are now"
    if proof.allowance > objective.max_disagreement + _ROUNDING:
        return f"it was certified for {proof.allowance:.2%}, and {objective.max_disagreement:.2%} is promised"
    if proof.alpha > attempt_alpha(objective.assurance, proof.attempt) + _ROUNDING:
        return f"its assurance is below the {objective.assurance:.0%} that are promised"
    return ""


def why_made_for_another(manifest: Manifest, task: Task, judged_by: str = "") -> str:
    """Why a release was made for another task than this one is now, whatever it promises; empty when it was not.

    Args:
        manifest: Of the release.
        task: As the operator sets it now.
        judged_by: The judge of the task's lineage, empty if none is known.
    """
    made_for = manifest.task
    if made_for.version != task.version:
        return f"it was certified for version {made_for.version} of the task, which is at {task.version}"
    if made_for.kind is not task.kind:
        return f"it was made for a task of kind {made_for.kind}, which is of kind {task.kind}"
    if made_for.reference != task.reference:
        return f"its reference was {made_for.reference}, and is {task.reference}"
    if made_for.judge is not task.judge:
        return f"it was judged by {made_for.judge}, and the judge is {task.judge}"
    if judged_by and manifest.judged_by and manifest.judged_by != judged_by:
        return f"it was judged by {manifest.judged_by}, and the judge is {judged_by}"
    known = manifest.student.labels if manifest.student else ()
    gone = sorted({*made_for.labels} & {*known} - {*task.labels}) if task.labels else []
    return f"it may answer {gone[0]!r}, which is no label of the task any more" if gone else ""


def as_promised_now(made_for: Task, task: Task) -> Task:
    """The task of a release that serves again: as it is set now, and still what the release was made for."""
    return replace(
        task,
        version=made_for.version,
        kind=made_for.kind,
        judge=made_for.judge,
        reference=made_for.reference,
        labels=made_for.labels,
        cheaper=task.cheaper if task.reference == made_for.reference else Cheaper(),
    )


def why_unwatched(task: Task, rows: int = 0) -> str:
    """Why a task's promise can't be watched; empty when it can.

    Args:
        task: As the operator sets it now.
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
