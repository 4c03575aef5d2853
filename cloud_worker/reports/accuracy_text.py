"""Who is right on a task, for people: a few lines, every share with its rows and its interval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.markup import escape

_COLOURS = {"escalating pays": "green", "escalating does not pay here": "bold red", "not known yet": "yellow"}
_NAMES = (
    ("served", "what is served"),
    ("teacher", "the teacher"),
    ("student", "the student"),
    ("student_kept", "the student, where its answer stays"),
    ("student_deferred", "the student, where it gives way"),
    ("teacher_deferred", "the teacher, where the student gives way"),
)


def lines_of(said: dict[str, Any]) -> list[str]:
    """Lines in rich's markup, of what ``competence_of`` gives."""
    labels, release = said["labels"], said["release"]
    where = "students of every release" if release is None else f"release {release}"
    head = f"[bold]{escape(said['task'])}[/]  right by people's labels, {where}"
    if not labels["handed_out"]:
        return [head, "  no gold labels yet; `headrace-cloud label` hands out rows"]
    return [head, *(f"  {line}" for part in (_labels, _shares, _outcome, _promise) for line in part(said))]


def short_lines_of(said: dict[str, Any]) -> list[str]:
    """The lines that ``status`` shows: nothing where there is neither a label nor a promise of accuracy."""
    if not said["labels"]["handed_out"] and not said["promise"]:
        return []
    words = [f"{name} {_share(said[key])}" for key, name in _NAMES[:3] if said[key]]
    lines = [f"right by people's labels: {'; '.join(words)}"] if words else []
    return [*lines, *(line for part in (_outcome, _promise) for line in part(said))]


def _labels(said: dict[str, Any]) -> Iterator[str]:
    labels = said["labels"]
    counts = [f"{labels[key]:,} {key}" for key in ("labelled", "open", "skipped", "disputed") if labels[key]]
    yield f"{labels['handed_out']:,} rows handed out: {', '.join(counts)} ({escape(', '.join(labels['people']))})"
    agree = labels["annotators_agree"]
    if agree:
        yield f"two people agree on {_share(agree)} of rows that both labelled"


def _shares(said: dict[str, Any]) -> Iterator[str]:
    for key, name in _NAMES:
        if said[key]:
            yield f"{name:<41} {_share(said[key])}"


def _outcome(said: dict[str, Any]) -> Iterator[str]:
    worth = said["deferred"]
    if not worth["rows"]:
        return
    more = f"; about {worth['more_labels']:,} more labels would tell" if worth["more_labels"] else ""
    alone = f"teacher alone right {worth['teacher_alone']:,}, student alone {worth['student_alone']:,}"
    yield (
        f"[{_COLOURS[worth['outcome']]}]{worth['outcome']}[/]{more}: where the student gives way it gains "
        f"{worth['gain']:+.1%} ({alone}, of {worth['rows']:,})"
    )
    if said["teacher_is_worse"]:
        yield "[bold red]the teacher is worse than its student there: agreeing with it costs accuracy[/]"


def _promise(said: dict[str, Any]) -> Iterator[str]:
    promise = said["promise"]
    if not promise:
        return
    state = "[green]proved[/]" if promise["certified"] else "[yellow]not proved[/]"
    more = f"; about {promise['more_labels']:,} more labels" if promise["more_labels"] else ""
    yield (
        f"at least {promise['min_accuracy']:.1%} right, {said['assurance']:.0%} sure: {state} on {promise['rows']:,} "
        f"rows, {promise['wrong']:,} wrong, {promise['unlabelled']:,} of them without a label{more}"
    )


def _share(share: dict[str, Any]) -> str:
    return f"{share['share']:.1%} ({share['low']:.1%} to {share['high']:.1%}, {share['rows']:,} rows)"
