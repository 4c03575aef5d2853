"""The releases of a replay, in memory: their students, what serves, and what an operator would be told of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from router.backtest.history import Event, History, Released
from router.backtest.students.student import Fit, ReplayedStudent
from router.core.certification.certificate_validity import content_of
from router.core.certification.served_releases import ServedRelease
from router.core.certification.trial import Judging
from router.core.domain.task import Task
from router.core.policy.deferral import Policy
from router.core.refresh import actions
from router.core.refresh.assessed_fit import assess
from router.core.refresh.proving import NOT_WORTH
from router.core.release.manifest import Manifest, StudentSpec
from router.core.statistics.e_process import Certificate
from router.core.statistics.threshold_planning import NEVER

_SPEC = StudentSpec("replayed", "", "", (), 0, "")  # its labels are the log's, and need not fit a manifest
_SPEC_OF_ASKED = replace(_SPEC, asked="replayed")


class ReplayedReleases:
    """The releases of one replay, which is told of them."""

    def __init__(self, task: Task, history: History) -> None:
        """None but release 0, which has no student."""
        self._history = history
        self._task = task
        self._students: dict[int, ReplayedStudent] = {}  # by the number of their content
        self._served: dict[int, ServedRelease] = {}
        self._fitted: ReplayedStudent | None = None
        self._said = ""  # of the student fitted last

    def student(self, number: int) -> ReplayedStudent | None:
        """The student of a release, ``None`` of release 0."""
        served = self._served.get(number)
        return self._students.get(number if served is None else content_of(served.manifest))

    def assess(self, fit: Fit | None, action: actions.Fit, judging: Judging) -> actions.FitResult | None:
        """What a fitted student is worth; it is kept until the loop decides what becomes of it."""
        if fit is None or not fit.rows:
            return None
        calibrated, result = assess(fit.rows, fit.measures, judging)
        assert calibrated.label is not None
        self._fitted = ReplayedStudent(fit.labels, fit.reader, calibrated.label)
        right = float(np.average(result.agrees, weights=result.weights))
        self._said = f"a student of {len(fit.labels)} labels from {action.taught:,} rows agrees on {right:.1%}"
        return result

    def serve(self, action: actions.Promote | actions.ServeAgain, queries: int) -> ServedRelease:
        """Let a challenger or a fallback release serve, after so many queries."""
        if isinstance(action, actions.Promote):
            served = self._promoted(action)
        else:
            old = self._served[action.release]
            content = content_of(old.manifest)
            served = replace(old, manifest=replace(old.manifest, number=action.number, content=content), alarmed=False)
        self._served[action.number] = served
        proof = served.manifest.certificate
        assert proof is not None
        self._history.releases.append(
            Released(
                number=action.number,
                at_query=queries,
                threshold=served.manifest.policy.threshold,
                rows=proof.rows,
                weight=_weight(proof),
                distinct=proof.distinct or 0,
                losses=proof.losses,
                attempt=proof.attempt,
            )
        )
        self.tell(action, queries)
        return served

    def _promoted(self, action: actions.Promote) -> ServedRelease:
        known = self._served.get(action.release)
        content = action.release if known is None else content_of(known.manifest)
        manifest = Manifest(
            task=self._task,
            number=action.number,
            created_at=0.0,
            policy=Policy(action.threshold),
            student=_SPEC if self._students[content].keeps is None else _SPEC_OF_ASKED,
            certificate=action.certificate,
            content=content,
        )
        return ServedRelease(manifest, action.local_share)

    def tell(self, action: actions.Action, queries: int) -> None:
        """Keep what an operator would be told of an action, after so many queries."""
        match action:
            case actions.Stage(trial, keeps=keeps):
                assert self._fitted is not None
                self._students[trial.number] = replace(self._fitted, keeps=keeps, known={})
                words = f"{self._said}: release {trial.number} waits for its certificate"
                words += f", and keeps only what was asked before: {len(keeps):,} texts" if keeps is not None else ""
            case actions.TryAgain(trial):
                words = f"release {trial.number} waits for a certificate once more"
            case actions.Promote(number=number, certificate=proof):
                weight = _weight(proof)
                worth = f" that are worth {weight:.0f} drawn ones" if round(weight) != proof.rows else ""
                rows = f"{proof.rows} rows of {proof.distinct} distinct queries{worth}"
                words = f"release {number} serves, certified on {rows}, {proof.losses} of them lost"
            case actions.Reject(number, why):
                words = f"release {number} is rejected: {why}"
            case actions.Alarm(number):
                self._history.alarms += 1
                words = f"release {number} breaks its promise: everything escalates"
            case actions.SuspectChange(number, is_suspected):
                doubt = "seems to lose more than it may" if is_suspected else "is suspected no more"
                words = f"release {number} {doubt}: " + ("everything is" if is_suspected else "as much as before is")
                words += " explored"
            case actions.SetApart() | actions.TakeBack():
                words = _of_device(action)
            case actions.ServeAgain(fallback, number):
                words = f"release {fallback} serves again, as release {number}"
            case actions.Say(what) if what:
                words = f"{self._said}: {what}" if what == NOT_WORTH else what
            case _:
                return
        self._history.events.append(Event(queries, words))


def _weight(proof: Certificate) -> float:
    return float(proof.rows) if proof.weight is None else proof.weight


def _of_device(action: actions.SetApart | actions.TakeBack) -> str:
    if isinstance(action, actions.SetApart):
        return f"device {action.device} escalates everything: {action.why}"
    return f"device {action.device} keeps answers again: {action.why}"


def policy_at(threshold: float | None) -> Policy:
    """The policy of a device that keeps from ``threshold`` on; without one it keeps nothing."""
    return Policy(NEVER if threshold is None else threshold)
