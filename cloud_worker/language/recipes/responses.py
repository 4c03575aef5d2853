"""``responses``: fine-tune on what the teacher wrote.

Taori et al. 2023, "Alpaca": a small model learns instructions from a large one's responses, each under one fixed
template, loss on the response alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloud_worker.language.examples import Example, Lessons, gather, group_of
from cloud_worker.language.rationales import anything, written
from cloud_worker.language.templates import Template
from router.core.domain.record import Record

ALPACA = Template(
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{text}\n\n### Response:\n"
)


def responses(records: Sequence[Record], template: Template = ALPACA) -> Lessons[Example]:
    """The query under the template -> the teacher's whole response, its rationale first where it gave one.

    Args:
        records: Rows that may teach.
        template: Around the query; students from scratch do better with the bare one, ``Template()``.
    """
    return gather([(record, _example(record, template)) for record in records])


def answers(records: Sequence[Record], template: Template | None = None) -> Lessons[Example]:
    """The query -> the answer alone, rationale left out: what the other recipes are compared with."""
    template = template or Template()
    made = [(record, [Example(template.fill(record.text), record.answer, 1.0, group_of(record))]) for record in records]
    return gather(made)


def _example(record: Record, template: Template) -> list[Example] | str:
    return anything(record) or [Example(template.fill(record.text), written(record), 1.0, group_of(record))]
