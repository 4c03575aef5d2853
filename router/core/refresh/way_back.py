"""The way back: which fallback release, one that has served before, may serve in the place of one that may no longer.

Rules:
 * After an alarm it proves itself again, on rows asked since, as any challenger does, at its own threshold or a
   stricter one: it spends the next attempt. Until then everything escalates, and all is explored.
 * Its certificate stands, and so it has broken no promise, neither at its threshold nor at a stricter one.
 * The rows drawn since its certificate, those that spoke against its successor among them, do not speak against it: the
   watch that goes on over them stands at 1 or below. Not to have alarmed yet is not enough to be tried.
 * Releases of the same content and threshold are one; the latest few are tried.
"""

from __future__ import annotations

from collections.abc import Iterator

from router.core.certification.live_watch import MOST_FALLBACKS, MOST_SINCE, evidence_against
from router.core.certification.refresh_schedule import begin_trial, expectation, patience_of
from router.core.certification.served_releases import ServedRelease, is_same_release
from router.core.domain.record import Record
from router.core.refresh.actions import Predict, Step, TryAgain
from router.core.refresh.loop_state import LoopState, StepInputs
from router.core.refresh.predicted import Predicted
from router.core.release.manifest import Manifest
from router.core.statistics.threshold_planning import Point

MOST_WRITTEN = 100  # latest rows that a student that writes answers once more


def way_back(loop: LoopState, inputs: StepInputs) -> Step[ServedRelease | None]:
    """The latest fallback release that nothing speaks against; ``None`` where there is none."""
    tried = 0
    for fallback in _fallbacks(loop):
        if loop.why_uncertified(fallback.manifest, inputs):
            tried += 1
        else:
            rows = _since(loop, fallback)
            said = yield Predict(fallback.number, rows)
            if said is None:
                continue
            tried += 1
            student, threshold = Predicted(rows, said), fallback.manifest.policy.threshold
            if evidence_against(rows, student, threshold, loop.task, loop.judging) <= 0:
                return fallback
        if tried == MOST_FALLBACKS:
            break
    return None


def prove_again(loop: LoopState, fallback: ServedRelease) -> Step[None]:
    """Let a fallback release wait for a new certificate, if it is worth that."""
    releases, proof, threshold = loop.releases, fallback.manifest.certificate, fallback.manifest.policy.threshold
    assert proof is not None
    attempt, rate = releases.attempt + 1, loop.task.exploration.cold
    expected = Point(threshold, fallback.local_share or 0.0, proof.losses / max(proof.rows, 1))
    trial = begin_trial(loop.task, fallback.number, attempt, (expected,), rate=rate, freeze=loop.rows.last_batch)
    trial.bound, trial.only_asked = threshold, fallback.manifest.only_asked
    loop.rows.tell_of_texts(trial)
    trial.patience = patience_of(expectation([], trial, loop.situation(trial)), trial, loop.pace)
    if trial.patience and (yield TryAgain(trial, attempt)):
        loop.change(attempt=attempt)
        loop.begin_trial(trial, loop.pace.in_vain(loop.rows.taught), attempt)


def _fallbacks(loop: LoopState) -> Iterator[ServedRelease]:
    """Releases that have served, the latest first, each content and threshold once, without that of the champion."""
    serving = loop.releases.serving
    known: list[Manifest] = [] if serving is None else [serving.manifest]
    for one in reversed([*loop.releases.served.values()]):
        if one.has_student and not any(is_same_release(one.manifest, other) for other in known):
            known.append(one.manifest)
            yield one


def _since(loop: LoopState, fallback: ServedRelease) -> tuple[Record, ...]:
    """The latest drawn rows that were asked after those of its certificate."""
    proof = fallback.manifest.certificate
    last = proof.last_asked_at if proof else 0.0
    most = MOST_SINCE if fallback.manifest.text_calibration is None else MOST_WRITTEN
    return tuple(row for row in loop.rows.drawn if row.asked_at > last)[-most:]
