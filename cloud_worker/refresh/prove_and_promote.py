"""Lets students answer the rows that prove them, and publishes what is certified.

Rules:
 * Which rows a challenger has observed is in the store, so that none certifies twice, and a kill loses no evidence.
 * A release's files are published before the store says that it serves, and so is its rollout.
 * Where releases are approved by hand, a certified one waits, and the one before serves on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cloud_worker.refresh.resume import waiting_of
from cloud_worker.refresh.task_context import TaskContext
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.states import Phase, ReleaseState
from cloud_worker.state.store import ReleaseRow, Store
from cloud_worker.training.golden_inputs import golden_around
from router.core.certification.certificate_validity import as_promised_now, content_of
from router.core.certification.served_releases import ServedRelease
from router.core.domain.prediction import DeviceStudent, Prediction
from router.core.domain.record import Record
from router.core.errors import BadInputError, HeadraceError
from router.core.learning.training_rows import query_of
from router.core.policy.deferral import Policy
from router.core.refresh import actions
from router.core.release.orders import Watch

log = logging.getLogger(__name__)

LATER = "a later release waits for approval"


class ProveAndPromote:
    """The proofs and promotions of every task."""

    def __init__(
        self, store: Store, publisher: Publisher, roll_out: Callable[[str, int], None], *, needs_approval: bool = False
    ) -> None:
        """Prepare.

        Args:
            store: Where releases stand.
            publisher: Writes them.
            roll_out: Is told of task and number before a release serves.
            needs_approval: Each waits for somebody's approval.
        """
        self._store = store
        self._roll_out = roll_out
        self._publisher = publisher
        self._needs_approval = needs_approval

    def do(self, context: TaskContext, action: actions.Action) -> Any:
        """Do one action of the loop, and answer what the loop needs to know."""
        name = context.task.name
        match action:
            case actions.ReadAgain():
                return context.log.drawn_or_certain(context.loop.rows.last_batch)
            case actions.Predict(number, rows):
                return self._predict(context, number, rows)
            case actions.TryAgain():
                return self._try_again(context, action)
            case actions.Spend(number, keys):
                self._store.spend(name, number, keys)
            case actions.Report():
                self._report(context, action)
            case actions.Promote():
                return self._promote(context, action)
            case actions.Reject(number, why):
                state = ReleaseState.RETIRED if self._has_served(name, number) else ReleaseState.REJECTED
                self._store.update_release(name, number, state=state, reason=why)
                self._store.update_task(name, phase_note=f"release {number} rejected: {why}")
            case actions.Explore(rate):
                self._store.update_task(name, exploration=rate)
            case actions.Say(what):
                self._store.update_task(name, phase_note=what)
        return None

    def _predict(self, context: TaskContext, number: int, rows: Sequence[Record]) -> list[Prediction | None] | None:
        trial = context.loop.trial
        if trial is not None and trial.number == number and context.student is not None:
            return [_said(context.student, row) for row in rows]
        try:
            manifest = context.loop.releases.served[number].manifest
            student = self._publisher.student(context.task.name, content_of(manifest), manifest)
            return [_said(student, row) for row in rows]
        except (HeadraceError, OSError) as error:
            log.warning("task %s: release %d can't be tried again: %s", context.task.name, number, error)
            return None

    def _has_served(self, name: str, number: int) -> bool:
        return self._publisher.manifest(name, number).certificate is not None

    def _try_again(self, context: TaskContext, action: actions.TryAgain) -> bool:
        """Let a fallback release wait for a new certificate; whether its student can be opened."""
        name, trial = context.task.name, action.trial
        manifest = context.loop.releases.served[trial.number].manifest
        try:
            context.student = self._publisher.student(name, trial.number, manifest)
        except (HeadraceError, OSError) as error:
            log.warning("task %s: release %d can't be tried again: %s", name, trial.number, error)
            return False
        log.warning("task %s: release %d waits for a certificate once more", name, trial.number)
        self._store.update_task(name, attempt=action.attempt, phase=Phase.WAITING, phase_progress=0.0)
        waiting = waiting_of(trial, action.attempt)
        self._store.update_release(name, trial.number, state=ReleaseState.WAITING, **waiting)
        context.remark = ""
        return True

    def _report(self, context: TaskContext, action: actions.Report) -> None:
        note = f"release {action.release}: {action.rows} rows, {action.losses} lost"
        note += f", {action.missing} of them kept on devices and never sent" if action.missing else ""
        note += f"; {context.remark}" if context.remark else ""
        self._store.update_task(context.task.name, phase_progress=float(action.progress), phase_note=note)

    def _promote(self, context: TaskContext, action: actions.Promote) -> ServedRelease | None:
        """Promote as the release that waited, or a new one of its content; ``None`` while that waits for approval."""
        task, name = context.task, context.task.name
        self._store.update_task(name, phase=Phase.PUBLISHING)
        manifest = self._publisher.manifest(name, action.release)
        folder, asked = self._publisher.path(name, action.release), [row.text for row in context.loop.rows.drawn]
        golden = golden_around(context.student, asked, action.threshold, folder)
        manifest = replace(
            manifest,
            task=as_promised_now(manifest.task, task),
            escalation=action.escalation,
            certificate=action.certificate,
            policy=Policy(action.threshold),
        )
        if action.number != action.release:
            manifest = replace(manifest, number=action.number, content=content_of(manifest), created_at=time.time())
            self._store.add_release(ReleaseRow(name, action.number, ReleaseState.BUILDING, "", manifest.created_at))
            digest = self._publisher.republish(manifest, action.release, golden)
            if not action.has_served:
                self._store.update_release(name, action.release, state=ReleaseState.RETIRED)
        else:
            digest = self._publisher.amend(manifest, golden)
        facts = {"local_share": action.local_share, "remark": context.remark, "classes": action.classes}
        self._store.update_release(name, action.number, **facts)
        if self._needs_approval:
            self._hold(name, action, digest)
            return None
        changes = {"exploration": action.exploration, "watch": Watch.QUIET}
        self._roll_out(name, action.number)
        self._store.promote(name, action.number, digest, **changes, rows_at_refresh=action.rows_at_refresh)
        log.info("task %s: release %d certified on %d rows", name, action.number, action.certificate.rows)
        return ServedRelease(self._publisher.manifest(name, action.number), action.local_share)

    def _hold(self, name: str, action: actions.Promote, digest: str) -> None:
        """Let a certified release wait for approval, in place of one that waits."""
        for row in self._store.releases(name):
            if row.state is ReleaseState.APPROVAL:
                self._store.update_release(name, row.number, state=ReleaseState.REJECTED, reason=LATER)
        self._store.update_release(name, action.number, state=ReleaseState.APPROVAL, manifest_sha256=digest)
        note = f"release {action.number} is certified, and waits for approval"
        self._store.update_task(name, rows_at_refresh=action.rows_at_refresh, phase_note=note)
        log.info("task %s: %s", name, note)


def _said(student: DeviceStudent, row: Record) -> Prediction | None:
    """What a student says of a row, ``None`` where it can't read it."""
    try:
        return student.predict(query_of(row))
    except BadInputError:
        return None
