"""Which rows may certify a challenger, what they say of it, and whether it may serve.

Rules:
 * A row is looked at once, in the log's order, and is never chosen by its outcome.
 * No device gives more than 5 % of the rows, or its fair share in a small fleet.
 * Rows drawn at a higher rate are thinned to the rate in force while the challenger waits; lower ones stay out.
 * A challenger serves when it is certified and keeps more at home than the champion on the same rows.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from router.distillation import Record, is_set_aside, may_certify, unit_interval
from router.judgement import DeviceStudent
from router.lessons import Key, query_of
from router.watch import CertifyingBet, expected_rows

Judging = Callable[[str, str, str], bool]  # (what was asked, an answer, the reference's) -> the same?

DEVICE_SHARE = 0.05
LEAST_TRIED = 150  # rows before a challenger is given up for what it lost
SLACK_ROWS = 5  # by which a device may be ahead of its share
LEAST_MET = 200  # rows that tell a champion's share better than its proposal did
BETTER = 1.2816  # standard normal quantile of a one-sided 90 %


@dataclass(slots=True)
class Trial:
    """A challenger that waits for its certificate.

    Attributes:
        number: Its release.
        threshold: Least score kept.
        alpha: Chance of a false certificate that this attempt spends.
        rate: Lowest exploration rate whose rows count, in (0, 1].
        freeze: Last batch of the log that it may have learned from.
        patience: Most rows that it may look at.
        bet: The evidence.
        differences: Of each row that the champion met too: kept by the challenger less kept by the champion.
        first_asked_at: Unix time in seconds of the first row.
        last_asked_at: Unix time in seconds of the last row.
    """

    number: int
    threshold: float
    alpha: float
    rate: float
    freeze: int
    patience: float
    bet: CertifyingBet
    differences: list[int] = field(default_factory=list)
    first_asked_at: float = math.inf
    last_asked_at: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    looked: set[Key] = field(default_factory=set)

    @property
    def is_certified(self) -> bool:
        """Whether the evidence suffices."""
        return self.bet.log_evidence >= -math.log(self.alpha)

    @property
    def is_hopeless(self) -> bool:
        """Whether it has looked at more rows than it may, or would have to even if it had been unlucky so far."""
        if self.is_certified:
            return False
        rows, losses = self.bet.rows, self.bet.losses
        if rows < LEAST_TRIED:
            return rows >= self.patience
        lucky = max(0.0, losses - math.sqrt(losses)) / rows  # a standard deviation below what was seen
        return rows >= self.patience or expected_rows(self.bet.allowance, self.alpha, lucky) > 2 * self.patience

    def keeps_more(self) -> bool:
        """Whether it keeps more than the champion, paired, one-sided at 90 %; true where no champion met the rows."""
        count = len(self.differences)
        if not count:
            return True
        mean = sum(self.differences) / count
        variance = sum((difference - mean) ** 2 for difference in self.differences) / count
        return mean > 0 and mean >= BETTER * math.sqrt(variance / count)

    def look(self, rows: Iterable[Record], student: DeviceStudent, judging: Judging, champion: int) -> list[Record]:
        """Look at rows until the evidence suffices; return those that were looked at."""
        seen = []
        for row in rows:
            if self.is_certified or self.is_hopeless:
                break
            self._look_at(row, student, judging, champion)
            seen.append(row)
        return seen

    def _look_at(self, row: Record, student: DeviceStudent, judging: Judging, champion: int) -> None:
        judged = student.judge(query_of(row))
        keeps = judged.score is not None and judged.score >= self.threshold
        self.bet.update(keeps and not judging(row.text, judged.answer, row.answer))
        if champion and row.release == champion:
            self.differences.append(int(keeps) - int(row.kept))
        self.counts[row.caller] += 1
        self.looked.add(row.key)
        self.first_asked_at = min(self.first_asked_at, row.asked_at)
        self.last_asked_at = max(self.last_asked_at, row.asked_at)


def certifying(rows: Sequence[tuple[int, Record]], trial: Trial, spent: set[Key]) -> list[Record]:
    """The rows that a trial may look at next, in their order.

    Args:
        rows: Pairs of batch and current record, in the log's order.
        trial: The challenger's.
        spent: Keys that a certificate has looked at.
    """
    return _shared_fairly([row for batch, row in rows if _may_certify(batch, row, trial, spent)], trial)


def _may_certify(batch: int, row: Record, trial: Trial, spent: set[Key]) -> bool:
    if not may_certify(row) or row.key in spent or row.key in trial.looked or row.exploration < trial.rate - 1e-9:
        return False
    if batch <= trial.freeze and not is_set_aside(row.caller, row.query_id):
        return False
    return unit_interval("thin", row.caller, row.query_id) < trial.rate / row.exploration


def _shared_fairly(rows: Sequence[Record], trial: Trial) -> list[Record]:
    queues: dict[str, deque[Record]] = {}
    for row in rows:
        queues.setdefault(row.caller, deque()).append(row)
    counts = Counter(trial.counts)
    devices = len(set(queues) | set(counts))
    share = max(DEVICE_SHARE, 1.0 / devices) if devices else 1.0
    chosen: list[Record] = []
    while queues:
        caller = min(queues, key=lambda name: (counts[name], name))
        if counts[caller] >= share * sum(counts.values()) + SLACK_ROWS:
            break
        chosen.append(queues[caller].popleft())
        counts[caller] += 1
        if not queues[caller]:
            del queues[caller]
    return chosen


def champion_share(rows: Sequence[Record], champion: int, expected: float) -> float:
    """Share of covered queries that the champion keeps, by propensity, in [0, 1]; 0 without a student.

    Args:
        rows: Current ones.
        champion: Its release, 0 for none.
        expected: What it was expected to keep, believed until it has met ``LEAST_MET`` rows.
    """
    if not champion:
        return 0.0
    met = [row for row in rows if row.release == champion and row.covered and not row.degraded]
    if len(met) < LEAST_MET:
        return expected
    weights = [1.0 / max(row.propensity, 1e-3) for row in met]
    return sum(weight for weight, row in zip(weights, met, strict=True) if row.kept) / sum(weights)
