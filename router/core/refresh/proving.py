"""From a fitted student to a certificate, or to the reason why there is none.

Rules:
 * An attempt and a number are taken before anything else of a challenger: neither may happen twice.
 * A challenger looks at the rows at hand, and is then promoted, waits for more, or is given up with a reason.
 * One that serves goes on to a looser threshold while that is worth its rows, until a better student is fitted.
"""

from __future__ import annotations

import math

from router.core.certification.certificate_validity import OVERTAKEN
from router.core.certification.certifying_rows import within_patience
from router.core.certification.class_gate import figures_of
from router.core.certification.missing_rows import NumberSequence, SequenceKey
from router.core.certification.refresh_schedule import (
    exploration_at_rest,
    rate_once_served,
    why_no_trial,
)
from router.core.certification.served_releases import ServedRelease
from router.core.certification.serving_rule import Next
from router.core.certification.trial import Trial
from router.core.refresh.actions import (
    AskReferenceAgain,
    BeginFit,
    Fit,
    FitResult,
    Predict,
    Promote,
    Reject,
    Report,
    Say,
    Spend,
    Stage,
    Step,
)
from router.core.refresh.choice import challenger_of
from router.core.refresh.loop_state import LoopState, StepInputs
from router.core.refresh.predicted import Predicted
from router.core.refresh.promise_keeping import explore
from router.core.refresh.quarantine import set_apart, who_spoilt, who_spoilt_fit
from router.core.release.orders import Watch

TOO_FEW = "too few rows to teach a student"
NOT_WORTH = "no threshold is worth a certificate yet"


def refresh(loop: LoopState, inputs: StepInputs) -> Step[None]:
    """Fit a student, and let it wait for a certificate where one of its thresholds is worth that."""
    task, rows, releases = loop.task, loop.rows, loop.releases
    why: str = why_no_trial(task, rows.sums, loop.champion) or (yield AskReferenceAgain())
    if why:
        yield Say(why)
        return
    taught = rows.taught
    begun = BeginFit(loop.pace.in_vain(taught), inputs.now)
    yield begun
    loop.change(rows_at_refresh=begun.rows_at_refresh, refreshed_at=begun.at)
    fit: FitResult | None = yield Fit(taught, rows.last_batch, loop.apart)
    if fit is None:
        yield Say(TOO_FEW)
        return
    trial = challenger_of(
        loop, fit, taught, lambda one: rows.certifying(one, _sequences_of(loop, one, inputs), inputs.blind)
    )
    if not trial.patience:
        spoilt_by = who_spoilt_fit(loop, fit, loop.situation(trial))
        if spoilt_by:
            yield from set_apart(loop, spoilt_by)
        yield Say(NOT_WORTH)
        return
    attempt = releases.attempt + 1
    yield Stage(trial, attempt, taught, rows.asked_until(trial.freeze) if trial.only_asked else None)
    loop.change(attempt=attempt, last_release=trial.number, exploration=trial.rate)
    loop.begin_trial(trial, taught, attempt)
    yield from prove(loop, inputs)


