"""How a task's answers are compared in the cloud: one function, whatever the judge."""

from __future__ import annotations

from collections.abc import Callable

from router.task import Task, agree

Judging = Callable[[str, str, str], bool]  # (what was asked, an answer, the reference's) -> the same?


def agreeing(task: Task) -> Judging:
    """The task's judge."""

    def judge(asked: str, answer: str, reference: str) -> bool:
        return agree(task.judge, answer, reference)

    return judge
