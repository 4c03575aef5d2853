"""Answers in the log that teach nobody, such as one whose reason can't be read: how many, and a sample."""

from __future__ import annotations

from typing import Any

from cloud_worker.log.distillation_log import DistillationLog, quoted

SAMPLE_CHARACTERS = 200
NONE: dict[str, Any] = {"rows": 0, "of": 0, "latest": None}


def no_lessons(log: DistillationLog) -> dict[str, dict[str, Any]]:
    """The rows of each task that are no lessons, ready for JSON; see ``no_lessons_of``."""
    problem = "nullif(problem, '')" if "problem" in log.columns() else "null"  # of rows that are older than the column
    counted = log.ask(f"select task, count(*) as of, count({problem}) as rows from log group by task")
    return {
        one["task"]: {**NONE, "rows": one["rows"], "of": one["of"]}
        | ({"latest": _latest(log, one["task"])} if one["rows"] else {})
        for one in counted
    }


def no_lessons_of(log: DistillationLog, task: str) -> dict[str, Any]:
    """The rows of a task that are no lessons, ready for JSON.

    Args:
        log: The distillation log.
        task: The task's name.

    Returns:
        How many ``rows`` of how many (``of``), and the ``latest``: its ``query_id``, its ``problem`` and the beginning
        of its ``answer``; ``None`` where there is none.
    """
    return no_lessons(log).get(task, NONE)


def _latest(log: DistillationLog, task: str) -> dict[str, Any] | None:
    answer = f"substr(answer, 1, {SAMPLE_CHARACTERS}) as answer"
    theirs = f"task = {quoted(task)} and problem <> ''"
    last = f"select max(batch) from log where {theirs}"
    found = log.ask(f"select problem, {answer}, query_id from log where {theirs} and batch = ({last})")
    return found[-1] if found else None


def no_lesson_lines(task: str, said: dict[str, Any] | None) -> list[str]:
    """Lines for people, in words that hold no markup; none where all rows are lessons.

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
