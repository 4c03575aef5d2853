"""How a task's answers are compared in the cloud: one function, whatever the judge."""

from __future__ import annotations

from cloud_worker.config.cloud import CloudConfig
from router.core.certification.trial import Judging
from router.core.domain.task import Judge, Task, agree


def agreeing(task: Task, config: CloudConfig) -> Judging:
    """The task's judge. A verdict model is opened when the first pair needs it.

    Args:
        task: Whose answers are compared.
        config: Names the verdict model.
    """
    if task.judge is Judge.VERDICT:
        from cloud_worker.judging.model_judge import Verdicts  # torch: seconds

        return Verdicts(config.verdict, config.verdicts_folder)

    def judge(asked: str, answer: str, reference: str) -> bool:
        return agree(task.judge, answer, reference)

    return judge


def judged_by(task: Task, judging: Judging) -> str:
    """What the promise is kept as judged by: the name of a rule, or the version of a verdict model.

    Args:
        task: The task.
        judging: As ``agreeing`` gives it.

    Raises:
        OperatorError: The verdict model can't be opened, or may not judge.
    """
    version = getattr(judging, "version", "")
    return str(version or task.judge.value)
