"""A log replayed through the loop: cold start, exploration, refreshes, certificates, watch; all in memory.

What decides is the loop's own code: the draw, the decision, lessons, calibration, proposal, trial and watch. Here is
only what stands between them on a real fleet: devices that ask, a log that grows, a store that remembers.

Rules:
 * A query is answered before anything is learned from it. What escalates or is explored comes to the log, nothing else.
 * Every ``STRIDE`` queries the log is looked at, and what follows from it takes no time.
 * Everything that is drawn follows from the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from router.backtest.history import Event, Life, Released, Served
from router.backtest.logs.reader import Asked
from router.backtest.release_state import Release, Standing
from router.backtest.student import Fitter, ReplayedStudent
from router.core.certification.certifying_rows import certifying
from router.core.certification.live_watch import Lookout
from router.core.certification.refresh_schedule import (
    Pace,
    begin_trial,
    exploration_at_rest,
    patience_of,
    rate_once_served,
    situation_of,
    waiting_share,
)
from router.core.certification.trial import Next, Trial
from router.core.domain.prediction import score_of
from router.core.domain.query import Query
from router.core.domain.record import Record, Source
from router.core.domain.task import Mode, Task, agree
from router.core.learning.training_rows import Key, teachable, weights_of
from router.core.policy.deferral import Action, Policy, decide
from router.core.policy.exploration import SEED_BYTES, is_explored
from router.core.statistics.threshold_planning import NEVER, Situation, prospect

STRIDE = 100
READ_AHEAD = 500

Progress = Callable[[int], None]


class Replay:
    """One life of one task on a log."""

    def __init__(self, rows: Sequence[Asked], labels: Sequence[str], task: Task, fitter: Fitter, pace: Pace) -> None:
        """Start with nothing known.

        Args:
            rows: The queries, in the order of asking.
            labels: The large model's answer to each, equal where the judge calls two the same.
            task: The objective, the judge, and how much is explored.
            fitter: Makes students.
            pace: How often.
        """
        self._asked = rows
        self._labels = labels
        self._task = task
        self._fitter = fitter
        self._pace = pace
        self._standing = Standing(task.exploration.cold)
        self._log: list[tuple[int, Record]] = []
        self._records: list[Record] = []
        self._spent: set[Key] = set()
        self._trial: Trial | None = None
        self._challenger: ReplayedStudent | None = None
        self._lookout: Lookout | None = None
        self._life = Life()
        self._taught = 0  # rows that the challenger has learned from
        self._seed = 0

    def run(self, devices: int = 1, seed: int = 0, progress: Progress = lambda done: None) -> Life:
        """Live: ask every query of one of ``devices`` in turn, with draws by ``seed``.

        Raises:
            ModelError: A student failed.
        """
        self._seed = seed
        fleet = [(f"device-{number}", device_seed(seed, number)) for number in range(1, devices + 1)]
        for start in range(0, len(self._asked), STRIDE):
            stride = range(start, min(start + STRIDE, len(self._asked)))
            self._ahead(stride)
            for place in stride:
                self._answer(place, *fleet[place % devices])
            self._consider(stride.stop)
            progress(stride.stop)
        return self._life

    def _ahead(self, stride: range) -> None:
        """Let the student read some texts together; it learns nothing from that."""
        release = self._standing.release
        if release is not None and stride.start % READ_AHEAD == 0:
            release.student.prepare([asked.text for asked in self._asked[stride.start : stride.start + READ_AHEAD]])

    def _answer(self, place: int, caller: str, seed: bytes) -> None:
        """One query at its device: draw, judge, decide; and what the log gets of it."""
        standing, asked = self._standing, self._asked[place]
        query = Query(query_id(self._seed, place), self._task.name, asked.text)
        explored = is_explored(seed, query.id, standing.exploration)
        release = standing.release
        judged = release.student.judge(query) if release else None
        decision = decide(
            Policy(release.threshold if release else NEVER),
            score_of(judged),
            mode=Mode.ESCALATE_ALL if standing.alarmed else Mode.SERVE,
            cut=judged is not None and judged.cut,
        )
        kept = decision.action is Action.KEEP
        reference = self._labels[place]
        answer = judged.answer if judged and kept else reference
        self._life.served.append(
            Served(
                place=place,
                local=kept,
                cloud=explored or not kept,
                explored=explored,
                agrees=self._agree(asked.text, answer, reference),
                right=None if asked.label is None else self._agree(asked.text, answer, asked.label),
                release=release.number if release else 0,
            )
        )
        if kept and not explored:
            return
        record = Record(
            caller=caller,
            query_id=query.id,
            teacher=self._task.reference,
            teacher_version="log",
            task=self._task.name,
            task_version=self._task.version,
            asked_at=asked.asked_at,
            received_at=asked.asked_at,
            text=asked.text,
            answer=reference,
            source=Source.TAUGHT if kept else Source.ESCALATED,
            release=release.number if release else 0,
            local_answer=judged.answer if judged else None,
            local_score=judged.score if judged else None,
            kept=kept,
            explored=explored,
            propensity=standing.exploration if kept else 1.0,
            exploration=standing.exploration,
            threshold=release.threshold if release else None,
        )
        self._log.append((place // STRIDE, record))
        self._records.append(record)

    def _agree(self, asked: str, answer: str, reference: str) -> bool:
        return answer == reference or agree(self._task.judge, answer, reference)

    def _consider(self, queries: int) -> None:
        """Look at what is new in the log."""
        self._watch(queries)
        if self._trial is not None:
            self._try(queries)
        free = self._trial is None or self._trial.has_served
        standing = self._standing
        if free and self._pace.is_due(len(self._log), standing.rows_at_refresh):
            taught = teachable(self._records, self._spent)
            if self._pace.is_due(len(taught), standing.rows_at_refresh):
                self._close(queries)
                self._refresh(queries, taught)

    def _watch(self, queries: int) -> None:
        """Look at what the release in force kept; when that breaks the promise, it gives way."""
        standing = self._standing
        release = standing.release
        if release is None or standing.alarmed:
            return
        if self._lookout is None or self._lookout.release != release.number:
            self._lookout = Lookout.over(release.number, self._task, self._agree, standing.same_as(release))
        if self._lookout.look(self._records):
            release.alarmed = standing.alarmed = True
            standing.rows_at_refresh = 0
            self._life.alarms += 1
            self._tell(queries, f"release {release.number} breaks its promise: everything escalates")
            if self._trial is not None and self._trial.has_served:
                self._trial = self._challenger = None
            self._give_way(queries)

    def _give_way(self, queries: int) -> None:
        """To a former release whose proof stands, else to the large model."""
        standing = self._standing
        former = standing.successor(self._records, self._task, self._agree)
        if former is None:
            standing.exploration = self._task.exploration.cold
            return
        standing.last_release += 1
        self._serve(queries, replace(former, number=standing.last_release))
        resting = exploration_at_rest(self._task, standing.champion)
        standing.exploration = self._trial.rate if self._trial else resting
        self._tell(queries, f"release {former.number} serves again, as release {standing.last_release}")

    def _refresh(self, queries: int, taught: Sequence[Record]) -> None:
        standing = self._standing
        standing.rows_at_refresh = self._pace.in_vain(len(taught))
        fit = self._fitter.fit(taught)
        if fit is None or not fit.rows:
            self._tell(queries, "too few rows of any two labels for a student")
            return
        answers = zip(fit.measures.answers, fit.rows, strict=True)
        agrees = np.array([self._agree(row.text, answer, row.answer) for answer, row in answers])
        weights = weights_of(fit.rows)
        calibrated = fit.measures.calibrate(agrees, weights)
        assert calibrated.label is not None
        points = prospect(calibrated.scores, agrees, weights, self._task.objective.max_disagreement)
        rate = waiting_share(self._task, self._records, self._standing.champion)[1]
        number, attempt = standing.last_release + 1, standing.attempt + 1
        trial = begin_trial(self._task, number, attempt, points, rate=rate, freeze=self._log[-1][0])
        trial.patience = patience_of(self._log, self._spent, trial, self._situation(trial), self._pace)
        right = float(np.average(agrees, weights=weights))
        said = f"a student of {len(fit.labels)} labels from {len(taught):,} rows agrees on {right:.1%}"
        if not trial.patience:
            self._tell(queries, f"{said}: no threshold is worth a certificate yet")
            return
        self._tell(queries, f"{said}: release {number} waits for its certificate")
        standing.last_release, standing.attempt, standing.exploration = number, attempt, rate
        self._taught = len(taught)
        self._trial, self._challenger = trial, ReplayedStudent(fit.labels, fit.reader, calibrated.label)
        self._try(queries)

    def _try(self, queries: int) -> None:
        trial, student = self._trial, self._challenger
        assert trial is not None
        assert student is not None
        rows = certifying(self._log, trial, self._spent)
        student.prepare([row.text for row in rows])
        seen = trial.look(rows, student, self._agree)
        self._spent.update(row.key for row in seen)
        step = trial.next(self._standing.champion.number, self._situation(trial))
        if step is Next.PROMOTE:
            self._promote(queries, trial, student)
            step = trial.next(self._standing.champion.number, self._situation(trial))
        if step is Next.END:
            if not trial.has_served:
                why = "no certificate" if trial.loosest() == NEVER else "it keeps no more than what serves"
                self._tell(queries, f"release {trial.number} is rejected after {trial.rows} rows: {why}")
            self._rest()

    def _close(self, queries: int) -> None:
        """Take what is certified of a challenger that serves, and wait for no more."""
        trial, student = self._trial, self._challenger
        if trial is not None and student is not None:
            trial.patience = trial.weight
            if trial.next(self._standing.champion.number, self._situation(trial)) is Next.PROMOTE:
                self._promote(queries, trial, student)
        self._rest()

    def _promote(self, queries: int, trial: Trial, student: ReplayedStudent) -> None:
        standing, threshold = self._standing, trial.certified()
        if trial.has_served:
            standing.last_release += 1
        release = Release(
            number=standing.last_release if trial.has_served else trial.number,
            content=trial.number,
            threshold=threshold,
            student=student,
            kept=trial.kept(threshold),
            rows=trial.rows,
            weight=trial.weight,
            losses=trial.losses(threshold),
            attempt=standing.attempt,
            last_asked_at=trial.last_asked_at,
        )
        trial.serving = threshold
        standing.rows_at_refresh = self._taught
        standing.exploration = trial.rate = rate_once_served(self._task, self._records, trial)
        self._serve(queries, release)
        worth = f" that are worth {release.weight:.0f} drawn ones" if round(release.weight) != release.rows else ""
        proof = f"{release.rows} rows{worth}, {release.losses} of them lost"
        self._tell(queries, f"release {release.number} serves, certified on {proof}")

    def _serve(self, queries: int, release: Release) -> None:
        standing = self._standing
        standing.release, standing.alarmed = release, False
        standing.former.append(release)
        release.student.prepare([asked.text for asked in self._asked[queries : queries + READ_AHEAD]])
        self._life.releases.append(
            Released(
                number=release.number,
                at_query=queries,
                threshold=release.threshold,
                rows=release.rows,
                weight=release.weight,
                losses=release.losses,
                attempt=release.attempt,
            )
        )

    def _rest(self) -> None:
        self._standing.exploration = exploration_at_rest(self._task, self._standing.champion)
        self._trial = self._challenger = None

    def _situation(self, trial: Trial) -> Situation:
        return situation_of(self._task, self._records, trial, self._standing.champion)

    def _tell(self, queries: int, what: str) -> None:
        self._life.events.append(Event(queries, what))


def query_id(seed: int, place: int) -> str:
    """The id of a query: under another seed other queries are set aside, and stand in other folds."""
    return f"{seed}-{place:06d}"


def device_seed(seed: int, number: int) -> bytes:
    """The secret of device ``number`` under a replay's seed."""
    return hashlib.sha256(f"{seed} {number}".encode()).digest()[:SEED_BYTES]
