"""Answers in the log that teach nobody, such as one whose reason can't be read: how many, and a sample."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from cloud_worker.distillation_log import DistillationLog

SAMPLE_CHARACTERS = 200
_COLUMNS = ("problem", "answer", "query_id")


def no_lessons_of(log: DistillationLog, task: str) -> dict[str, Any]:
    """Of a task's rows, those that are no lessons, ready for JSON.

    Args:
        log: The distillation log.
        task: The task's name.

    Returns:
        How many ``rows`` of how many (``of``), and the ``latest``: its ``query_id``, its ``problem`` and the beginning
        of its ``answer``; ``None`` where there is none.
    """
    table = log.read(task, columns=_COLUMNS)
    problems = pc.fill_null(table["problem"], "")  # of rows that are older than the column
    found = table.filter(pc.not_equal(problems, ""))
    latest = found.slice(max(len(found) - 1, 0)).to_pylist()
    sample = [one | {"answer": one["answer"][:SAMPLE_CHARACTERS]} for one in latest]
    return {"rows": len(found), "of": len(table), "latest": sample[0] if sample else None}


def no_lesson_lines(task: str, said: dict[str, Any] | None) -> list[str]:
    """For people, in words that hold no markup; nothing where all rows are lessons.

    Args:
        task: Its name.
        said: As ``no_lessons_of`` gives it.
    """
    if not said or not said["rows"]:
        return []
    latest = said["latest"]
    return [
        f"{task}: {said['rows']:,} of {said['of']:,} logged answers are no lessons; "
        f"the latest, because {latest['problem']}: {latest['answer']!r}"
    ]
