"""Keeps the promise while a release serves: the operator override, the certificate, the watch, the way back.

    quiet ◀──rows come as planned── blind        pinned by force: unproven ──unpinned──▶ a fallback, or the cloud
      │ ▲                             ▲
      │ └──────too few rows for an hour
      └──the promise breaks──▶ alarmed: everything escalates ──one is certified on rows after the alarm──▶ quiet

Rules:
 * A pin is obeyed before anything else, and an alarm does not undo it: what is pinned then keeps nothing.
 * What keeps answers has a certificate that stands: where an objective grows stricter, or another version of the
   reference answers, everything escalates as after an alarm. Where that is taken back, the same release serves again.
 * What was never promised can't be broken: the certificate is checked before the watch.
 * An alarm is told to the devices first; only then a fallback release is looked for, and it proves itself again before
   it serves: that nothing speaks against it is no proof. No row of before an alarm certifies anything any more.
 * Where nothing broke, an objective changed or a pin went, a fallback release whose certificate stands serves at once.
 * A release that serves without proof is not watched for an alarm: the operator wants it so.
 * A device that loses alone is set apart, and the others are watched on without it.
 * While a release rolls out its watch raises no alarm and accuses nobody: where it speaks, the rollout goes back
   (``rollout_evidence``). The release that the others run is watched beside it, and when that breaks its promise, they
   escalate everything.
 * While the watch suspects a change everything is explored, and then as much as it would be otherwise. All is asked of
   the reference then, so its answers are given (``LoopState.keeps``), and nothing is promoted. Spared is what promises
   nothing, serves without proof or may not explore; while too few rows come, more would not help.
"""

from __future__ import annotations

from dataclasses import replace

from router.core.certification.certificate_validity import content_of
from router.core.certification.refresh_schedule import Champion, exploration_at_rest
from router.core.certification.served_releases import ServedRelease, is_same_release
from router.core.domain.record import Record
from router.core.refresh.actions import (
    Alarm,
    EscalateAll,
    Explore,
    Find,
    NoteOvertaken,
    ReadAgain,
    Reinstate,
    ServeAgain,
    ServeUnproven,
    Step,
    SuspectChange,
)
from router.core.refresh.after_break import void_earlier_rows
from router.core.refresh.loop_state import LoopState, StepInputs
from router.core.refresh.quarantine import begin_anew, hear_of_quarantines, set_apart, take_back
from router.core.refresh.way_back import prove_again, way_back
from router.core.release.manifest import Manifest
from router.core.release.orders import Watch

EVERYTHING = 1.0  # of the queries
OUTDATED = "the promise broke while it waited: its rows are of before"


def keep_promise(loop: LoopState, inputs: StepInputs) -> Step[None]:
    """Obey the operator, watch what serves, and give way where it may not."""
    before = _orders_of(loop)
    yield from hear_of_quarantines(loop, inputs)
    yield from _obey(loop, inputs)
    yield from _hold_to_certificate(loop, inputs)
    yield from _watch(loop, inputs)
    yield from _give_way(loop, inputs)
    yield from take_back(loop)
    changed = before != _orders_of(loop)
    if changed and loop.trial is not None and loop.trial.has_served:
        loop.end_trial()
    was_held, loop.is_held = loop.is_held, inputs.is_held or inputs.is_blind
    if (changed or was_held != loop.is_held) and not loop.releases.is_alarmed:
        yield from explore(loop, loop.rate_at_ease(inputs.is_held))
    yield from explore_suspected(loop, inputs)


def _orders_of(loop: LoopState) -> tuple[object, ...]:
    """What serves, whether it may keep anything, and which devices may."""
    return loop.releases.champion, loop.releases.is_alarmed, dict(loop.quarantines)


def explore(loop: LoopState, rate: float) -> Step[None]:
    """Explore at a rate in [0, 1] from now on."""
    yield Explore(rate)
    loop.change(exploration=rate)


def explore_suspected(loop: LoopState, inputs: StepInputs) -> Step[None]:
    """Explore everything while the watch suspects a change, and no longer."""
    if loop.releases.is_alarmed:
        loop.is_suspected = False
        return
    rate = loop.rate_at_ease(inputs.is_held)
    suspected = _is_suspected(loop, inputs) and 0.0 < rate < EVERYTHING
    if suspected != loop.is_suspected:
        loop.is_suspected = suspected
        yield SuspectChange(loop.releases.champion, suspected)
    if suspected:
        rate = EVERYTHING
    elif loop.releases.exploration < EVERYTHING:
        return
    if loop.releases.exploration != rate:
        yield from explore(loop, rate)


def _is_suspected(loop: LoopState, inputs: StepInputs) -> bool:
    live_watch, releases = loop.live_watch, loop.releases
    if live_watch is None or live_watch.release != releases.champion or releases.watch is Watch.UNPROVEN:
        return False
    if inputs.base is not None:  # few devices are no reason to ask everything of all
        return False
    return live_watch.suspicion.is_on and loop.task.objective.has_floor and not inputs.is_blind


def _obey(loop: LoopState, inputs: StepInputs) -> Step[None]:
    """Let the pinned release serve."""
    if inputs.pinned is None:
        return
    wanted: Manifest | None = yield Find(inputs.pinned)
    if wanted is None:
        return
    serving = loop.releases.serving
    if serving is None or not is_same_release(wanted, serving.manifest):
        unproven = inputs.forced or wanted.student is None
        yield from _serve_again(loop, wanted, Watch.UNPROVEN if unproven else Watch.QUIET)
    elif inputs.forced and loop.releases.watch is not Watch.UNPROVEN:
        yield ServeUnproven(loop.releases.champion)
        loop.change(watch=Watch.UNPROVEN)


