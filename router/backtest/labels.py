"""The answers of a log as labels: which are the same by the judge, which recur, and what that means for a student.

Rules:
 * A student of labels can only learn answers that recur; a query whose answer never recurs can only escalate.
 * Answers that the judge calls the same become one label, spelt as it came first.
 * A log that can't teach anything is refused, and the refusal says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from router.backtest.logs.reader import Log
from router.core.domain.agreement import normalised, parse_calls, parse_json
from router.core.domain.quantity import quantity_in
from router.core.domain.task import Judge
from router.core.errors import DataError
from router.core.learning.training_rows import LEAST_ROWS_OF_LABEL

FREE_TEXT_SHARE = 0.5  # of queries whose answer does not recur: more is called free text
JUDGES = {
    "exact": Judge.LABEL,
    "normalised_text": Judge.NORMALISED_TEXT,
    "number": Judge.NUMBER,
    "structure": Judge.STRUCTURE,
    "tool_call": Judge.TOOL_CALL,
}


@dataclass(frozen=True, slots=True)
class Answers:
    """A log's answers as labels.

    Attributes:
        labels: One a query, equal where the judge calls two answers the same.
        distinct: How many different ones there are.
        learnable: Share of queries whose answer recurs often enough to be learned, in [0, 1].
    """

    labels: tuple[str, ...]
    distinct: int
    learnable: float


def answers_of(log: Log, judge: Judge) -> Answers:
    """Find the answers that are the same, and those that recur.

    Raises:
        DataError: All answers are the same, or none recurs.
    """
    labels = as_labels([row.answer for row in log.rows], judge)
    counts = Counter(labels)
    learnable = sum(count for count in counts.values() if count >= LEAST_ROWS_OF_LABEL) / len(labels)
    found = Answers(tuple(labels), len(counts), learnable)
    source, column, rows = str(log.path), log.columns.answer, len(labels)
    if found.distinct == 1:
        raise DataError(
            source, 0, f"column {column}: all {rows:,} answers are {labels[0]!r}; there is nothing to decide"
        )
    if not learnable:
        raise DataError(source, 0, f"column {column}: {_free_text(found, judge)}")
    return found


def as_labels(answers: Sequence[str], judge: Judge) -> list[str]:
    """Each answer, spelt as the first that is the same by the judge."""
    key = _KEYS[judge]
    first: dict[Hashable, str] = {}
    return [first.setdefault(key(answer), answer) for answer in answers]


def describe_answers(answers: Answers, judge: Judge) -> str:
    """What to know of a log whose answers hardly recur; empty if they do."""
    return _free_text(answers, judge) if 1 - answers.learnable > FREE_TEXT_SHARE else ""


def _free_text(answers: Answers, judge: Judge) -> str:
    rows = len(answers.labels)
    other = "" if judge is not Judge.LABEL else "; --judge normalised_text, number or structure may find more the same"
    return (
        f"the log has {answers.distinct:,} distinct answers in {rows:,} rows: this is free text. A student of labels "
        f"learns answers that recur, {answers.learnable:.1%} of the queries here; the others can only escalate{other}. "
        "A student that writes may keep more, and a replay can't tell how much"
    )


def _by_value(parse: Callable[[str], Hashable]) -> Callable[[str], Hashable]:
    def key(answer: str) -> Hashable:
        value = parse(answer)
        return ("text", normalised(answer)) if value is None else ("value", value)

    return key


def _number(answer: str) -> Hashable:
    quantity = quantity_in(answer)
    return ("text", normalised(answer)) if quantity is None else (f"{float(quantity.value):.6g}", quantity.unit)


_KEYS: dict[Judge, Callable[[str], Hashable]] = {
    Judge.LABEL: lambda answer: answer,
    Judge.NORMALISED_TEXT: normalised,
    Judge.NUMBER: _number,
    Judge.STRUCTURE: _by_value(parse_json),
    Judge.TOOL_CALL: _by_value(parse_calls),
}
