"""Keeps the pool's policy of one task: fits it, proves it, watches it, withdraws it.

    none ──enough rows──▶ fitted ──worth proving──▶ waiting ──certified──▶ serving ──breaks its promise──▶ withdrawn
                                                       └──hopeless──▶ rejected

Rules:
 * A policy is fitted on rows before its freeze and certified on later ones: no row does both, and none certifies twice.
 * Its loss counts over all covered queries as if every one of them had left its device. So it holds whatever release
   the devices serve, and neither needs the other's proof; the queries that stay there are those it seldom loses on.
 * Its allowance and assurance are its share of the task's; the devices have the rest.
 * It waits for the rows that are explored anyway: nothing more is explored for its sake.
 * After a restart the same rows say the same.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

import numpy as np
from sqlalchemy import Engine

from cloud_worker.pool.policies import PolicyState, PoolFigures, Proved, StoredPolicy
from cloud_worker.pool.policy_store import PoolPolicies
from cloud_worker.refresh.pool.policy_fit import PRICES, Path, Seen, fit_path
from router.core.arrays import Array, Bools, Ints
from router.core.certification.certifying_rows import is_kept_by_thinning
from router.core.certification.device_shares import heard_lately, shared_fairly
from router.core.certification.fleet_watch import FleetWatch
from router.core.certification.refresh_schedule import PATIENCE, PATIENCE_ROWS, Pace
from router.core.certification.trial import LEAST_TRIED, Judging
from router.core.domain.record import Record, may_certify
from router.core.domain.task import Task
from router.core.learning.training_rows import Key, would_stay
from router.core.policy.pool_routing import PoolPolicy, said_by
from router.core.statistics.e_process import attempt_alpha, is_certified, most_losses
from router.core.statistics.threshold_planning import Point, Situation, cautious_loss, plan

log = logging.getLogger(__name__)

LEAST_ROWS = 300  # explored rows that start the first fit
MOST_ROWS = 5000  # latest ones that a fit looks at


@dataclass(frozen=True, slots=True)
class _Row:
    """An explored row on which every cheaper teacher was asked."""

    batch: int
    record: Record
    agrees: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class _Walked:
    """What a policy does with rows: each array is (rows,)."""

    stood: Bools
    lost: Bools
    spent: Array


class PoolPolicyLoop:
    """The loop that fits, proves and watches the policy of one task's pool."""

    def __init__(self, task: Task, judging: Judging, policies: PoolPolicies, pace: Pace) -> None:
        """Keep the policies of ``task``, whose answers ``judging`` compares, in ``policies``."""
        self._task = task
        self._judging = judging
        self._policies = policies
        self._pace = pace
        self._rows: list[_Row] = []
        self._version = ""
        self._fitted_rows = 0
        self._watched: tuple[int, int, FleetWatch] | None = None
        self._known: dict[int, dict[Key, tuple[bool, bool, float]]] = {}  # by policy and row: stood, lost, spent

    @classmethod
    def kept_in(cls, engine: Engine, folder: FilePath, task: Task, judging: Judging, pace: Pace) -> PoolPolicyLoop:
        """Keep them in the store behind ``engine``, and their attempts beside the releases in ``folder`` too."""
        return cls(task, judging, PoolPolicies.with_attempts(engine, folder), pace)

    def observe(self, rate: float, held: bool) -> None:
        """Do what follows from the rows taken in.

        Args:
            rate: Exploration rate in force, in [0, 1].
            held: Nothing is to be fitted or to begin to serve now.
        """
        if not self._task.cheaper.teachers:
            return
        known = self._policies.of(self._task)
        serving = _last(known, PolicyState.SERVING)
        if serving is not None and (serving.why_fallen(self._task) or self._breaks(serving)):
            serving = (
                None  # what a stricter objective rules out is only left out: it stands again when that is taken back
            )
        waiting = _last(known, PolicyState.WAITING)
        live = {stored.number for stored in (serving, waiting) if stored is not None}
        self._known = {number: said for number, said in self._known.items() if number in live}
        if waiting is not None and not held:
            self._try(waiting, serving, rate)
        elif not held and rate > 0 and self._is_due(known):
            self._fit(serving, rate)

    def begin_again(self) -> None:
        """Look anew from the log's first row on: some rows count no longer."""
        self._rows, self._known, self._watched = [], {}, None

    def take(self, rows: Sequence[tuple[int, Record]]) -> None:
        """Keep those of the next rows that speak of cheaper teachers; another version of the reference forgets the old.

        Args:
            rows: Pairs of batch and record, of the task, in the log's order.
        """
        if not self._task.cheaper.teachers:
            return
        for batch, record in rows:
            if not (may_certify(record) and self._is_mine(record)):
                continue
            if record.teacher_version != self._version:
                self._version, self._rows = record.teacher_version, []
            agrees = [not one.failed and self._judging(record.text, one.answer, record.answer) for one in record.tried]
            self._rows.append(_Row(batch, record, tuple(agrees)))

    def _is_mine(self, record: Record) -> bool:
        current = record.task_version == self._task.version and record.teacher == self._task.reference
        return current and tuple(one.teacher for one in record.tried) == self._task.cheaper.teachers

    def _breaks(self, serving: StoredPolicy) -> bool:
        """Watch what serves; withdraw it where it may not go on."""
        if self._version and serving.reference_version != self._version:
            self._withdraw(serving, "the reference has another version")
            return True
        if self._watched is None or self._watched[0] != serving.number:
            part = self._task.at_pool
            self._watched = (serving.number, 0, FleetWatch(part.max_disagreement, 1.0 - part.assurance))
        number, done, watch = self._watched
        since = [row for row in self._rows if row.batch > serving.served_after]
        walked = self._walk(serving, since)
        for row, lost in zip(since[done:], walked.lost[done:], strict=True):
            watch.meet(row.record.caller, row.record.received_at)
            watch.update(row.record.caller, bool(lost))
        self._watched = (number, len(since), watch)
        seen = watch.freeze()
        if seen.alarmed:
            self._withdraw(serving, f"it broke its promise: {seen.losses} of {seen.rows} explored rows lost")
            return True
        self._policies.tell(serving, self._figures(since, walked))
        return False

    def _withdraw(self, serving: StoredPolicy, why: str) -> None:
        log.warning("task %s: policy %d of the pool is withdrawn: %s", self._task.name, serving.number, why)
        self._policies.change(serving, PolicyState.WITHDRAWN, why)

    def _is_due(self, known: Sequence[StoredPolicy]) -> bool:
        fitted = [stored.rows for stored in known if stored.reference_version == self._version]
        last = max([self._fitted_rows, *fitted[-1:]])
        return len(self._rows) >= max(LEAST_ROWS, self._pace.growth * last)

    def _fit(self, serving: StoredPolicy | None, rate: float) -> None:
        """Fit a path on what was seen last, and let the policy that is most worth a certificate wait for it."""
        self._fitted_rows = len(self._rows)
        rows = self._rows[-MOST_ROWS:]
        path = fit_path(self._seen_of(rows), self._task.cheaper.way)
        number = self._policies.next_number(self._task)
        found = self._choose(path, rows, serving, attempt_alpha(self._task.at_pool.assurance, number), rate)
        if found is None:
            log.info("task %s: no policy of the pool is worth a certificate yet", self._task.name)
            return
        policy, expected_rows = found
        stored = StoredPolicy(
            task=self._task.name,
            version=self._task.version,
            number=number,
            reference_version=self._version,
            state=PolicyState.WAITING,
            policy=policy,
            words=path.words,
            rate=rate,
            patience=int(min(PATIENCE * expected_rows + PATIENCE_ROWS, self._pace.patience_rows)),
            rows=len(self._rows),
            freeze=self._rows[-1].batch,
            served_after=-1,
            created_at=time.time(),
        )
        self._policies.add(stored)

    def _choose(
        self, path: Path, rows: Sequence[_Row], serving: StoredPolicy | None, alpha: float, rate: float
    ) -> tuple[PoolPolicy, float] | None:
        """The policy of a path that is most worth a certificate, and the rows that this one should take."""
        seen, leaves = self._seen_of(rows), _leaving(rows)
        points = []
        for price, policy in zip(PRICES, path.policies, strict=True):
            walked = _walked(policy, path.odds, seen.log_confidence, seen.answers, seen.agrees)
            loss = cautious_loss(float(walked.lost.mean()), len(rows))
            points.append(Point(1.0 - price, _saved(walked.spent, leaves), loss))
        now = 0.0 if serving is None else max(_saved(self._walk(serving, rows).spent, leaves), 0.0)
        situation = Situation(alpha, 0, len(rows) / rate, rate=rate, floor=rate, champion_share=now)
        chosen = plan(points, self._task.at_pool.max_disagreement, situation)
        policies = {point.threshold: policy for point, policy in zip(points, path.policies, strict=True)}
        return (policies[chosen.threshold], chosen.expected_rows) if chosen.is_worth_proving else None

    def _try(self, waiting: StoredPolicy, serving: StoredPolicy | None, rate: float) -> None:
        """Observe the rows since the freeze: certified, hopeless, or neither yet."""
        part = self._task.at_pool
        rows = self._certifying(waiting)
        walked = self._walk(waiting, rows)
        lost, alpha = int(walked.lost.sum()), attempt_alpha(part.assurance, waiting.number)
        self._policies.tell(waiting, self._figures(rows, walked))
        if self._version != waiting.reference_version:
            self._policies.change(waiting, PolicyState.REJECTED, "the reference has another version")
        elif is_certified(part.max_disagreement, alpha, len(rows), lost):
            self._serve(waiting, serving, rows, walked)
        elif len(rows) >= waiting.patience or rate < waiting.rate:
            why = "its patience is over" if len(rows) >= waiting.patience else "the exploration rate has fallen"
            self._policies.change(waiting, PolicyState.REJECTED, f"{why}: {len(rows)} rows, {lost} lost")
        elif len(rows) >= LEAST_TRIED and lost > most_losses(part.max_disagreement, alpha, waiting.patience):
            self._policies.change(waiting, PolicyState.REJECTED, f"it loses too much: {lost} of {len(rows)} rows")

    def _serve(
        self, waiting: StoredPolicy, serving: StoredPolicy | None, rows: Sequence[_Row], walked: _Walked
    ) -> None:
        """Let a certified policy serve, if it saves more than the one before on the same rows."""
        if serving is not None and walked.spent.mean() >= self._walk(serving, rows).spent.mean():
            self._policies.change(
                waiting, PolicyState.REJECTED, "certified, and saves no more than the one that serves"
            )
            return
        note = f"certified on {len(rows)} rows, {int(walked.lost.sum())} lost"
        log.info("task %s: policy %d of the pool is %s", self._task.name, waiting.number, note)
        proved = replace(waiting, proved=Proved.of(self._task, waiting.number))
        self._policies.change(proved, PolicyState.SERVING, note, served_after=self._rows[-1].batch)

    def _certifying(self, waiting: StoredPolicy) -> list[_Row]:
        """The rows that may certify a policy, as far as its patience goes."""
        after = {row.record.key: row for row in self._rows if row.batch > waiting.freeze}
        drawn = [row.record for row in after.values() if is_kept_by_thinning(row.record, waiting.rate)]
        shared = shared_fairly(drawn, Counter(), heard_lately(reversed(drawn)))
        return [after[record.key] for record in shared][: waiting.patience]

    def _walk(self, stored: StoredPolicy, rows: Sequence[_Row]) -> _Walked:
        """What a stored policy does with rows; a row is observed once."""
        known = self._known.setdefault(stored.number, {})
        new = [row for row in rows if row.record.key not in known]
        if new:
            walked = self._walk_new(stored, new)
            for row, stood, lost, spent in zip(new, walked.stood, walked.lost, walked.spent, strict=True):
                known[row.record.key] = (bool(stood), bool(lost), float(spent))
        said = np.array([known[row.record.key] for row in rows]).reshape(len(rows), 3)
        return _Walked(said[:, 0] > 0, said[:, 1] > 0, said[:, 2])

    def _walk_new(self, stored: StoredPolicy, rows: Sequence[_Row]) -> _Walked:
        seen = self._seen_of(rows)
        odds = np.stack([head.odds(seen.texts) for head in stored.words], axis=1)
        answers = np.array([said_by(row.record.tried, stored.policy)[1] for row in rows], np.bool_)
        return _walked(stored.policy, odds, seen.log_confidence, answers, seen.agrees)

    def _seen_of(self, rows: Sequence[_Row]) -> Seen:
        teachers = self._task.cheaper.teachers
        tried = [row.record.tried for row in rows]
        shape = (len(rows), len(teachers))
        unsaid = [[np.nan if one.log_confidence is None else one.log_confidence for one in many] for many in tried]
        return Seen(
            texts=tuple(row.record.text for row in rows),
            teachers=teachers,
            versions=tuple(_newest(tried, position) for position in range(len(teachers))),
            log_confidence=np.array(unsaid, np.float64).reshape(shape),
            answers=np.array([[not one.failed for one in many] for many in tried], np.bool_).reshape(shape),
            agrees=np.array([row.agrees for row in rows], np.bool_).reshape(shape),
            costs=_costs(rows, len(teachers)),
        )

    def _figures(self, rows: Sequence[_Row], walked: _Walked) -> PoolFigures:
        leaves = _leaving(rows)
        stood = float(walked.stood[leaves].mean()) if leaves.any() else 0.0
        return PoolFigures(len(rows), int(walked.lost.sum()), stood, _saved(walked.spent, leaves))


