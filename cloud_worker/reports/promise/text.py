"""The promise of a task for people: a few lines, every figure with its rows and its interval."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from rich.markup import escape

from cloud_worker.reports.promise.limits import limit_lines
from cloud_worker.reports.promise.pool import pool_lines
from cloud_worker.reports.promise.values import MissingProof, Promise, PromiseState, Proof
from router.core.domain.task import NO_FLOOR

_BARS = "▁▂▃▄▅▆▇█"
_COLOURS = {
    PromiseState.PROVEN: "green",
    PromiseState.ALARMED: "bold red",
    PromiseState.BLIND: "bold yellow",
    PromiseState.UNPROVEN: "bold yellow",
}


def lines_of(name: str, release: int, promise: Promise) -> list[str]:
    """Lines in rich's markup.

    Args:
        name: Of the task.
        release: That serves.
        promise: Of it.
    """
    colour = _COLOURS.get(promise.state, "cyan")
    why = f": {escape(promise.why)}" if promise.why else ""
    objectives = "; ".join(_objectives(promise))
    head = f"[bold]{escape(name)}[/]  {escape(objectives)}, as judged by {escape(promise.judged_by)}"
    state = promise.state.replace("_", " ")
    parts = (
        _saved,
        _bends,
        _proved,
        _used,
        _missing,
        _delays,
        _limits,
        _pool,
        _inputs,
        _calibration,
        _observed,
        _override_of,
    )
    lines = [f"[{colour}]release {release} {state}[/]{why}", *(line for part in parts for line in part(promise))]
    return [head, *(f"  {line}" for line in lines)]


def _objectives(promise: Promise) -> Iterator[str]:
    if promise.max_escalation is not None:
        yield f"at most {_share(promise.max_escalation)} of queries should leave the device, by the objective"
    if promise.max_disagreement < NO_FLOOR:
        yield (
            f"at most {_share(promise.max_disagreement)} of answers may differ from "
            f"{promise.reference}'s, {promise.assurance:.0%} sure"
        )
    else:
        yield f"no disagreement from {promise.reference} is promised"


def _saved(promise: Promise) -> Iterator[str]:
    """What decides: how many queries did without the reference, and how many are promised of."""
    saved, covered = promise.saved, promise.covered
    if saved.share is not None and covered.share is not None:
        yield (
            f"[bold]net saving {saved.share:.1%}[/]: {saved.asked:,} of {saved.answered:,} queries asked "
            f"{escape(promise.reference)}, explored ones among them; {covered.share:.1%} are covered"
        )


def _bends(promise: Promise) -> Iterator[str]:
    if promise.bends:
        yield f"[bold yellow]objective exceeded[/]: {escape(promise.bends)}"


def _proved(promise: Promise) -> Iterator[str]:
    proof = promise.certificate
    if proof:
        worth = f" worth {proof.weight:,.0f} drawn ones" if round(proof.weight) != proof.rows else ""
        yield (
            f"certified on {proof.rows:,} rows{_kinds(proof)}{worth}, {proof.losses} lost, "
            f"for {_share(proof.allowance)} (attempt {proof.attempt})"
        )
    yield from _worst_class(promise)


def _kinds(proof: Proof) -> str:
    """The number of different queries among the rows, and the time in which they came."""
    if proof.distinct is None:
        return ""
    hours = max(proof.last_asked_at - proof.first_asked_at, 0.0) / 3600.0
    count, unit = (
        (hours / 24.0, "days") if hours > 72.0 else (hours, "hours") if hours > 2.0 else (hours * 60.0, "minutes")
    )
    return f" of {proof.distinct:,} distinct queries in {math.ceil(count):,} {unit}"


def _worst_class(promise: Promise) -> Iterator[str]:
    """The class that surely loses most, on the rows that certified."""
    if promise.classes:
        worst = max(promise.classes, key=lambda one: (one.loss_low, one.losses, one.rows))
        yield (
            f"worst of {len(promise.classes)} classes: {escape(worst.label)}, {worst.losses} of "
            f"{worst.rows:,} drawn rows lost ({worst.loss_low:.1%} to {worst.loss_high:.1%}), "
            f"{worst.kept:.0%} kept"
        )


def _used(promise: Promise) -> Iterator[str]:
    used, hour = promise.used, promise.hour
    if used and used.rows and used.of_allowance is None:
        yield (
            f"{used.losses} of {used.rows:,} explored rows differ from the reference's: {used.loss:.2%} "
            f"({used.loss_low:.2%} to {used.loss_high:.2%}), of which nothing is promised"
        )
    elif used and used.rows:
        yield (
            f"allowance used {used.of_allowance:.0%} ({used.of_allowance_low:.0%} to "
            f"{used.of_allowance_high:.0%}): {used.losses} of {used.rows:,} explored rows lost"
        )
    elif used:
        yield "allowance used: no explored row of this release yet"
    if used and used.suspected:
        since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(used.suspected.since))
        yield (
            f"[bold yellow]a change is suspected[/] since {since}: everything is explored until "
            f"{used.suspected.rows_left:,} rows more look well, or the watch alarms"
        )
    if hour.blind:
        yield f"[bold yellow]blind[/]: {hour.rows:,} explored rows in an hour, {hour.planned:,.0f} planned"


def _missing(promise: Promise) -> Iterator[str]:
    missing = promise.missing
    if not missing:
        return
    if isinstance(missing, MissingProof):
        yield _missing_proof(missing, promise.exploration)
    elif missing.rows:
        yield f"next fit: {missing.have:,} of {missing.expected:,} rows, {missing.rows:,} missing"


def _missing_proof(missing: MissingProof, exploration: float) -> str:
    worth = f", worth {missing.have:,} drawn ones" if missing.have != missing.looked_at else ""
    have = f"release {missing.release} waits: {missing.looked_at:,} rows, {missing.losses} lost{worth}"
    if missing.rows is None:
        return f"{have}; no threshold of it is worth more rows"
    come = f"none counts at {exploration:.0%} explored, below {missing.rate:.0%}"
    if missing.queries is not None:
        come = f"about {missing.queries:,} queries at {exploration:.0%} explored"
    return f"{have}; {missing.rows:,} of about {missing.expected:,} missing, {come}"


def _delays(promise: Promise) -> Iterator[str]:
    parts = []
    for delay in promise.delays:
        asked = "never: nothing is explored" if delay.queries is None else f"{delay.queries:,.0f} queries"
        parts.append(f"{delay.ratio:g}x {delay.rows:,} rows ({asked})")
    if parts:
        yield f"a break is found after about: {', '.join(parts)}"


def _limits(promise: Promise) -> Iterator[str]:
    yield from limit_lines(promise.limits)


def _pool(promise: Promise) -> Iterator[str]:
    yield from map(escape, pool_lines(promise.pool))


def _inputs(promise: Promise) -> Iterator[str]:
    inputs = promise.inputs
    if not inputs:
        return
    first = inputs.comparisons[0]
    sizes = ", ".join(f"{one.what} {one.size:.2f}" for one in inputs.comparisons)
    rows = f"{first.rows_now:,} rows beside {first.rows_before:,} certifying ones"
    chance = f"{inputs.chance_of_a_false_warning:.0%} of looks warn by chance"
    if inputs.warnings:
        warnings = escape(", ".join(inputs.warnings))
        yield f"[bold yellow]inputs have changed[/]: {warnings} ({sizes}; {rows}; {chance})"
    else:
        yield f"inputs as they were ({sizes}; {rows}; {chance})"


def _calibration(promise: Promise) -> Iterator[str]:
    found = promise.calibration
    if not found:
        return
    bars = "".join(_BARS[min(int(one.was * len(_BARS)), len(_BARS) - 1)] for one in found.bins)
    worst = max(found.bins, key=lambda one: one.share * abs(one.said - one.was))
    yield (
        f"score: off by {found.error:.1%} on average (ECE); agreement by bin {bars}; "
        f"worst: said {worst.said:.0%}, was {worst.was:.0%} on {worst.share:.0%} of the calibrating rows"
    )


def _observed(promise: Promise) -> Iterator[str]:
    seen = promise.observed
    if not seen:
        return
    if not seen.rows:
        yield "observed: no query of this release yet"
        return
    kept, lost = seen.kept, seen.disagreement
    yield (
        f"would have kept {kept.share:.1%} ({kept.low:.1%} to {kept.high:.1%}) of {seen.rows:,} queries, "
        f"saving ${seen.saved_usd:,.2f} and {seen.saved_seconds:,.1f} s of the reference; "
        f"disagreement {lost.share:.2%} ({lost.low:.2%} to {lost.high:.2%})"
    )


def _override_of(promise: Promise) -> Iterator[str]:
    override = promise.hand
    words = [] if override.mode == "serve" else [override.mode.replace("_", "-")]
    words += ["frozen"] if override.frozen else []
    if override.pinned is not None:
        words.append(f"release {override.pinned} pinned{' by force' if override.forced else ''}")
    if words:
        yield f"operator override: {', '.join(words)}"


def _share(value: float) -> str:
    return f"{100 * value:g} %"
