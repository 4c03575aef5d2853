"""``step-by-step``: the answer and its reason as two tasks of one student.

Hsieh et al. 2023, "Distilling Step-by-Step!": prefixes tell the tasks apart, the loss is ``a`` of the label plus
``1 - a`` of the rationale, and the student is asked for the label alone: the rationale costs nothing in use.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloud_worker.language.examples import Example, Lessons, gather, group_of
from cloud_worker.language.rationales import Check, readable
from cloud_worker.language.templates import Template
from router.core.domain.record import Record
from router.core.errors import BadInputError

PREDICT = Template("predict: {text}")
EXPLAIN = Template("explain: {text}")


def step_by_step(
    records: Sequence[Record], share: float = 0.5, check: Check = readable, template: Template | None = None
) -> Lessons[Example]:
    """Two examples a row, in one group: ``predict:`` -> label, ``explain:`` -> rationale.

    Args:
        records: Rows that may teach.
        share: ``a``, the label's part of the loss, in (0, 1].
        check: Says what is wrong with a rationale; such a row is kept out.
        template: Around the query, after the prefix; nothing if left out.

    Raises:
        BadInputError: A share outside its range.
    """
    if not 0 < share <= 1:
        raise BadInputError("share", f"is {share}; use a number above 0, at most 1")
    template = template or Template()
    return gather([(record, check(record) or _both(record, share, template)) for record in records])


def _both(record: Record, share: float, template: Template) -> list[Example]:
    group, asked = group_of(record), template.fill(record.text)
    label = Example(PREDICT.fill(asked), record.answer, share, group)
    reason = Example(EXPLAIN.fill(asked), record.rationale.strip(), 1 - share, group)
    return [label, reason] if share < 1 else [label]
