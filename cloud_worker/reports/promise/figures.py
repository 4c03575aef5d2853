"""Figures of a promise, from what the store and the manifest hold of them."""

from __future__ import annotations

from cloud_worker.reports.promise.values import (
    Believed,
    Bin,
    ClassLoss,
    Covered,
    Inputs,
    Proof,
    Saved,
    Suspected,
    Used,
    WouldStay,
)
from cloud_worker.state.task_figures import Drifted, Observed, Watched
from router.core.certification.class_gate import ClassFigures
from router.core.domain.task import NO_FLOOR, Task
from router.core.monitoring.drift import CHANCE, WINDOW_ROWS
from router.core.release.manifest import Manifest
from router.core.release.reports import TaskReport
from router.core.statistics.e_process import Certificate
from router.core.statistics.intervals import share_interval


def proof_of(proof: Certificate) -> Proof:
    """The certificate."""
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


def class_loss(one: ClassFigures) -> ClassLoss:
    """What the rows that certified say of one class."""
    loss = share_interval(one.losses, one.rows)
    return ClassLoss(one.label, one.rows, one.kept / one.rows, one.losses, loss.share, loss.low, loss.high)


def used(watched: Watched | None, promise: float) -> Used | None:
    """How much of the allowance the watch has seen used."""
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


def covered(reports: tuple[TaskReport, ...]) -> Covered:
    """How many queries the promise was over."""
    answered = sum(report.answered for report in reports)
    covered = sum(report.covered for report in reports)
    degraded = sum(report.degraded for report in reports)
    return Covered(answered, covered, degraded, covered / answered if answered else None)


def saved(reports: tuple[TaskReport, ...]) -> Saved:
    """How many queries asked the reference, those that were drawn and kept among them."""
    answered = sum(report.answered for report in reports)
    asked = min(sum(report.escalated + report.explored_kept for report in reports), answered)
    return Saved(answered, asked, 1.0 - asked / answered if answered else None)


def inputs_of(drifted: Drifted | None) -> Inputs | None:
    """The last comparison of the inputs."""
    if drifted is None or not drifted.comparisons:
        return None
    warnings = tuple(comparison.what for comparison in drifted.comparisons if comparison.warns)
    return Inputs(WINDOW_ROWS, drifted.windows, CHANCE, drifted.comparisons, warnings)


def believed(manifest: Manifest | None) -> Believed | None:
    """How right the release's scores were, on rows that its student had not seen."""
    known = manifest and (manifest.calibration or manifest.text_calibration)
    if manifest is None or not manifest.reliability or not known:
        return None
    return Believed(known.error, manifest.lineage.rows, tuple(Bin(*one) for one in manifest.reliability))


def would_stay(observed: Observed | None, task: Task) -> WouldStay | None:
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
