"""What a recipe makes of log rows, and what the trainer learns from.

Rules:
 * A recipe is a function of rows: the same rows and options give the same examples, in the same order.
 * A row that a recipe can't use is kept out and counted, with one sample to look at; it never stops a refresh.
 * The examples of one group belong to one query: the trainer draws them in the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from router.core.domain.query import Distribution
from router.core.domain.record import Record

SAMPLE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Example:
    """One text to write, for a generating student.

    Attributes:
        prompt: What the student reads.
        target: What it should write.
        weight: Its part in the loss of its group, at least 0.
        group: Names the query; an empty one stands alone.
        alternatives: What else the teacher might have written, one distribution over tokens a token of ``target``; the
            end of the text may be left out. Empty: the target alone counts.
    """

    prompt: str
    target: str
    weight: float = 1.0
    group: str = ""
    alternatives: tuple[Distribution, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelExample:
    """One distribution over labels to give, for a student with a label head.

    Attributes:
        prompt: What the student reads.
        distribution: The teacher's likeliest labels; a tail where some are left out.
        weight: Its part in the loss, at least 0.
    """

    prompt: str
    distribution: Distribution
    weight: float = 1.0


E = TypeVar("E", Example, LabelExample)


@dataclass(frozen=True, slots=True)
class Lessons(Generic[E]):
    """What a recipe gives.

    Attributes:
        examples: In the order of the rows.
        kept_out: Rows that the recipe could not use.
        sample: The first of them and why, at most a few hundred characters; empty if there is none.
    """

    examples: tuple[E, ...]
    kept_out: int = 0
    sample: str = ""


def sample_of(text: str, problem: str) -> str:
    """One line that shows what was kept out, and why."""
    shown = " ".join(text.split())
    cut = shown if len(shown) <= SAMPLE_CHARACTERS else shown[:SAMPLE_CHARACTERS] + "..."
    return f"{problem}: {cut!r}"


def gather(per_row: Sequence[tuple[Record, Sequence[E] | str]]) -> Lessons[E]:
    """Put together what each row gave: its examples, or the problem that keeps it out."""
    examples: list[E] = []
    problems: list[str] = []
    for record, given in per_row:
        if isinstance(given, str):
            problems.append(sample_of(record.rationale or record.answer, given))
        else:
            examples.extend(given)
    return Lessons(tuple(examples), len(problems), problems[0] if problems else "")


def group_of(record: Record) -> str:
    """The name that the examples of one record share."""
    return "\x1f".join(record.key)