def _walked(policy: PoolPolicy, odds: Array, log_confidence: Array, answers: Bools, agrees: Bools) -> _Walked:
    ends, spent = policy.walk(odds, log_confidence, answers)
    stood = ends < len(policy.tiers)
    return _Walked(stood, stood & ~_at(agrees, ends), spent)


def _at(agrees: Bools, ends: Ints) -> Bools:
    """Whether the answer that a row ends with agrees; the reference's does."""
    whole = np.concatenate([agrees, np.ones((len(agrees), 1), np.bool_)], axis=1)
    return np.asarray(whole[np.arange(len(whole)), ends])


def _leaving(rows: Sequence[_Row]) -> Bools:
    """Whether each row leaves its device."""
    return np.array([not would_stay(row.record) for row in rows], np.bool_)


def _saved(spent: Array, leaves: Bools) -> float:
    """Share of the reference's cost that is saved of what leaves the devices."""
    return float(1.0 - spent[leaves].mean()) if leaves.any() else 0.0


def _costs(rows: Sequence[_Row], teachers: int) -> Array:
    """(teachers,) of one answer, in answers of the reference: by price where it has one, else by time."""
    if not rows:
        return np.zeros(teachers)
    usd = np.array([[row.record.usd, *(one.usd for one in row.record.tried)] for row in rows]).mean(axis=0)
    spent = np.array([[row.record.milliseconds, *(one.milliseconds for one in row.record.tried)] for row in rows])
    means = usd if usd[0] > 0 else spent.mean(axis=0)
    return np.asarray(means[1:] / means[0] if means[0] > 0 else np.zeros(teachers))


def _newest(tried: Sequence[Sequence[object]], position: int) -> str:
    versions = [str(getattr(many[position], "version", "")) for many in tried]
    return next((version for version in reversed(versions) if version), "")


def _last(known: Sequence[StoredPolicy], state: PolicyState) -> StoredPolicy | None:
    return next((stored for stored in reversed(known) if stored.state is state), None)