def prove(loop: LoopState, inputs: StepInputs) -> Step[None]:
    """Let the challenger look at the rows at hand, and do what follows."""
    trial, rows = loop.trial, loop.rows
    assert trial is not None
    if trial.is_overtaken(rows.version):
        yield from _end(loop, trial, OVERTAKEN)
        return
    rows.tell_of_texts(trial)
    sequences = _sequences_of(loop, trial, inputs)
    at_hand = rows.certifying(trial, sequences, inputs.blind)
    more = (trial.patience - trial.weight) * trial.piece
    chosen = tuple(within_patience(at_hand, more))
    if chosen:
        said = Predicted(chosen, (yield Predict(trial.number, chosen)))
        seen = trial.observe(chosen, said, loop.judging, rows.heard)
        rows.spend(seen)
        yield Spend(trial.number, tuple(row.key for row in seen))
    else:
        trial.share(rows.heard)
    trial.miss(rows.sequences.missed(sequences, trial.counts, rows.heard))
    situation = loop.situation(trial)
    yield _report(trial, trial.outlook(situation).threshold)
    found = trial.next(loop.champion.number, situation)
    if found is Next.PROMOTE and loop.is_suspected:
        return  # its rows are of before, if queries have changed
    if found is Next.PROMOTE:
        if not (yield from _promote(loop, trial)):
            yield from rest(loop)
            return
        found = trial.next(loop.champion.number, loop.situation(trial))
    spoilt_by = "" if found is Next.PROMOTE else who_spoilt(loop, trial, loop.situation(trial))
    if spoilt_by:
        yield from set_apart(loop, spoilt_by)
        yield from rest(loop)
    elif found is Next.END:
        yield from _end(loop, trial, f"{trial.outcome()}: {trial.rows} rows")


def close(loop: LoopState) -> Step[None]:
    """Take what is certified of a challenger that serves, and wait for no more."""
    trial = loop.trial
    if trial is None:
        return
    loop.rows.tell_of_texts(trial)
    trial.patience = trial.weight
    if trial.next(loop.champion.number, loop.situation(trial)) is Next.PROMOTE:
        yield from _promote(loop, trial)
    yield from rest(loop)


def rest(loop: LoopState) -> Step[None]:
    """Let no challenger wait any more, and explore as while none does."""
    yield from explore(loop, exploration_at_rest(loop.task, loop.champion))
    loop.end_trial()


def _sequences_of(loop: LoopState, trial: Trial, inputs: StepInputs) -> dict[SequenceKey, NumberSequence]:
    apart = {device: ((-math.inf, one.until),) for device, one in loop.quarantines.items()}
    spans = {device: (*inputs.twins.get(device, ()), *apart.get(device, ())) for device in {*inputs.twins, *apart}}
    return loop.rows.sequences.sequences(trial.freeze, inputs.blind, inputs.repeats, spans)


def _report(trial: Trial, threshold: float) -> Report:
    """How far the proof of the threshold is that is most worth further rows."""
    progress = min(1.0, max(0.0, trial.evidence(threshold) / -math.log(trial.alpha)))
    return Report(trial.number, progress, trial.rows, trial.losses(threshold), trial.missing)


def _promote(loop: LoopState, trial: Trial) -> Step[bool]:
    """Let the loosest certified threshold serve: as the release that waited, or as a new one of its content.

    Returns:
        Whether it serves; else it waits for somebody's approval, and the one before serves on.
    """
    releases, threshold = loop.releases, trial.certified()
    is_new = trial.has_served or trial.number < releases.champion  # devices go by numbers that grow
    number = releases.last_release + 1 if is_new else trial.number
    rate = rate_once_served(loop.task, loop.rows.sums, trial, threshold)
    served: ServedRelease | None = yield Promote(
        release=trial.number,
        number=number,
        threshold=threshold,
        certificate=trial.certificate(loop.attempt),
        local_share=trial.kept(threshold),
        escalation=trial.escalation(threshold, loop.task.exploration.floor),
        exploration=rate,
        rows_at_refresh=loop.taught,
        has_served=trial.has_served,
        classes=figures_of(trial.observations, threshold),
    )
    last = max(number, releases.last_release)
    if served is None:
        loop.change(last_release=last, rows_at_refresh=loop.taught)
        return False
    trial.serving, trial.rate = threshold, rate
    loop.change(
        champion=number,
        watch=Watch.QUIET,
        exploration=rate,
        last_release=last,
        rows_at_refresh=loop.taught,
        served={**releases.served, number: served},
    )
    return True


def _end(loop: LoopState, trial: Trial, why: str) -> Step[None]:
    """Wait no longer, for a reason."""
    yield Say("") if trial.has_served else Reject(trial.number, why)
    yield from rest(loop)
