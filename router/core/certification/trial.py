"""A challenger's trial: what the rows looked at say of each threshold, and whether one may serve.

Which rows it may look at, ``certifying_rows`` says.

Rules:
 * A row is looked at once, in the log's order, and is never chosen by its outcome.
 * All rows are answers of one version of the reference; another one ends the trial.
 * What a device drew, kept and never sent counts as lost.
 * No device gives more than its share of the rows.
 * Rows drawn at a higher rate are thinned to the rate in force while the challenger waits; lower ones stay out.
 * A challenger serves when it is certified and keeps more at home than the champion on the same rows.
 * One alpha covers every threshold of a challenger. A stricter one loses no more, so that on the same rows its evidence
   is never smaller: a false certificate of any threshold takes one of the strictest that breaks the allowance, and that
   comes with a chance of at most alpha. Student and score are frozen; the threshold is read off the rows, and may be
   loosened as more of them come.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

import numpy as np

from router.core.arrays import Array
from router.core.certification.certifying_rows import is_kept_by_thinning, said_by_student, weight_of
from router.core.certification.class_gate import spared
from router.core.certification.observations import Columns, Look, total
from router.core.domain.prediction import DeviceStudent
from router.core.domain.record import Record, may_certify
from router.core.domain.task import Kind
from router.core.learning.training_rows import Key, would_stay
from router.core.statistics.e_process import Certificate, log_factors, log_mixture
from router.core.statistics.threshold_planning import LEAST_GAIN, NEVER, Point, Proposal, Situation, plan

Judging = Callable[[str, str, str], bool]  # (what was asked, an answer, the reference's) -> the same?

LAST_GAIN = 0.005  # of all queries: what a last loosening of the release that serves must bring
LEAST_TRIED = 150  # rows before a challenger is given up for what it lost
PRIOR_ROWS = 200  # of the certifying kind that the calibrating rows' word is worth
LEAST_PAIRED = 50  # rows that both met, before their shares are compared on them
BETTER = 1.2816  # standard normal quantile of a one-sided 90 %


class Next(StrEnum):
    """What becomes of a trial."""

    WAIT = "wait"  # more rows are worth their price
    PROMOTE = "promote"  # a threshold is certified that keeps more than what serves
    END = "end"  # no further threshold is worth its rows


@dataclass(slots=True)
class Trial:
    """A challenger that waits for its certificate, and having one, for a looser one.

    Attributes:
        number: Its release.
        allowance: Largest loss, in (0, 1).
        alpha: Chance of a false certificate that this attempt spends, whatever its thresholds.
        rate: Lowest exploration rate whose rows count, in [0, 1]; at 0 no further row is worth anything.
        freeze: Last batch of the log that it may have learned from.
        patience: Most rows that it may look at.
        points: Thresholds that might be proved, strict to loose, as the calibrating rows see them.
        looks: The rows looked at, in the log's order.
        serving: The threshold that serves already, ``NEVER`` while none does.
        first_asked_at: Unix time in seconds of the first row.
        last_asked_at: Unix time in seconds of the last row.
        teacher_version: The reference's, as of the rows looked at; empty before the first.
        missing: Rows that never came, beside the looks: lost at every threshold, and counted, never listed.
        kind: Of its task: labels make classes, texts none.
    """

    number: int
    allowance: float
    alpha: float
    rate: float
    freeze: int
    patience: float
    points: tuple[Point, ...]
    looks: list[Look] = field(default_factory=list)
    serving: float = NEVER
    first_asked_at: float = math.inf
    last_asked_at: float = 0.0
    teacher_version: str = ""
    missing: int = 0
    kind: Kind = Kind.LABEL
    counts: Counter[str] = field(default_factory=Counter)
    looked: set[Key] = field(default_factory=set)
    _known: Columns | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def columns(self) -> Columns:
        """The rows looked at, as arrays."""
        self._known = Columns.of(self.looks, self._known)
        return self._known

    @property
    def rows(self) -> int:
        """How many rows it has looked at, or missed."""
        return len(self.looks) + self.missing

    @property
    def weight(self) -> float:
        """How many rows drawn at its rate those looked at, or missed, are worth."""
        return self.columns.weight + self.missing

    @property
    def has_served(self) -> bool:
        """Whether one of its thresholds serves."""
        return self.serving < NEVER

    def is_overtaken(self, teacher_version: str) -> bool:
        """Whether its rows were answered by another version of the reference than that in force."""
        return bool(self.teacher_version) and self.teacher_version != teacher_version

    def losses(self, threshold: float) -> int:
        """Rows lost at a threshold."""
        return int(self.columns.lost(threshold).sum()) + self.missing

    def kept(self, threshold: float) -> float:
        """Share of the queries kept at a threshold, by the rows that came, in [0, 1]; 0 without any."""
        return self.columns.share(threshold)

    def certified(self) -> float:
        """The loosest threshold that is certified and that no class speaks against, ``NEVER`` where none is."""
        return spared(self.looks, self.loosest(), self.allowance)

    def loosest(self) -> float:
        """The loosest threshold that is certified, whatever its classes say, ``NEVER`` where none is."""
        columns = self.columns
        scores, wrong = columns.scores, columns.wrong
        order = np.argsort(-scores[wrong], kind="stable")
        kept, lost = log_factors(self.allowance, columns.weights)
        worse = np.cumsum((lost - kept)[:, wrong][:, order], axis=1)  # (alternatives, losses): the highest scores first
        terms = kept.sum(axis=1, keepdims=True) + np.concatenate([np.zeros((len(kept), 1)), worse], axis=1)
        terms += self._log_missed(self.allowance)[:, None]
        most = int((log_mixture(terms) >= -math.log(self.alpha)).sum()) - 1  # evidence falls with each loss
        if most < 0:
            return NEVER
        ranked = scores[wrong][order]
        bound = float(ranked[most]) if most < len(ranked) else -math.inf
        return float(np.min(scores[scores > bound], initial=NEVER))

    def outcome(self) -> str:
        """Why it does not serve, in words."""
        if self.loosest() >= NEVER:
            return "no certificate"
        if self.certified() >= NEVER:
            return "certified, and a class loses too much at every threshold"
        return "certified, and keeps no more than the champion"

    def evidence(self, threshold: float, allowance: float | None = None) -> float:
        """Natural logarithm of the bet against a loss of the allowance at a threshold."""
        columns = self.columns
        allowance = self.allowance if allowance is None else allowance
        kept, lost = log_factors(allowance, columns.weights)
        terms = np.where(columns.lost(threshold), lost, kept).sum(axis=1)
        return float(log_mixture(terms + self._log_missed(allowance)))

    def _log_missed(self, allowance: float) -> Array:
        """(alternatives,) what the missing rows add to the logarithm of each bet against a loss of ``allowance``."""
        return np.asarray(self.missing * log_factors(allowance, np.ones(1))[1][:, 0])

    @property
    def least_rows(self) -> int:
        """Rows to look at before it may serve, as many as they are worth of drawn ones, whatever they say."""
        return 0

    def proven(self, threshold: float) -> float:
        """The loss at a threshold, once certified, that the rows speak against, in (0, 1)."""
        del threshold
        return self.allowance

    def certificate(self, attempt: int) -> Certificate:
        """The proof at the loosest certified threshold; ``attempt`` is that of the lineage, from 1."""
        threshold = self.certified()
        return Certificate(
            allowance=self.proven(threshold),
            alpha=self.alpha,
            rows=self.rows,
            losses=self.losses(threshold),
            log_evidence=self.evidence(threshold),
            attempt=attempt,
            first_asked_at=self.first_asked_at,
            last_asked_at=self.last_asked_at,
            teacher_version=self.teacher_version,
            rate=self.rate,
            weight=self.weight,
        )

    def escalation(self, threshold: float, exploration: float) -> float:
        """Share of queries that would leave the device, in [0, 1]: deferred, or kept and explored at this rate."""
        return 1.0 - self.kept(threshold) * (1.0 - exploration)

    def weighed(self, situation: Situation) -> Situation:
        """What its thresholds are weighed against."""
        return situation

    def look(self, rows: Iterable[Record], student: DeviceStudent, judging: Judging) -> list[Record]:
        """Look at rows as far as patience goes; return those that were looked at."""
        seen, worth = [], self.weight
        for row in rows:
            if worth >= self.patience:
                break
            self._look_at(row, student, judging)
            worth += self.looks[-1].weight
            seen.append(row)
        return seen

    def miss(self, missing: int) -> None:
        """Count rows that were drawn and kept and never came, all in all, as lost at every threshold."""
        self.missing = max(self.missing, missing)

    def take_up(self, rows: Iterable[Record], student: DeviceStudent, judging: Judging) -> None:
        """Look again at all that it had looked at before a restart, in any order: patience was counted in another."""
        for row in rows:
            self._look_at(row, student, judging)

    def begun_again(self) -> Self:
        """The same before it has looked at anything; it takes up what of its rows still counts."""
        return replace(
            self,
            looks=[],
            counts=Counter(),
            looked=set(),
            missing=0,
            teacher_version="",
            first_asked_at=math.inf,
            last_asked_at=0.0,
        )

    def _look_at(self, row: Record, student: DeviceStudent, judging: Judging) -> None:
        score, answer = said_by_student(student, row)
        kept = would_stay(row)
        lost = kept and not judging(row.text, row.local_answer or "", row.answer)
        wrong = not judging(row.text, answer, row.answer)
        self.looks.append(Look(score, wrong, row.release, kept, lost, weight_of(row, self.rate), self._label_of(row)))
        self.counts[row.caller] += 1
        self.looked.add(row.key)
        self.teacher_version = self.teacher_version or row.teacher_version
        self.first_asked_at = min(self.first_asked_at, row.asked_at)
        self.last_asked_at = max(self.last_asked_at, row.asked_at)

    def _label_of(self, row: Record) -> str:
        tells = self.kind is Kind.LABEL and may_certify(row) and is_kept_by_thinning(row, self.rate)
        return row.answer if tells else ""

    def next(self, champion: int, situation: Situation) -> Next:
        """What to do, after all rows at hand have been looked at; to be asked again after a promotion.

        Args:
            champion: What serves now, 0 for nothing.
            situation: As for a plan; its rows at hand and its alpha are the trial's own.
        """
        situation = replace(situation, champion_share=self._share_of(champion, situation.champion_share))
        threshold = self.certified()
        more = self.kept(threshold) - situation.champion_share
        is_young = self.weight < LEAST_TRIED and not self.has_served
        waits = self.weight < self.patience and (is_young or self.outlook(situation).is_worth_proving)
        least = LEAST_GAIN * (1.0 - situation.champion_share) if waits or not self.has_served else LAST_GAIN
        if more >= least and self.keeps_more(threshold, champion):
            return Next.PROMOTE
        return Next.WAIT if waits else Next.END

    def _share_of(self, champion: int, known: float) -> float:
        """The champion's local share on the rows that the challenger is seen on, where enough of them met it."""
        columns = self.columns
        met = columns.releases == champion
        if self.has_served or not champion or met.sum() < LEAST_PAIRED:
            return known
        return total(columns.weights[met & columns.kept]) / total(columns.weights[met])

    def outlook(self, situation: Situation) -> Proposal:
        """The threshold that is most worth further rows: by the calibrating rows, and by those looked at."""
        return plan(self._seen(), self.allowance, replace(situation, alpha=self.alpha, rows_at_hand=self.weight))

    def keeps_more(self, threshold: float, champion: int) -> bool:
        """Whether a threshold keeps more than the champion, paired, one-sided at 90 %.

        True where no champion met the rows. A looser threshold of the release that serves keeps more by its nature.
        """
        if self.has_served:
            return threshold < self.serving
        columns = self.columns
        met = columns.releases == champion
        if not champion or not met.any():
            return True
        gains = (columns.scores[met] >= threshold).astype(np.float64) - columns.kept[met]
        return is_above_zero(gains, columns.weights[met])

    def _seen(self) -> tuple[Point, ...]:
        """The points as all rows see them; what the calibrating rows say of each counts as ``PRIOR_ROWS``."""
        columns = self.columns
        scores, weights, wrong, came = columns.scores, columns.weights, columns.wrong, columns.came
        kept, lost = self._at_least(scores[came], weights[came]), self._at_least(scores[wrong], weights[wrong])
        seen, whole = PRIOR_ROWS + columns.weight_came, PRIOR_ROWS + self.weight
        return tuple(
            Point(point.threshold, (point.kept * PRIOR_ROWS + keeps) / seen, (point.loss * PRIOR_ROWS + loses) / whole)
            for point, keeps, loses in zip(self.points, kept, lost + self.missing, strict=True)
        )

    def _at_least(self, scores: Array, weights: Array) -> Array:
        """For each point, the weight of the scores that reach its threshold."""
        order = np.argsort(scores, kind="stable")
        below = np.concatenate([[0.0], np.cumsum(weights[order])])
        thresholds = [point.threshold for point in self.points]
        return np.asarray(below[-1] - below[np.searchsorted(scores[order], thresholds, side="left")])


def is_above_zero(values: Array, weights: Array) -> bool:
    """Whether the mean of differences (rows,), each with its weight, is above 0, one-sided at 90 %."""
    mean = float(np.average(values, weights=weights))
    error = math.sqrt(float((weights**2 * (values - mean) ** 2).sum())) / float(weights.sum())
    return mean > 0 and mean >= BETTER * error
