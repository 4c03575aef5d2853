"""Takes a task up where the process before this one ended: with the challenger that waits, if one does.

Rules:
 * What waits for a certificate survives a kill: release, proposal and spent rows are in the store.
 * What was being made is given up, and so is a challenger that can't be opened any more, with the reason.
 * A refresh that failed is tried again: whoever mended it has waited.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Any

from cloud_worker.fleet.quarantines import Quarantines
from cloud_worker.refresh.failure_reason import reason_of
from cloud_worker.refresh.task_context import TaskContext
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.states import Phase, ReleaseState
from cloud_worker.state.store import ReleaseRow, Store
from router.core.certification.certificate_validity import why_made_for_another
from router.core.certification.refresh_schedule import begin_trial, exploration_at_rest
from router.core.certification.trial import Trial
from router.core.errors import HeadraceError, ReleaseError
from router.core.statistics.dependence import INDEPENDENT

log = logging.getLogger(__name__)

FAILED = "failed: "  # begins the note of a step that failed
UNFINISHED = "was not finished"  # the note of a release that was being made


def resume(context: TaskContext, store: Store, publisher: Publisher) -> None:
    """Take in the log, and go on with what waits."""
    name = context.task.name
    waiting = [row for row in store.releases(name) if row.state is ReleaseState.WAITING]
    store.reject_unfinished(name, UNFINISHED)
    for row in waiting[:-1]:
        store.update_release(name, row.number, state=ReleaseState.REJECTED, reason=UNFINISHED)
    try:
        if waiting:
            _open(context, waiting[-1], store, publisher)
    except (HeadraceError, OSError, ValueError, KeyError) as error:
        log.exception("release %d of task %s can't be taken up", waiting[-1].number, name)
        reason = f"can't be taken up: {reason_of(error)}"
        store.update_release(name, waiting[-1].number, state=ReleaseState.REJECTED, reason=reason)
        context.loop.end_trial()
        context.student = None
    context.loop.quarantines.update(Quarantines(store.engine).of(name))
    trial = context.loop.trial
    observed = set() if trial is None else store.spent_by(name, trial.number)
    seen = context.read_all(store.spent(name), observed)
    context.loop.releases = context.snapshot.read()
    if trial is not None and context.student is not None:
        context.loop.rows.tell_of_texts(trial)
        trial.take_up(seen, context.student, context.loop.judging)
        store.update_task(name, phase=Phase.WAITING, exploration=trial.rate)
        return
    failed = store.task_state(name).phase_note.startswith(FAILED)
    again = {"rows_at_refresh": 0, "log_version_seen": -1} if failed else {}
    rate = exploration_at_rest(context.task, context.loop.champion)
    store.update_task(name, phase=Phase.IDLE, phase_progress=0.0, exploration=rate, **again)


def _open(context: TaskContext, row: ReleaseRow, store: Store, publisher: Publisher) -> None:
    """Open the challenger that waits."""
    task = context.task
    if row.rate is None or row.patience is None or not row.points:
        raise ReleaseError("what it was to prove is not known")
    manifest = publisher.manifest(task.name, row.number)
    why = why_made_for_another(manifest, task, Lineages(store.engine).judge(task.name, task.version))
    if why:
        raise ReleaseError(why)
    student, made = publisher.student(task.name, row.number, manifest), manifest.lineage
    attempt = made.attempt if row.attempt is None else row.attempt
    freeze = made.log_version if row.freeze is None else row.freeze
    trial = begin_trial(task, row.number, attempt, row.points, rate=row.rate, freeze=freeze)
    trial.known = row.dependence[0] if row.dependence else INDEPENDENT
    trial.earliest = -math.inf if row.earliest is None else row.earliest
    trial.bound = -math.inf if manifest.certificate is None else manifest.policy.threshold
    trial.only_asked = manifest.only_asked
    context.loop.begin_trial(replace(trial, patience=row.patience), made.rows, attempt)
    context.student, context.remark = student, row.remark


def waiting_of(trial: Trial, attempt: int) -> dict[str, Any]:
    """What a store keeps of a release while it waits, so that its trial can be taken up."""
    return {
        "rate": trial.rate,
        "patience": trial.patience,
        "points": trial.points,
        "attempt": attempt,
        "freeze": trial.freeze,
        "earliest": None if trial.earliest == -math.inf else trial.earliest,
        "dependence": (trial.known,),
    }


def failure_note(error: BaseException) -> str:
    """The note of a step that failed; the next start of the cloud fits again."""
    return f"{FAILED}{reason_of(error)}"


def begin_anew(context: TaskContext, store: Store, now: float) -> None:
    """Certify on rows to come alone, after the state of the task was lost: which have certified is not known.

    Args:
        context: Of the task.
        store: The state that was made anew.
        now: Unix time in seconds.
    """
    context.loop.end_trial()
    context.student = None
    store.settle_loss(context.task.name, context.log.keys(), now)
    context.read_all(store.spent(context.task.name))
