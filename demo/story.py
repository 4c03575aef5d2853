"""What happens in a demo, in words: what a release waits for, what becomes of new intents, what is above the promise.

Nothing here reads a store, a file or a clock: every input is an argument.

Rules:
 * No window and no release above the promise goes untold, and each is told with why.
 * The promise is over all queries of a release; a window is a part of them, and told as that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cloud_worker.state.states import Phase
from cloud_worker.state.store import TaskState
from cloud_worker.state.task_figures import Figures, Waiting
from demo.measure import WINDOW
from router.core.release.orders import Watch
from router.core.statistics.intervals import share_interval

ONE_SIDED = 0.90  # a two-sided interval at 90 % has a lower end that holds at 95 %


@dataclass(frozen=True, slots=True)
class Newcomers:
    """Intents that the stream began to ask under way.

    Attributes:
        first: Position in the stream of the first one, from 0.
        intents: How many there are.
        learned: How many of them the release that serves can answer.
        asked: Queries of late.
        new: Of them, those that mean a new intent.
        escalated: Of these, those that left their device.
    """

    first: int
    intents: int
    learned: int
    asked: int
    new: int
    escalated: int


def next_release(state: TaskState, figures: Figures | None) -> str:
    """What the next release waits for, or what came of the last; empty where there is nothing to say."""
    if state.watch == Watch.ALARMED:
        return f"release {state.champion} broke its promise on the queries that are explored: everything escalates"
    if state.phase == Phase.WAITING and figures is not None and figures.waiting is not None:
        return _proof(figures.waiting, state.champion)
    if state.phase != Phase.IDLE or figures is None or figures.taught >= figures.needed:
        return state.phase_note
    rows = f"the next student is trained at {figures.needed:,} rows that teach, {figures.taught:,} are there"
    return f"{state.phase_note}; {rows}" if state.phase_note else rows


def _proof(waiting: Waiting, champion: int) -> str:
    who = f"the challenger, release {waiting.release}, waits for its certificate"
    if waiting.release <= champion:
        who = f"release {champion} serves, and waits for proof that it may keep more"
    have, expected = int(waiting.weight), math.ceil(waiting.expected_rows)
    if expected <= have:
        return f"{who}: {have:,} rows, {waiting.losses} lost, at most {waiting.patience:,}"
    return f"{who}: {have:,} of about {expected:,} rows, {waiting.losses} lost"


def newcomers(new: Newcomers, champion: int) -> str:
    """What becomes of the new intents now."""
    asked = f"{new.intents} new intent{'s' if new.intents != 1 else ''} since query {new.first + 1:,}"
    if not new.new:
        return asked
    asked += f", {new.new / new.asked:.0%} of late"
    goes = f"{new.escalated / new.new:.0%} of them escalate"
    if not champion:
        return f"{asked}: no student serves, {goes}"
    if not new.learned:
        return f"{asked}: release {champion} has learned none of them, no student may keep them yet; {goes}"
    return f"{asked}: release {champion} has learned {new.learned} of them, {goes}"


def told(figures: dict[str, Any], promise: float) -> list[str]:
    """What a reader of the table should know beside it."""
    return [*_of_newcomers(figures), *_of_windows(figures, promise), *_of_releases(figures, promise)]


def _of_newcomers(figures: dict[str, Any]) -> Iterator[str]:
    first = figures["new_intents_from"]
    if first is None:
        return
    asked = f"New intents are asked from query {first + 1:,} on."
    # A teacher takes some early query for an intent that is not asked yet: to know its label is not to have learned it.
    early = max((one["new_intents"] for one in figures["releases"] if one["at_query"] <= first), default=0)
    later = (one for one in figures["releases"] if one["at_query"] > first)
    knowing = [release for release in later if release["new_intents"] > early]
    if knowing:
        begun = knowing[0]
        learned = f"Release {begun['number']}, from query {begun['at_query'] + 1:,} on, is the first that has learned "
        yield f"{asked} {learned}{begun['new_intents']} of them."
    else:
        waits = f" Then, {figures['waits']}." if figures.get("waits") else ""
        yield f"{asked} No release that served since has learned them: no student may keep them yet.{waits}"


def _of_windows(figures: dict[str, Any], promise: float) -> Iterator[str]:
    above = [(position, one) for position, one in enumerate(figures["windows"]) if one["disagreement"] > promise]
    if not above:
        return
    positions = ", ".join(
        f"{position * WINDOW + 1:,} to {min((position + 1) * WINDOW, figures['queries']):,} ({one['disagreement']:.1%})"
        for position, one in above
    )
    verb = "are" if len(above) > 1 else "is"
    text = f"{len(above)} of {len(figures['windows'])} windows {verb} above {promise:.1%}: queries {positions}."
    share = _new_among([one for _, one in above])
    if share:
        text += f" {share:.0%} of what differs there are new intents, which a release took for others that it knew."
    yield f"{text} The promise is over all queries of a release, proved on queries before it served."


def _new_among(windows: Sequence[dict[str, Any]]) -> float:
    """Share of what differs that is a new intent, in [0, 1]."""
    differs = sum(one["differing"] for one in windows)
    return sum(one["new_differing"] for one in windows) / differs if differs else 0.0


def _of_releases(figures: dict[str, Any], promise: float) -> Iterator[str]:
    for number, served in figures["disagreement_by_release"].items():
        if served["disagreement"] <= promise:
            continue
        lost = round(served["disagreement"] * served["n"])
        is_chance = share_interval(lost, served["n"], ONE_SIDED).low <= promise
        how = "no more than chance explains" if is_chance else "more than chance explains, a broken promise"
        part = f"Release {number} differs in {served['disagreement']:.2%} of its {served['n']:,} queries"
        yield f"{part}, above {promise:.1%}; that is {how}."
