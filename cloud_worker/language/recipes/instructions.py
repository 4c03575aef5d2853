"""``instructions``: many tasks in one student, each asked in several ways.

Wei et al. 2022, "Finetuned Language Models Are Zero-Shot Learners" (Flan), and Longpre et al. 2023: several templates a
task, tasks mixed in proportion to their rows up to a cap, so that a frequent task does not drown the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from cloud_worker.language.examples import Example, Lessons, gather, group_of
from cloud_worker.language.rationales import anything
from cloud_worker.language.templates import Template
from router.core.domain.record import Record, unit_interval
from router.core.errors import ConfigError


def instructions(
    records: Sequence[Record], templates: Mapping[str, Sequence[Template]], cap: int = 3000
) -> Lessons[Example]:
    """The query under one of its task's templates -> the answer.

    Which template a row gets depends on its key alone, so that a refresh repeats it.

    Args:
        records: Rows of all tasks that may teach.
        templates: For each task, the ways to ask it.
        cap: Rows of one task that count in full, at least 1; more share that weight.

    Raises:
        ConfigError: A task without a template.
    """
    counts = Counter(record.task for record in records)
    for task in sorted(counts):
        if not templates.get(task):
            raise ConfigError("instructions.templates", task, "is missing; give at least one way to ask the task")
    weights = {task: min(1.0, max(1, cap) / count) for task, count in counts.items()}
    return gather(
        [
            (record, anything(record) or [_example(record, templates[record.task], weights[record.task])])
            for record in records
        ]
    )


def _example(record: Record, templates: Sequence[Template], weight: float) -> Example:
    chosen = templates[int(unit_interval("template", *record.key) * len(templates))]
    return Example(chosen.fill(record.text), record.answer, weight, group_of(record))
