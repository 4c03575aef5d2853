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
from router.core.certification.refresh_schedule import begin_trial, expectation, patience_of, points_of, waiting_share
from router.core.certification.trial import Trial
from router.core.domain.record import Record
from router.core.domain.task import Kind
from router.core.refresh.actions import FitResult
from router.core.refresh.loop_state import LoopState
from router.core.release.kept_texts import KeptTexts
from router.core.statistics.repertoire import lasting_share
from router.core.statistics.threshold_planning import Point, Proposal

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
    trial, expected = _begun(loop, points, at_hand)
    if loop.task.kind is not Kind.LABEL or trial.asked.stays:
        return trial, expected
    other, expected_of_other = _begun(loop, _points_of_asked(loop, trial, fit), at_hand, only_asked=True)
    if expected_of_other.expected_gain * (1 + loop.in_vain()) > expected.expected_gain:
        return other, expected_of_other
    return trial, expected


def _begun(
    loop: LoopState, points: tuple[Point, ...], at_hand: AtHand, *, only_asked: bool = False
) -> tuple[Trial, Proposal]:
    rows, releases = loop.rows, loop.releases
    number, attempt = releases.last_release + 1, releases.attempt + 1
    rate = waiting_share(loop.task, rows.sums, loop.champion)[1]
    trial = begin_trial(loop.task, number, attempt, points, rate=rate, freeze=rows.last_batch)
    trial.known, trial.earliest = rows.repeats.before_trial(rate)
    trial.only_asked = only_asked
    rows.tell_of_texts(trial)
    return trial, expectation(shared_fairly(at_hand(trial), trial.counts, rows.heard), trial, loop.situation(trial))


def _points_of_asked(loop: LoopState, trial: Trial, fit: FitResult) -> tuple[Point, ...]:
    """What the later half of the rows says of thresholds, where only the texts of the earlier half are kept."""
    texts, half = np.array(fit.texts, np.int64), len(fit.texts) // 2
    may_keep = KeptTexts(np.unique(texts[:half])).among(texts[half:])
    scores = np.where(may_keep, fit.scores[half:], -math.inf)
    lasting = lasting_share(texts, loop.situation(trial).horizon)
    points = points_of(loop.task, scores, fit.agrees[half:], fit.weights[half:])
    return tuple(replace(point, kept=point.kept * lasting) for point in points)