def _hold_to_certificate(loop: LoopState, inputs: StepInputs) -> Step[None]:
    """Let nothing stay whose certificate does not stand; what fell with an objective that is gone serves again."""
    serving, releases = loop.releases.serving, loop.releases
    if serving is None or not serving.has_student or releases.watch is Watch.UNPROVEN:
        return
    if loop.rows.version:
        yield NoteOvertaken(releases.champion, inputs.is_overtaken(serving.manifest, loop.rows.version))
    why = loop.why_uncertified(serving.manifest, inputs)
    if why and not releases.is_alarmed:
        yield from _escalate_all(loop, why)
    elif not why and releases.is_alarmed:
        yield Reinstate(releases.champion)
        loop.change(watch=Watch.QUIET)


def _watch(loop: LoopState, inputs: StepInputs) -> Step[None]:
    """Observe what the champion kept; when that breaks the promise, everything escalates."""
    new, loop.unwatched = loop.unwatched, []
    yield from _watch_base(loop, inputs, new)
    serving, releases = loop.releases.serving, loop.releases
    if serving is None or not serving.has_student:
        loop.live_watch = None
        return
    spared = releases.watch in {Watch.ALARMED, Watch.UNPROVEN} or inputs.base is not None
    while True:
        if loop.live_watch is None or loop.live_watch.release != serving.number:
            known = (_numbers_of(loop, serving), _content_of(loop, serving))
            live_watch = loop.watch_over(serving.number, loop.task, loop.judging, *known)
            new = yield ReadAgain()
            loop.live_watch = live_watch
        loop.live_watch.observe(new, inputs.blind, loop.quarantines)
        if spared or not loop.live_watch.accusation.accused:
            break
        yield from set_apart(loop, loop.live_watch.accusation.accused)
    if loop.live_watch.watch.freeze().alarmed and not spared:
        yield from void_earlier_rows(loop, serving.number, OUTDATED)
        yield Alarm(serving.number)
        loop.change(served={**releases.served, serving.number: replace(serving, alarmed=True)})
        yield from begin_anew(loop)
        yield from _escalate_all(loop, "")


def _watch_base(loop: LoopState, inputs: StepInputs, new: list[Record]) -> Step[None]:
    """Observe what the release kept that others run while the champion rolls out."""
    served = loop.releases.served
    base = None if inputs.base is None else served.get(inputs.base)
    if base is None or not base.has_student or base.alarmed:
        loop.base_watch = None
        return
    if loop.base_watch is None or loop.base_watch.release != base.number:
        known = (_numbers_of(loop, base), _content_of(loop, base))
        live_watch = loop.watch_over(base.number, loop.task, loop.judging, *known)
        new = yield ReadAgain()
        loop.base_watch = live_watch
    if loop.base_watch.observe(new, inputs.blind, loop.quarantines):
        yield Alarm(base.number)
        loop.change(served={**served, base.number: replace(base, alarmed=True)})
        loop.base_watch = None


def _numbers_of(loop: LoopState, serving: ServedRelease) -> frozenset[int]:
    """Every number under which this content served at this threshold."""
    served = loop.releases.served.values()
    return frozenset(one.number for one in served if is_same_release(one.manifest, serving.manifest))


def _content_of(loop: LoopState, serving: ServedRelease) -> frozenset[int]:
    """Every number under which this content served, at whatever threshold."""
    served, content = loop.releases.served.values(), content_of(serving.manifest)
    return frozenset(one.number for one in served if content_of(one.manifest) == content)


def _give_way(loop: LoopState, inputs: StepInputs) -> Step[None]:
    """Go from what has alarmed, or was pinned without proof until now, back to a release whose proof stands."""
    serving, releases = loop.releases.serving, loop.releases
    fallen = serving is not None and serving.has_student and (releases.is_alarmed or _is_unproven(loop))
    if not fallen or inputs.pinned is not None or loop.tried == releases.champion:
        return
    loop.tried = releases.champion
    if _is_unproven(loop):
        yield from _escalate_all(loop, "it is pinned no more")
    fallback = yield from way_back(loop, inputs)
    if fallback is None:
        return
    if serving is not None and serving.alarmed:
        yield from prove_again(loop, fallback)
    else:
        yield from _serve_again(loop, fallback.manifest, Watch.QUIET)


def _is_unproven(loop: LoopState) -> bool:
    return loop.releases.watch is Watch.UNPROVEN


def _escalate_all(loop: LoopState, why: str) -> Step[None]:
    """Let nothing be kept; to explore costs nothing now, since everything escalates."""
    rate = loop.task.exploration.cold
    yield EscalateAll(loop.releases.champion, rate, why)
    loop.change(watch=Watch.ALARMED, rows_at_refresh=0, exploration=rate)


def _serve_again(loop: LoopState, wanted: Manifest, watch: Watch) -> Step[None]:
    number = loop.releases.last_release + 1
    rate = exploration_at_rest(loop.task, Champion(wanted.number if wanted.student is not None else 0))
    served: ServedRelease | None = yield ServeAgain(wanted.number, number, watch, rate)
    if served is not None:
        loop.change(
            champion=served.number,
            watch=watch,
            exploration=rate,
            last_release=served.number,
            served={**loop.releases.served, served.number: served},
        )
