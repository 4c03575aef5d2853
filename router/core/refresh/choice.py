"""Which challenger a fitted student makes: one that keeps any text, or those alone that were asked before.

Rules:
 * Where the repertoire was shown to stay, any text: what was asked will be asked again.
 * Else whichever should save more, by the rows of the fit: the choice is made before any row certifies, so that one
   attempt is spent. Each attempt that came to nothing speaks against keeping any text.
 * How long what was asked before goes on being asked is an estimate: it decides what is tried, never what is proved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from router.core.certification.device_shares import shared_fairly
from router.core.certification.refresh_schedule import (
    begin_trial,
    expectation,
    patience_of,
    points_of,
    rate_while_waiting,
    waiting_share,
)
from router.core.certification.trial import Trial
from router.core.domain.record import Record
from router.core.domain.task import Kind
from router.core.refresh.actions import FitResult
from router.core.refresh.fading import Fading
from router.core.refresh.loop_state import LoopState
from router.core.release.kept_texts import KeptTexts
from router.core.statistics.repertoire import lasting_share
from router.core.statistics.threshold_planning import Point, Proposal

LATEST = 1000  # rows that tell what is kept of the texts asked before them

AtHand = Callable[[Trial], Sequence[Record]]


def challenger_of(loop: LoopState, fit: FitResult, taught: int, at_hand: AtHand) -> Trial:
    """The trial that is tried next; it has no patience where none is worth a certificate.

    Args:
        loop: Of the task.
        fit: What the fitted student says of the calibrating rows.
        taught: Teachable rows that it learned from.
        at_hand: The rows that a trial may look at now.
    """
    trial, expected = _chosen(loop, fit, at_hand)
    trial.patience = patience_of(expected, trial, loop.pace, loop.pace.least_share(taught))
    return trial


def _chosen(loop: LoopState, fit: FitResult, at_hand: AtHand) -> tuple[Trial, Proposal]:
    """The one that should bring more, and how much."""
    points = points_of(loop.task, fit.scores, fit.agrees, fit.weights)
    trial, expected = _begun(loop, fit, points, at_hand)
    if loop.task.kind is not Kind.LABEL or trial.asked.stays:
        return trial, expected
    other, expected_of_other = _begun(loop, fit, _points_of_asked(loop, fit), at_hand, only_asked=True)
    if expected_of_other.expected_gain * (1 + loop.in_vain()) > expected.expected_gain:
        return other, expected_of_other
    return trial, expected


def _begun(
    loop: LoopState, fit: FitResult, points: tuple[Point, ...], at_hand: AtHand, *, only_asked: bool = False
) -> tuple[Trial, Proposal]:
    task, rows, releases = loop.task, loop.rows, loop.releases
    fading = Fading.of(loop, fit) if only_asked else None
    number, attempt = releases.last_release + 1, releases.attempt + 1
    rate = rate_while_waiting(task, fading.now) if fading else waiting_share(task, rows.sums, loop.champion)[1]
    trial = begin_trial(task, number, attempt, points, rate=rate, freeze=rows.last_batch)
    trial.known, trial.earliest = rows.repeats.before_trial(rate)
    trial.only_asked = only_asked
    rows.tell_of_texts(trial)
    situation = loop.situation(trial)
    if fading:
        situation = fading.situation(situation)
    elif only_asked:
        lasting = lasting_share(np.array(fit.texts, np.int64), fit.weights, situation.horizon)
        situation = replace(situation, lasting=lasting)
    return trial, expectation(shared_fairly(at_hand(trial), trial.counts, rows.heard), trial, situation)


def _points_of_asked(loop: LoopState, fit: FitResult) -> tuple[Point, ...]:
    """What the rows say of thresholds where only texts that were asked before are kept, as many as are asked lately.

    Beside a release that serves the log has few rows of what that keeps, and each stands for many: all of them speak.
    Where none serves, the later half does, since the earlier may be of before a change.
    """
    texts = np.array(fit.texts, np.int64)
    is_known = np.ones(len(texts), np.bool_)
    is_known[np.unique(texts, return_index=True)[1]] = False
    half = len(texts) // 2
    since = 0 if loop.champion.number else half
    scores, weights = np.where(is_known, fit.scores, -math.inf)[since:], fit.weights[since:]
    points = points_of(loop.task, scores, fit.agrees[since:], weights)
    late = max(half, len(texts) - LATEST)
    lately = np.average(KeptTexts(np.unique(texts[:late])).among(texts[late:]), weights=fit.weights[late:])
    more = float(lately) / max(float(np.average(is_known[since:], weights=weights)), 1e-9)
    return tuple(replace(point, kept=min(point.kept * more, 1.0)) for point in points)
