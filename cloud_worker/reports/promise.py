"""What is promised of a task, on how many rows, how much of it is used, what is missing, how late a break is found.

Nothing here reads a store, a file or a clock: every input is an argument.

Rules:
 * Every figure says its rows, and a share its interval.
 * Nothing is told as proven whose certificate does not stand, or which can't be watched.
 * A figure that is not known is ``None``, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from cloud_worker.pool.policy_store import StoredPolicy
from cloud_worker.reports.escalation import leaving, why_exceeded
from cloud_worker.reports.pool import describe_pool
from cloud_worker.reports.promise_values import (
    Believed,
    Bin,
    ClassLoss,
    Covered,
    Found,
    Hour,
    Inputs,
    MissingProof,
    MissingRows,
    Ordered,
    Promise,
    PromiseState,
    Proof,
    Suspected,
    Used,
    WouldStay,
)
from cloud_worker.reports.quota import describe_limits
from cloud_worker.state.overrides import Hand
from cloud_worker.state.store import TaskState
from cloud_worker.state.task_figures import Drifted, Figures, Observed, Waiting, Watched
from router.core.certification.certificate_validity import why_never_proved, why_unwatched
from router.core.certification.class_gate import ClassFigures
from router.core.certification.served_releases import BROKEN
from router.core.domain.task import NO_FLOOR, Mode, Task
from router.core.monitoring.drift import CHANCE, WINDOW_ROWS
from router.core.policy.budget import Spent
from router.core.release.manifest import Manifest
from router.core.release.orders import TaskReport, Watch
from router.core.statistics.detection_delay import detection_delay
from router.core.statistics.e_process import WORSE, Certificate
from router.core.statistics.intervals import share_interval

RATIOS = (1.5, 2.0, 3.0)  # of the promise, whose finding is told
NO_STUDENT = "everything escalates: the reference answers"
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that is known of one task's promise.

    Attributes:
        task: As the operator wishes it.
        state: Where it stands.
        hand: The operator's.
        manifest: Of the release that serves, ``None`` if it can't be read.
        fallen: Why its certificate does not stand, empty when it does.
        judged_by: The judge of the task's lineage, empty if none is known yet.
        figures: What the refresher saw last, ``None`` before its first look.
        classes: What the rows that certified the release say of each class; empty where it has none.
        reports: What the devices did with the task since they started, each or all together.
        pool: Policies of its cheaper teachers, oldest first.
        spent: What the fleet has spent of its limits.
        now: Unix time in seconds.
    """

    task: Task
    state: TaskState
    hand: Hand
    manifest: Manifest | None
    fallen: str
    judged_by: str
    figures: Figures | None
    classes: tuple[ClassFigures, ...] = ()
    reports: tuple[TaskReport, ...] = ()
    pool: tuple[StoredPolicy, ...] = ()
    spent: Spent = field(default_factory=Spent)
    now: float = 0.0


def describe(known: Known) -> Promise:
    """The promise of one task."""
    figures = _of_champion(known.figures or Figures(0.0), known.state.champion)
    state, why = standing(known)
    manifest, objective = known.manifest, known.task.objective
    return Promise(
        max_disagreement=objective.max_disagreement,
        max_escalation=objective.max_escalation,
        escalation=leaving(known.state, known.hand, manifest),
        bends=why_exceeded(known.task, known.state, known.hand, manifest, is_suspected=_is_suspected(figures)),
        assurance=objective.assurance,
        reference=known.task.reference,
        judged_by=known.judged_by or known.task.judge.value,
        state=state,
        why=why,
        as_of=figures.at or None,
        certificate=_proof(manifest.certificate) if manifest and manifest.certificate else None,
        classes=tuple(_class(one) for one in known.classes),
        used=_used(figures.watched, known.task.at_device.max_disagreement),
        missing=_missing(known, figures),
        exploration=known.state.exploration,
        delays=tuple(_delays(known, figures)),
        covered=_covered(known.reports),
        hour=Hour(figures.hour_rows, figures.hour_planned, figures.blind),
        inputs=_inputs(figures.drifted),
        calibration=_believed(manifest),
        limits=describe_limits(known.task.budget, known.spent, known.now),
        pool=describe_pool(known.task, known.pool),
        observed=_would_stay(figures.observed, known.task) if known.hand.mode is Mode.OBSERVE else None,
        hand=Ordered(known.hand.mode, known.hand.frozen, known.hand.pinned, known.hand.forced),
    )


def _is_suspected(figures: Figures) -> bool:
    return figures.watched is not None and figures.watched.suspected_rows > 0


def _of_champion(figures: Figures, champion: int) -> Figures:
    """The figures without those of a release that served before."""
    watched, observed, drifted = figures.watched, figures.observed, figures.drifted
    return replace(
        figures,
        watched=watched if watched and watched.release == champion else None,
        observed=observed if observed and observed.release == champion else None,
        drifted=drifted if drifted and drifted.release == champion else None,
    )


def standing(known: Known) -> tuple[PromiseState, str]:
    """How far the promise holds, and why it is no better."""
    rows = known.figures.watched.rows if known.figures and known.figures.watched else 0
    if known.manifest is None:
        return PromiseState.UNPROVEN, "the manifest of what serves can't be read"
    if known.manifest.student is None:
        return _without_student(known.task)
    if known.fallen and known.fallen != BROKEN and known.state.watch != Watch.UNPROVEN:
        return PromiseState.UNPROVEN, f"{known.fallen}; everything escalates"
    if known.state.watch == Watch.ALARMED:
        return PromiseState.ALARMED, f"release {known.state.champion} broke its promise; everything escalates"
    why = known.fallen or why_unwatched(known.task, rows)
    if why:
        return PromiseState.UNPROVEN, why
    if known.state.watch == Watch.UNPROVEN:
        return PromiseState.UNPROVEN, "it is pinned without proof"
    if known.hand.mode is not Mode.SERVE:
        return PromiseState.ESCALATING, f"operator override: {known.hand.mode.value}"
    if known.state.watch == Watch.BLIND:
        return PromiseState.BLIND, "too few explored rows come to see a break"
    return PromiseState.PROVEN, ""


