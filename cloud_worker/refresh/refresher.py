"""Log -> challenger -> certificate -> release, again and again, for every task.

    idle ──enough new rows──▶ fitting ▶ exporting ▶ judging ──worth proving──▶ waiting ──certified──▶ publishing
      ▲                                                │                        │                        │
      └────────────────────────────────────────────────┴──── hopeless, or no better than the champion ───┘

Rules:
 * A version of the log counts as seen once everything that follows from it has been done.
 * What waits for a certificate survives a kill: release, proposal and spent rows are in the store.
 * A fit that fails is logged and noted; the old release serves on. It counts as one in vain: a tenth more rows, time or
   a new start of the cloud bring the next.
 * A champion that breaks its promise gives way: to a former release whose certificate stands, else to the cloud.
 * While the operator holds a task, or too few explored rows come, nothing is fitted and nothing promoted.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.config.recipe_needs import recipe_name
from cloud_worker.judging.task_judge import judged_by
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.refresh.failure_reason import reason_of
from cloud_worker.refresh.promise_guard import Around
from cloud_worker.refresh.reference_consistency import AskAgain
from cloud_worker.refresh.task_context import Room, pace_of, settle_losses
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.states import Phase, ReleaseState
from cloud_worker.state.store import ReleaseRow, TaskState
from cloud_worker.state.task_figures import Waiting
from cloud_worker.training.auxiliary_data import beside_of
from cloud_worker.training.export import GOLDEN_FILE, golden_around, golden_inputs
from cloud_worker.training.reviewed_data import taught_of
from cloud_worker.training.spec import Fitted, Recipe
from router.core.certification.certificate_validity import OVERTAKEN, why_made_for_another, wished_now
from router.core.certification.class_gate import figures_of
from router.core.certification.live_watch import ALARMED
from router.core.certification.refresh_schedule import (
    Champion,
    begin_trial,
    exploration_at_rest,
    patience_of,
    points_of,
    rate_once_served,
    situation_of,
    waiting_share,
    why_no_trial,
)
from router.core.certification.trial import Next, Trial
from router.core.domain.record import Record
from router.core.domain.task import Kind, Task
from router.core.errors import HeadraceError, ReleaseError
from router.core.learning.reliability import reliability_curve
from router.core.learning.training_rows import Key, current, version_in_force, weights_of
from router.core.policy.deferral import Policy
from router.core.release.manifest import Golden, Lineage, Manifest
from router.core.release.orders import Watch
from router.core.statistics.threshold_planning import NEVER, Point, Situation

log = logging.getLogger(__name__)

FAILED = "failed: "  # begins the note of a step that failed
UNFINISHED = "was not finished"  # the note of a release that was being made
GOLDEN_TOLERANCE = 0.05
GOLDEN_LEAST_EQUAL = {Kind.LABEL: 1.0, Kind.TEXT: 0.9}  # texts part ways where two tokens are as good as equal

Fit = Callable[[str, Sequence[Record], Recipe], Fitted | None]


class RefreshLoop:
    """Turns the log into releases. ``fit`` runs a fit, wherever it likes."""

    def __init__(self, config: CloudConfig, fit: Fit, ask_again: AskAgain | None = None) -> None:
        """Take up every task where the store says that it stands; ``ask_again`` asks the pool a second time."""
        self._config = config
        self._fit = fit
        self._pace = pace_of(config)
        self._store = open_store(config)
        self._log = DistillationLog(config.log_folder)
        self._publisher = Publisher(config.releases_folder, config.server_urls)
        self._lineages = Lineages(self._store.engine)
        around = Around.of(self._store, self._publisher)
        self._hands = around.hands
        self._rooms = [Room.of(task, config, around, self._lineages, ask_again) for task in config.tasks]
        settle_losses(self._rooms, self._log, self._store)
        for room in self._rooms:
            self._take_up(room)

    def step(self) -> None:
        """Consider what is new in the log, for every task; without anything new, whenever its guard looks again."""
        settle_losses(self._rooms, self._log, self._store)
        version, hands = self._log.last_batch(), self._hands.of_all()
        seen = {state.name: state.log_version_seen for state in self._store.task_states()}
        for room in self._rooms:
            if version != seen[room.task.name] or room.guard.is_due(hands[room.task.name]):
                self._consider(room, version)

    def _consider(self, room: Room, version: int) -> None:
        name = room.task.name
        room.read(self._log, version)
        rows = current(room.records(), room.task)
        note: dict[str, str] = {}
        try:
            room.second.look(rows)
            self._guard(room)
            room.tiering.look(room.rows, self._store.task_state(name).exploration, held=bool(room.held))
            if room.trial is not None and not room.held:
                self._try(room, rows, self._store.spent(name))
            taught = taught_of(rows, self._store, name)
            free = room.trial is None or room.trial.has_served  # a better student before a looser threshold
            if free and not room.held and self._is_due(self._store.task_state(name), len(taught)):
                self._close(room, rows)
                self._refresh(room, rows, taught)
            self._tell(room, rows, len(taught))
        except Exception as error:  # the loop's outermost edge: a failed fit must not end it
            log.exception("refresh of task %s failed", name)
            self._store.reject_unfinished(name, UNFINISHED)
            note = {"phase_note": f"{FAILED}{reason_of(error)}"}
        phase = Phase.IDLE if room.trial is None else Phase.WAITING
        self._store.update_task(name, phase=phase, rows_seen=len(room.rows), log_version_seen=version, **note)

    def _guard(self, room: Room) -> None:
        """Obey the operator, and watch what the champion kept; while the operator holds the task, nothing waits."""
        changed = room.guard.look(room.records(), self._lineages.judge(room.task.name, room.task.version))
        if changed and room.trial is not None and room.trial.has_served:
            room.trial = room.student = None
        before, room.held = room.held, room.guard.holds
        if (changed or before != room.held) and self._store.task_state(room.task.name).watch != ALARMED:
            waits = room.trial is not None and not room.guard.hand.holds
            rate = room.trial.rate if room.trial and waits else exploration_at_rest(room.task, self._serving(room.task))
            self._store.update_task(room.task.name, exploration=rate)

    def _tell(self, room: Room, rows: Sequence[Record], taught: int) -> None:
        """What ``status`` and the metrics are to say."""
        trial, waiting = room.trial, None
        if trial is not None:
            after = trial.outlook(self._situation(room, rows, trial))
            waiting = Waiting(
                release=trial.number,
                rows=trial.rows,
                losses=trial.losses(after.threshold),
                expected_rows=after.expected_rows,
                rate=trial.rate,
                patience=int(trial.patience),
                weight=trial.weight,
            )
        room.guard.post(room.records(), taught, self._needed(room, rows), waiting)

    def _needed(self, room: Room, rows: Sequence[Record]) -> int:
        """Rows that start the next fit; 0 where none starts one."""
        if why_no_trial(room.task, rows, self._serving(room.task)):
            return 0
        at_refresh = self._store.task_state(room.task.name).rows_at_refresh
        return math.ceil(max(self._pace.min_rows, self._pace.growth * at_refresh))

    def _is_due(self, state: TaskState, taught: int) -> bool:
        late = self._is_late(state) and taught > max(state.rows_at_refresh, self._pace.min_rows - 1)
        return late or self._pace.is_due(taught, state.rows_at_refresh)

    def _is_late(self, state: TaskState) -> bool:
        return state.rows_at_refresh > 0 and time.time() - state.refreshed_at > self._config.refresh.max_seconds

    def _refresh(self, room: Room, rows: Sequence[Record], taught: Sequence[Record]) -> None:
        name = room.task.name
        why = why_no_trial(room.task, rows, self._serving(room.task))
        if why:
            self._store.update_task(name, phase_note=why)
            return
        room.second.settle(rows)
        refusal = room.second.refusal(rows)
        if refusal:
            self._store.update_task(name, phase_note=refusal)
            return
        begun = {"rows_at_refresh": self._pace.in_vain(len(taught)), "refreshed_at": time.time()}
        self._store.update_task(name, phase=Phase.FITTING, phase_note="", phase_progress=0.0, **begun)
        self._lineages.hold_judge(room.task, judged_by(room.task, room.judging))
        settings = self._config.refresh
        recipe = Recipe(
            room.task,
            self._config.encoder,
            self._config.data / "cache",
            settings.seed,
            servers=tuple(self._config.server_urls.items()),
            beside=beside_of(room.task, {one.task.name: (one.task, one.records()) for one in self._rooms}, self._store),
        )
        fitted = self._fit(name, taught, recipe)
        if fitted is None or not fitted.rows:
            self._store.update_task(name, phase_note="too few rows to teach a student")
            return
        self._store.update_task(name, phase=Phase.JUDGING, phase_progress=0.0)
        state = self._store.task_state(name)
        manifest, points = self._calibrated(room, fitted, state, len(taught), rows)
        trial = self._trial(room, manifest, points, waiting_share(room.task, rows, self._serving(room.task))[1])
        trial.patience = self._patience(room, rows, trial)
        if not trial.patience:
            self._store.update_task(name, phase_note="no threshold is worth a certificate yet")
            return
        self._stage(room, fitted, manifest, trial)
        self._try(room, rows, self._store.spent(name))

    def _calibrated(
        self, room: Room, fitted: Fitted, state: TaskState, taught: int, rows: Sequence[Record]
    ) -> tuple[Manifest, tuple[Point, ...]]:
        """The challenger, and the thresholds that might be proved for it."""
        task = room.task
        pairs = zip(fitted.measures.answers, fitted.rows, strict=True)
        agrees = np.array([room.judging(row.text, answer, row.answer) for answer, row in pairs])
        weights = weights_of(fitted.rows)
        calibrated = fitted.measures.calibrate(agrees, weights)
        attempt = state.attempt + 1
        manifest = Manifest(
            task=task,
            number=self._store.next_release(task.name),
            created_at=time.time(),
            policy=Policy(NEVER),
            student=fitted.spec,
            calibration=calibrated.label,
            text_calibration=calibrated.text,
            reliability=tuple(reliability_curve(calibrated.scores, agrees, weights)),
            self_agreement=room.second.share(current(room.records(), task)),
            judged_by=self._lineages.judge(task.name, task.version),
            golden=Golden(GOLDEN_FILE, GOLDEN_TOLERANCE, GOLDEN_LEAST_EQUAL[task.kind]),
            lineage=Lineage(
                state.champion, attempt, taught, room.last_batch, recipe_name(task), self._config.refresh.seed
            ),
        )
        return manifest, points_of(task, calibrated.scores, agrees, weights)

    def _patience(self, room: Room, rows: Sequence[Record], trial: Trial) -> int:
        """Most rows that a challenger may look at; 0 where none of its thresholds is worth a certificate."""
        situation = self._situation(room, rows, trial)
        return patience_of(room.current(), self._store.spent(room.task.name), trial, situation, self._pace)

    def _situation(self, room: Room, rows: Sequence[Record], trial: Trial) -> Situation:
        """What further rows cost and bring now."""
        return situation_of(room.task, rows, trial, self._serving(room.task))

    def _stage(self, room: Room, fitted: Fitted, manifest: Manifest, trial: Trial) -> None:
        name, number, attempt = room.task.name, manifest.number, manifest.lineage.attempt
        # First what may not happen twice: an attempt spends assurance, and a number is never used again.
        self._store.update_task(name, attempt=attempt)
        self._store.add_release(ReleaseRow(name, number, ReleaseState.BUILDING, "", manifest.created_at))
        drafted = self._draft(room, fitted, manifest)
        tried = {"rate": trial.rate, "patience": trial.patience, "points": trial.points, "remark": fitted.remark}
        self._store.update_release(name, number, state=ReleaseState.WAITING, manifest_sha256=drafted, **tried)
        room.trial, room.remark = trial, fitted.remark
        self._store.update_task(name, phase=Phase.WAITING, phase_progress=0.0, exploration=trial.rate)

    def _draft(self, room: Room, fitted: Fitted, manifest: Manifest) -> str:
        """Write the challenger's folder, open its student, and return its manifest's SHA-256."""
        self._publisher.publish(manifest, {**fitted.files, GOLDEN_FILE: b""})
        room.student = self._publisher.student(manifest.task.name, manifest.number, manifest)
        return self._publisher.amend(manifest, {GOLDEN_FILE: golden_inputs(room.student, fitted.golden)})

    def _try(self, room: Room, rows: Sequence[Record], spent: set[Key]) -> None:
        trial, student, name = room.trial, room.student, room.task.name
        assert trial is not None
        assert student is not None
        if trial.is_overtaken(version_in_force(rows, room.task)):
            self._end(room, trial, OVERTAKEN)
            return
        seen = room.look(trial, student, spent)
        self._store.spend(name, trial.number, [row.key for row in seen])
        situation = self._situation(room, rows, trial)
        self._report(room, trial, situation)
        step = trial.next(self._serving(room.task).number, situation)
        if step is Next.PROMOTE:
            self._promote(room, trial)
            step = trial.next(self._serving(room.task).number, self._situation(room, rows, trial))
        if step is Next.END:
            self._end(room, trial, f"{trial.outcome()}: {trial.rows} rows")

    def _close(self, room: Room, rows: Sequence[Record]) -> None:
        """Take what is certified of a challenger that serves, and wait for no more."""
        trial = room.trial
        if trial is None:
            return
        trial.patience = trial.weight
        if trial.next(self._serving(room.task).number, self._situation(room, rows, trial)) is Next.PROMOTE:
            self._promote(room, trial)
        self._rest(room)

    def _report(self, room: Room, trial: Trial, situation: Situation) -> None:
        """Say how far the challenger is with the threshold that it is after."""
        after = trial.outlook(situation).threshold
        progress = min(1.0, max(0.0, trial.evidence(after) / -np.log(trial.alpha)))
        note = f"release {trial.number}: {trial.rows} rows, {trial.losses(after)} lost"
        note += f", {trial.missing} of them kept on devices and never sent" if trial.missing else ""
        note += f"; {room.remark}" if room.remark else ""
        self._store.update_task(room.task.name, phase_progress=float(progress), phase_note=note)

    def _promote(self, room: Room, trial: Trial) -> None:
        """Let the loosest certified threshold serve: as the release that waited, or as a new one of its content."""
        name = room.task.name
        self._store.update_task(name, phase=Phase.PUBLISHING)
        threshold = trial.certified()
        certificate = trial.certificate(self._store.task_state(name).attempt)
        manifest = self._publisher.manifest(name, trial.number)
        golden = golden_around(room.student, [row.text for _, row in room.current()], threshold)
        escalation = trial.escalation(threshold, room.task.exploration.floor)
        manifest = replace(manifest, task=wished_now(manifest.task, room.task), escalation=escalation)
        manifest = replace(manifest, certificate=certificate, policy=Policy(threshold))
        if trial.has_served or trial.number < self._store.task_state(name).champion:  # devices go by numbers that grow
            number = self._store.next_release(name)
            manifest = replace(manifest, number=number, content=trial.number, created_at=time.time())
            self._store.add_release(ReleaseRow(name, number, ReleaseState.BUILDING, "", manifest.created_at))
            digest = self._publisher.republish(manifest, trial.number, golden)
            if not trial.has_served:
                self._store.update_release(name, trial.number, state=ReleaseState.RETIRED)
        else:
            number, digest = trial.number, self._publisher.amend(manifest, golden)
        trial.serving = threshold
        trial.rate = rate_once_served(room.task, [record for _, record in room.current()], trial)
        classes = figures_of(trial.looks, threshold)
        kept = trial.kept(threshold)
        self._store.update_release(name, number, local_share=kept, remark=room.remark, classes=classes)
        self._store.promote(name, number, digest, exploration=trial.rate, watch=Watch.QUIET)
        self._store.update_task(name, rows_at_refresh=manifest.lineage.rows)
        log.info("task %s: release %d certified on %d rows", name, number, trial.rows)

    def _end(self, room: Room, trial: Trial, reason: str) -> None:
        """Wait no longer, for a reason."""
        if trial.has_served:
            self._store.update_task(room.task.name, phase_note="")
            self._rest(room)
            return
        self._reject(room, trial, reason)

    def _reject(self, room: Room, trial: Trial, reason: str) -> None:
        name = room.task.name
        self._store.update_release(name, trial.number, state=ReleaseState.REJECTED, reason=reason)
        self._store.update_task(name, phase_note=f"release {trial.number} rejected: {reason}")
        self._rest(room)

    def _rest(self, room: Room) -> None:
        """Explore as when nothing waits."""
        rate = exploration_at_rest(room.task, self._serving(room.task))
        self._store.update_task(room.task.name, exploration=rate)
        room.trial = room.student = None

    def _take_up(self, room: Room) -> None:
        """Go on where the process before this one ended: with the challenger that waits, if one does."""
        name = room.task.name
        room.read(self._log, self._log.last_batch())
        releases = self._store.releases(name)
        waiting = [row for row in releases if row.state is ReleaseState.WAITING]
        self._store.reject_unfinished(name, UNFINISHED)
        for row in waiting[:-1]:
            self._store.update_release(name, row.number, state=ReleaseState.REJECTED, reason=UNFINISHED)
        try:
            if waiting:
                self._go_on(room, waiting[-1])
        except (HeadraceError, OSError, ValueError, KeyError) as error:
            log.exception("release %d of task %s can't be taken up", waiting[-1].number, name)
            reason = f"can't be taken up: {reason_of(error)}"
            self._store.update_release(name, waiting[-1].number, state=ReleaseState.REJECTED, reason=reason)
            room.trial = None
        if room.trial is None:
            failed = self._store.task_state(name).phase_note.startswith(FAILED)
            again = {"rows_at_refresh": 0, "log_version_seen": -1} if failed else {}  # whoever mended it has waited
            self._store.update_task(name, phase=Phase.IDLE, phase_progress=0.0, **again)
            self._rest(room)

    def _go_on(self, room: Room, row: ReleaseRow) -> None:
        name, number = room.task.name, row.number
        if row.rate is None or row.patience is None or not row.points:
            raise ReleaseError("what it was to prove is not known")
        manifest = self._publisher.manifest(name, number)
        why = why_made_for_another(manifest, room.task, self._lineages.judge(name, room.task.version))
        if why:
            raise ReleaseError(why)
        room.student = self._publisher.student(name, number, manifest)
        trial = self._trial(room, manifest, row.points, row.rate)
        room.trial = replace(trial, freeze=manifest.lineage.log_version, patience=row.patience)
        room.remark = row.remark
        looked = self._store.spent_by(name, number)
        seen = [record for _, record in room.rows if record.key in looked and record.covered]
        room.trial.take_up(seen, room.student, room.judging)
        self._store.update_task(name, phase=Phase.WAITING, exploration=room.trial.rate)

    def _trial(self, room: Room, manifest: Manifest, points: tuple[Point, ...], rate: float) -> Trial:
        attempt = manifest.lineage.attempt
        return begin_trial(room.task, manifest.number, attempt, points, rate=rate, freeze=room.last_batch)

    def _serving(self, task: Task) -> Champion:
        """What serves: nothing while none may keep anything."""
        if self._store.task_state(task.name).watch != ALARMED:
            for row in self._store.releases(task.name):
                if row.state is ReleaseState.CHAMPION and row.local_share is not None:
                    return Champion(row.number, row.local_share)
        return Champion()
