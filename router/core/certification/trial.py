"""A challenger's trial: what the rows observed say of each threshold, and whether one may serve.

Which rows it may observe, ``certifying_rows`` says.

Rules:
 * A row is observed once, in the log's order, and is never chosen by its outcome.
 * All rows are answers of one version of the reference; another one ends the trial.
 * What a device drew, kept and never sent counts as lost.
 * Each reading must certify: by traffic, each row as it came; by devices, where none gives more than its share, so that
   neither one loud device nor many quiet ones hide a loss; and by new texts, where the repertoire may move on.
 * Rows that repeat what others near them asked are one piece of evidence together; see ``statistics.dependence``.
 * A row counts by the exploration rate at which it was asked, so that the same rows say the same after a restart.
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
from typing import Self

import numpy as np

from router.core.certification.certifying_rows import said_by_student, weight_of
from router.core.certification.class_gate import spared
from router.core.certification.device_shares import fair_positions
from router.core.certification.observations import Columns, Observation, total, weight_above
from router.core.certification.readings import AskedBefore, Readings
from router.core.certification.serving_rule import ByFloor, Next, ServingRule
from router.core.domain.prediction import DeviceStudent
from router.core.domain.record import Record, is_remembered, may_certify
from router.core.domain.task import Kind
from router.core.learning.training_rows import Key, would_stay
from router.core.statistics.dependence import Dependence
from router.core.statistics.e_process import Certificate
from router.core.statistics.intervals import is_above_zero
from router.core.statistics.likeness import likeness
from router.core.statistics.threshold_planning import LEAST_GAIN, NEVER, Point, Proposal, Situation, plan

Judging = Callable[[str, str, str], bool]  # (what was asked, an answer, the reference's) -> the same?

LAST_GAIN = 0.005  # of all queries: what a last loosening of the release that serves must bring
LEAST_TRIED = 150  # rows before a challenger is given up for what it lost
LOST_ANYHOW = math.nextafter(NEVER, 0.0)  # the score of what a device's memory lost: it does so at every threshold
PRIOR_ROWS = 200  # of the certifying kind that the calibrating rows' word is worth
LEAST_PAIRED = 50  # rows that both met, before their shares are compared on them


@dataclass(slots=True)
class Trial:
    """A challenger that waits for its certificate, and having one, for a looser one.

    Attributes:
        number: Its release.
        allowance: Largest loss, in (0, 1).
        alpha: Chance of a false certificate that this attempt spends, whatever its thresholds.
        rate: Lowest exploration rate whose rows count, in [0, 1]; at 0 no further row is worth anything.
        freeze: Last batch of the log that it may have learned from.
        patience: Most rows that it may observe.
        points: Thresholds that might be proved, strict to loose, as the calibrating rows see them.
        observations: The rows observed, in the log's order.
        serving: The threshold that serves already, ``NEVER`` while none does.
        first_asked_at: Unix time in seconds of the first row.
        last_asked_at: Unix time in seconds of the last row.
        teacher_version: The reference's, as of the rows observed; empty before the first.
        missing: Rows that never came, beside the observations: lost at every threshold, and counted, never listed.
        kind: Of its task: labels make classes, texts none.
        earliest: Unix time in seconds: rows asked before it say nothing, being too near to what the challenger learned.
        bound: No threshold below it may serve.
        known: How rows depended on each other before the trial began.
        rule: At which certified threshold it may serve, and when.
        apart: Of the observations, those that the reading by devices does not take yet, in their order.
        counts: Rows of each device that it takes.
        observed: Keys of the rows observed.
        asked: What was asked up to the freeze: it may know that by heart.
        only_asked: It keeps what was asked up to the freeze alone: whatever else escalates.
    """

    number: int
    allowance: float
    alpha: float
    rate: float
    freeze: int
    patience: float
    points: tuple[Point, ...]
    observations: list[Observation] = field(default_factory=list)
    serving: float = NEVER
    first_asked_at: float = math.inf
    last_asked_at: float = 0.0
    teacher_version: str = ""
    missing: int = 0
    kind: Kind = Kind.LABEL
    earliest: float = -math.inf
    bound: float = -math.inf
    known: Dependence = field(default_factory=Dependence)
    rule: ServingRule = field(default_factory=ByFloor)
    apart: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    observed: set[Key] = field(default_factory=set)
    asked: AskedBefore = field(default_factory=AskedBefore)
    only_asked: bool = False
    _columns: Columns | None = field(default=None, init=False, repr=False, compare=False)
    _readings: Readings | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def columns(self) -> Columns:
        """The rows observed, as arrays."""
        self._columns = Columns.of(self.observations, self._columns)
        return self._columns

    @property
    def readings(self) -> Readings:
        """What the rows say, by each reading."""
        self._readings = Readings.of(self.columns, self.apart, self.known, self.missing, self._readings, self.asked)
        return self._readings

    @property
    def piece(self) -> float:
        """Rows that come for each that is independent of the others, >= 1."""
        piece = self.readings.dependence.piece
        return piece if self.asked.stays else max(piece, self.asked.piece)

    @property
    def distinct(self) -> int:
        """How many different texts it has observed."""
        return len(np.unique(self.columns.alike[0]))

    @property
    def after(self) -> int:
        """Batch of the log after which all its rows came; else -1.

        A fallback release proves itself anew, and where what was asked before is kept alone, earlier rows all were.
        """
        return self.freeze if self.bound > -math.inf or self.only_asked else -1

    @property
    def rows(self) -> int:
        """How many rows it has observed, or missed."""
        return len(self.observations) + self.missing

    @property
    def weight(self) -> float:
        """How many independent drawn rows those observed, or missed, are worth, in the weakest reading."""
        return self.readings.weight

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
        return spared(self.observations, self.loosest(), self.allowance)

    def loosest(self) -> float:
        """The loosest certified threshold that may serve, whatever its classes say, ``NEVER`` where none is."""
        certified = max(self.readings.loosest(self.allowance, self.alpha), self.bound)  # a stricter one loses no more
        return self.rule.loosest(self, certified)

    def outcome(self) -> str:
        """Why it does not serve, in words."""
        if self.loosest() >= NEVER:
            return "no certificate"
        if self.certified() >= NEVER:
            return "certified, and a class loses too much at every threshold"
        return "certified, and keeps no more than the champion"

    def evidence(self, threshold: float, allowance: float | None = None) -> float:
        """Natural logarithm of the bet against a loss of the allowance at a threshold."""
        return self.readings.at(threshold, self.allowance if allowance is None else allowance)

    def certificate(self, attempt: int) -> Certificate:
        """The proof at the loosest certified threshold; ``attempt`` is that of the lineage, from 1."""
        threshold = self.certified()
        return Certificate(
            allowance=self.rule.proven(self, threshold),
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
            distinct=self.distinct,
        )

    def escalation(self, threshold: float, exploration: float) -> float:
        """Share of queries that would leave the device, in [0, 1]: deferred, or kept and explored at this rate."""
        return 1.0 - self.kept(threshold) * (1.0 - exploration)

    def observe(
        self, rows: Iterable[Record], student: DeviceStudent, judging: Judging, heard: frozenset[str] = frozenset()
    ) -> list[Record]:
        """Observe rows as far as patience goes; return those that were observed.

        Args:
            rows: In the log's order.
            student: The challenger.
            judging: Its judge.
            heard: The devices heard of lately: what each of them may give goes by how many they are.
        """
        seen, worth, piece = [], self.weight, self.piece
        for row in rows:
            if worth >= self.patience:
                break
            self._observe(row, student, judging)
            worth += self.observations[-1].weight / piece
            seen.append(row)
        self.share(heard)
        return seen

    def share(self, heard: frozenset[str]) -> None:
        """Let the reading by devices take what brings no device ahead of its share, of the devices heard of lately."""
        taken = set(fair_positions([self.observations[row].caller for row in self.apart], self.counts, heard))
        self.counts.update(self.observations[self.apart[position]].caller for position in taken)
        self.apart = [row for position, row in enumerate(self.apart) if position not in taken]

    def miss(self, missing: int) -> None:
        """Count rows that were drawn and kept and never came, all in all, as lost at every threshold."""
        self.missing = max(self.missing, missing)

    def take_up(self, rows: Iterable[Record], student: DeviceStudent, judging: Judging) -> None:
        """Look again at all that it had observed before a restart, in any order: patience was counted in another."""
        for row in rows:
            self._observe(row, student, judging)
        self.share(frozenset())

    def begun_again(self) -> Self:
        """The same before it has observed anything; it takes up what of its rows still counts."""
        return replace(
            self,
            observations=[],
            apart=[],
            counts=Counter(),
            observed=set(),
            missing=0,
            teacher_version="",
            first_asked_at=math.inf,
            last_asked_at=0.0,
        )

    def _observe(self, row: Record, student: DeviceStudent, judging: Judging) -> None:
        score, answer = said_by_student(student, row)
        kept = would_stay(row)
        differs = not judging(row.text, row.local_answer or "", row.answer)
        lost = kept and differs
        wrong = not judging(row.text, answer, row.answer)
        if differs and is_remembered(row):
            score, wrong = LOST_ANYHOW, True
        self.apart.append(len(self.observations))
        self.observations.append(
            Observation(
                score=score,
                wrong=wrong,
                release=row.release,
                kept=kept,
                lost=lost,
                weight=weight_of(row),
                label=self._label_of(row),
                caller=row.caller,
                alike=likeness(row.text, row.answer if self.kind is Kind.LABEL else "", row.conversation),
            )
        )
        self.observed.add(row.key)
        self.teacher_version = self.teacher_version or row.teacher_version
        self.first_asked_at = min(self.first_asked_at, row.asked_at)
        self.last_asked_at = max(self.last_asked_at, row.asked_at)

    def _label_of(self, row: Record) -> str:
        return row.answer if self.kind is Kind.LABEL and may_certify(row) else ""

    def next(self, champion: int, situation: Situation) -> Next:
        """What to do, after all rows at hand have been observed; to be asked again after a promotion.

        Args:
            champion: What serves now, 0 for nothing.
            situation: As for a plan; its rows at hand and its alpha are the trial's own.
        """
        met = None if self.has_served or not champion else self.columns.share_met(champion, LEAST_PAIRED)
        situation = situation if met is None else replace(situation, champion_share=met)
        threshold = self.certified()
        decided = self.rule.decide(self, threshold, champion)
        if decided is not None:
            return decided
        more = self.kept(threshold) - situation.champion_share
        is_young = self.weight < LEAST_TRIED and not self.has_served
        waits = self.weight < self.patience and (is_young or self.outlook(situation).is_worth_proving)
        least = LEAST_GAIN * (1.0 - situation.champion_share) if waits or not self.has_served else LAST_GAIN
        if more >= least and self.keeps_more(threshold, champion):
            return Next.PROMOTE
        return Next.WAIT if waits else Next.END

    def outlook(self, situation: Situation) -> Proposal:
        """The threshold that is most worth further rows: by the calibrating rows, and by those observed."""
        known = replace(situation, alpha=self.alpha, rows_at_hand=self.weight, piece=self.piece)
        return plan(self._seen(), self.allowance, self.rule.weighed(known, has_served=self.has_served))

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
        seen_by = self.readings.new  # all of them where the repertoire stays
        scores, weights, wrong = seen_by.scores, seen_by.stakes, seen_by.wrong
        came = scores < NEVER
        limits = [point.threshold for point in self.points]
        kept, lost = (weight_above(scores[rows], weights[rows], limits) for rows in (came, wrong))
        seen, whole = PRIOR_ROWS + total(weights[came]), PRIOR_ROWS + seen_by.weight
        return tuple(
            Point(point.threshold, (point.kept * PRIOR_ROWS + keeps) / seen, (point.loss * PRIOR_ROWS + loses) / whole)
            for point, keeps, loses in zip(self.points, kept, lost + self.missing, strict=True)
        )
