"""A device that loses alone: it escalates everything, the others go on, and it comes back once it has proved itself.

Rules:
 * It is accused by the watch over what serves, by the rows of a challenger that got no certificate because of it, or by
   those of a student of which no threshold is worth one because of it.
 * As after an alarm no row of before certifies anything, and a challenger that observed such rows is given up. The
   release that serves goes on: what escalates loses nothing, so that its loss only falls.
 * The operator may set a device apart, and take it back.
 * Where the whole fleet is alarmed, all come back: whatever serves next is proved on rows of all of them.
 * To come back by itself it spends the next attempt of the lineage.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from router.core.arrays import Bools
from router.core.certification.device_quarantine import Accusation, Apart, has_shown
from router.core.certification.observations import total
from router.core.certification.refresh_schedule import points_of
from router.core.certification.trial import Trial
from router.core.refresh.actions import FitResult, SetApart, Step, TakeBack
from router.core.refresh.after_break import void_earlier_rows
from router.core.refresh.loop_state import LoopState, StepInputs
from router.core.statistics.e_process import attempt_alpha
from router.core.statistics.threshold_planning import Situation, plan

MOST_SUSPECTS = 3  # devices that disagreed most
PROVED = "it has proved itself"
ANEW = "the promise broke for the whole fleet, and all begin anew"
LOSES_ALONE = "it loses alone more than is allowed"


def set_apart(loop: LoopState, device: str, why: str = LOSES_ALONE) -> Step[None]:
    """Let a device escalate everything."""
    yield from _leave(loop, f"it looked at rows of device {device}, which is in quarantine")
    since = loop.rows.newest
    yield SetApart(device, since, why)
    loop.quarantines[device] = Apart(since)
    loop.rows.forget(device)


def _leave(loop: LoopState, why: str) -> Step[None]:
    yield from void_earlier_rows(loop, loop.releases.champion, why)
    loop.end_trial()
    loop.watch_anew()  # as if the device had never been there


def hear_of_quarantines(loop: LoopState, inputs: StepInputs) -> Step[None]:
    """Do what follows where the operator set a device apart, or took one back."""
    told, known = dict(inputs.quarantines), dict(loop.quarantines)
    if told == known:
        return
    new = sorted(device for device, apart in told.items() if apart.lasts and not _lasts(known.get(device)))
    if new:
        yield from _leave(loop, f"it looked at rows of device {new[0]}, which is in quarantine")
    loop.quarantines.clear()
    loop.quarantines.update(told)
    for device in new:
        loop.rows.forget(device)
    loop.watch_anew()


def _lasts(apart: Apart | None) -> bool:
    return apart is not None and apart.lasts


def take_back(loop: LoopState) -> Step[None]:
    """Let each device keep answers again that has proved itself under what serves."""
    waiting = sorted(loop.apart)
    promise, champion = loop.task.at_device, loop.champion.number
    if not champion or not loop.task.objective.has_floor:
        return
    for device in waiting:
        attempt = loop.releases.attempt + 1
        alpha = attempt_alpha(promise.assurance, attempt) / len(waiting)
        rows = loop.rows.shown(device, {champion})
        if has_shown(rows, loop.judging, loop.task.kind, promise.max_disagreement, alpha):
            loop.change(attempt=attempt)
            yield from _take_back(loop, device, PROVED)


def begin_anew(loop: LoopState) -> Step[None]:
    """Take every device back, since all that serves from now on is proved on rows of all that come from now on."""
    for device in sorted(loop.apart):
        yield from _take_back(loop, device, ANEW)


def _take_back(loop: LoopState, device: str, why: str) -> Step[None]:
    until = loop.rows.newest
    yield TakeBack(device, until, loop.releases.attempt, why)
    loop.quarantines[device] = Apart(loop.quarantines[device].since, until)


def who_spoilt(loop: LoopState, trial: Trial, situation: Situation) -> str:
    """The device without which a challenger would keep more, though that one keeps nothing; empty for none."""
    if trial.has_served or not trial.observations:
        return ""
    columns, callers = trial.columns, tuple(observation.caller for observation in trial.observations)
    seen = FitResult(
        columns.scores,
        ~columns.wrong,
        columns.weights,
        callers,
        tuple(columns.alike[0].tolist()),
        columns.releases,
        columns.kept,
    )
    hoped = max(trial.outlook(situation).expected_local_share, trial.kept(trial.certified()))
    return who_spoilt_fit(loop, seen, situation, hoped)


def who_spoilt_fit(loop: LoopState, rows: FitResult, situation: Situation, hoped: float = 0.0) -> str:
    """The device because of which alone no threshold is worth a certificate, or none that keeps much; empty for none.

    Args:
        loop: Of the task.
        rows: What a student says of some rows.
        situation: What further ones cost.
        hoped: Share of the queries that is kept with all devices, in [0, 1].
    """
    callers, promise = np.array(rows.callers), loop.task.at_device.max_disagreement
    for device, _ in Counter[str](callers[~rows.agrees].tolist()).most_common(MOST_SUSPECTS):
        others = callers != device
        points = points_of(loop.task, rows.scores[others], rows.agrees[others], rows.weights[others])
        found = plan(points, promise, situation)
        share = total(rows.weights[others]) / total(rows.weights)
        lost = ~rows.agrees & (rows.scores >= found.threshold)
        pays = found.is_worth_proving and found.expected_local_share * share > hoped
        if pays and _accused(loop, rows, lost) == device:
            return device
    return ""


def _accused(loop: LoopState, rows: FitResult, lost: Bools) -> str:
    """The device that loses alone; empty for none."""
    accusation = Accusation(loop.task.at_device.max_disagreement, 1.0 - loop.task.at_device.assurance)
    for device in loop.rows.heard | {*rows.callers}:
        accusation.meet(device, 0.0)
    for device, text, is_lost in zip(rows.callers, rows.texts, lost.tolist(), strict=True):
        accusation.update(device, text, is_lost)
    return accusation.accused
