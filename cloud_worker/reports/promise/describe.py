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
from dataclasses import replace

from cloud_worker.reports.promise.escalation import leaving, why_exceeded
from cloud_worker.reports.promise.figures import (
    believed,
    class_loss,
    covered,
    inputs_of,
    proof_of,
    saved,
    used,
    would_stay,
)
from cloud_worker.reports.promise.known import Known
from cloud_worker.reports.promise.limits import describe_limits
from cloud_worker.reports.promise.pool import describe_pool
from cloud_worker.reports.promise.state import promise_state
from cloud_worker.reports.promise.values import (
    Found,
    Hour,
    MissingProof,
    MissingRows,
    Ordered,
    Promise,
)
from cloud_worker.state.task_figures import Figures, Waiting
from router.core.domain.task import Mode
from router.core.statistics.detection_delay import detection_delay
from router.core.statistics.e_process import WORSE

RATIOS = (1.5, 2.0, 3.0)  # of the promise, whose finding is told
_ROUNDING = 1e-9


def describe(known: Known) -> Promise:
    """The promise of one task."""
    figures = _of_champion(known.figures or Figures(0.0), known.state.champion)
    state, why = promise_state(known)
    manifest, objective = known.manifest, known.task.objective
    return Promise(
        max_disagreement=objective.max_disagreement,
        max_escalation=objective.max_escalation,
        escalation=leaving(known.state, known.override, manifest),
        bends=why_exceeded(known.task, known.state, known.override, manifest, is_suspected=_is_suspected(figures)),
        assurance=objective.assurance,
        reference=known.task.reference,
        judged_by=known.judged_by or known.task.judge.value,
        state=state,
        why=why,
        as_of=figures.at or None,
        certificate=proof_of(manifest.certificate) if manifest and manifest.certificate else None,
        classes=tuple(class_loss(one) for one in known.classes),
        used=used(figures.watched, known.task.at_device.max_disagreement),
        missing=_missing(known, figures),
        exploration=known.state.exploration,
        delays=tuple(_delays(known, figures)),
        covered=covered(known.reports),
        saved=saved(known.reports),
        hour=Hour(figures.hour_rows, figures.hour_planned, figures.blind),
        inputs=inputs_of(figures.drifted),
        calibration=believed(manifest),
        limits=describe_limits(known.task.budget, known.spent, known.now),
        pool=describe_pool(known.task, known.pool),
        observed=would_stay(figures.observed, known.task) if known.override.mode is Mode.OBSERVE else None,
        hand=Ordered(known.override.mode, known.override.frozen, known.override.pinned, known.override.forced),
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

    At an exploration rate below the trial's no row counts; at a higher one they come as much sooner.
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
        queries=math.ceil(more / exploration) if more is not None and comes else None,
    )


def _delays(known: Known, figures: Figures) -> Iterator[Found]:
    promise, alpha = known.task.at_device.max_disagreement, 1.0 - known.task.at_device.assurance
    quiet = figures.watched.rows if figures.watched else 0
    for ratio in RATIOS:
        if WORSE[0] <= ratio < 1 / promise:
            delay = detection_delay(promise, alpha, known.state.exploration, ratio, quiet)
            queries = delay.queries if math.isfinite(delay.queries) else None
            yield Found(delay.ratio, delay.rows, queries, delay.least_rows)