def _without_student(task: Task) -> tuple[PromiseState, str]:
    if task.local_only:
        return PromiseState.NO_STUDENT, "nothing may leave: queries are refused"
    why = why_never_proved(task)
    return (PromiseState.UNPROVEN, why) if why else (PromiseState.NO_STUDENT, NO_STUDENT)


def _proof(proof: Certificate) -> Proof:
    return Proof(
        rows=proof.rows,
        losses=proof.losses,
        weight=proof.rows if proof.weight is None else proof.weight,
        distinct=proof.distinct,
        allowance=proof.allowance,
        attempt=proof.attempt,
        first_asked_at=proof.first_asked_at,
        last_asked_at=proof.last_asked_at,
    )


def _class(one: ClassFigures) -> ClassLoss:
    loss = share_interval(one.losses, one.rows)
    return ClassLoss(one.label, one.rows, one.kept / one.rows, one.losses, loss.share, loss.low, loss.high)


def _used(watched: Watched | None, promise: float) -> Used | None:
    if watched is None:
        return None
    loss = share_interval(watched.losses, watched.rows)
    has_floor = promise < NO_FLOOR
    return Used(
        release=watched.release,
        rows=watched.rows,
        losses=watched.losses,
        loss=loss.share if watched.rows else None,
        loss_low=loss.low,
        loss_high=loss.high,
        of_allowance=loss.share / promise if watched.rows and has_floor else None,
        of_allowance_low=loss.low / promise if has_floor else None,
        of_allowance_high=loss.high / promise if has_floor else None,
        evidence_of_break=watched.evidence,
        suspected=Suspected(watched.suspected_since, watched.suspected_rows) if watched.suspected_rows else None,
    )


def _missing(known: Known, figures: Figures) -> MissingRows | MissingProof | None:
    """What the next step waits for: a certificate, or the rows of the next fit."""
    if figures.waiting is not None:
        return _missing_proof(figures.waiting, known.state.exploration)
    if not figures.needed:
        return None
    more = max(figures.needed - figures.taught, 0)
    serves = known.manifest is not None and known.manifest.student is not None
    # Without a student every query gives a row; with one it depends on what escalates.
    return MissingRows(None, figures.taught, figures.needed, more, None if serves else more)


def _missing_proof(waiting: Waiting, exploration: float) -> MissingProof:
    """What a certificate waits for, in drawn rows.

    At an exploration rate below the trial's no row counts; at a higher one they are thinned to it.
    """
    have, expected = int(waiting.weight), math.ceil(waiting.expected_rows) or None
    more = None if expected is None else max(expected - have, 0)
    comes = 0 < waiting.rate <= exploration + _ROUNDING
    return MissingProof(
        release=waiting.release,
        looked_at=waiting.rows,
        have=have,
        losses=waiting.losses,
        expected=expected,
        patience=waiting.patience,
        rate=waiting.rate,
        rows=more,
        queries=math.ceil(more / waiting.rate) if more is not None and comes else None,
    )


def _delays(known: Known, figures: Figures) -> Iterator[Found]:
    promise, alpha = known.task.at_device.max_disagreement, 1.0 - known.task.at_device.assurance
    quiet = figures.watched.rows if figures.watched else 0
    for ratio in RATIOS:
        if WORSE[0] <= ratio < 1 / promise:
            delay = detection_delay(promise, alpha, known.state.exploration, ratio, quiet)
            queries = delay.queries if math.isfinite(delay.queries) else None
            yield Found(delay.ratio, delay.rows, queries, delay.least_rows)


def _covered(reports: tuple[TaskReport, ...]) -> Covered:
    answered = sum(report.answered for report in reports)
    covered = sum(report.covered for report in reports)
    degraded = sum(report.degraded for report in reports)
    return Covered(answered, covered, degraded, covered / answered if answered else None)


def _inputs(drifted: Drifted | None) -> Inputs | None:
    if drifted is None or not drifted.comparisons:
        return None
    warnings = tuple(comparison.what for comparison in drifted.comparisons if comparison.warns)
    return Inputs(WINDOW_ROWS, drifted.windows, CHANCE, drifted.comparisons, warnings)


def _believed(manifest: Manifest | None) -> Believed | None:
    known = manifest and (manifest.calibration or manifest.text_calibration)
    if manifest is None or not manifest.reliability or not known:
        return None
    return Believed(known.error, manifest.lineage.rows, tuple(Bin(*one) for one in manifest.reliability))


def _would_stay(observed: Observed | None, task: Task) -> WouldStay | None:
    """Explored queries would have been paid all the same."""
    if observed is None:
        return None
    paid_no_more = 1.0 - task.exploration.floor
    return WouldStay(
        release=observed.release,
        since=observed.since,
        rows=observed.rows,
        kept=share_interval(observed.kept, observed.rows),
        disagreement=share_interval(observed.disagreed, observed.rows),
        disagreement_by_devices=observed.disagreed_by_devices,
        saved_usd=observed.usd * paid_no_more,
        saved_seconds=observed.seconds * paid_no_more,
        saved_tokens=observed.tokens * paid_no_more,
    )
