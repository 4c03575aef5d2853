"""Whether the tables of ``cloud.toml`` fit one another: what one of them names has to be there, and to do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cloud_worker.config.paths import is_file
from cloud_worker.config.recipe_needs import instruction_of, wants_rationales
from cloud_worker.config.recipes import check_recipe
from cloud_worker.config.teachers import (
    TeacherSettings,
    VllmSettings,
    WritingSettings,
)
from router.core.domain.limits import MAX_TASK_BYTES
from router.core.domain.plain_names import same_name, why_no_folder, why_no_name, why_too_long
from router.core.domain.query import MAX_TEXT_BYTES, check_limits
from router.core.domain.task import LABEL_STUDENTS, WRITING_STUDENTS, Judge, Kind, Task
from router.core.errors import BadInputError, ConfigError, OperatorError
from router.io.redactors import redaction_of


def check_data_path(path: Path, data: Path) -> None:
    """Check that the data folder can be one.

    Raises:
        ConfigError: It can't; says why.
    """
    problem = why_no_folder(str(data)) or why_too_long(os.path.realpath(data))  # a circle of links it leaves as it is
    if problem:
        raise ConfigError(str(path), "data", problem)


def check_teachers(path: Path, teachers: Sequence[TeacherSettings]) -> None:
    """Check that every teacher has a name of its own, its files, and a port that the others agree to.

    Raises:
        ConfigError: Names the teacher and the key.
    """
    _check_names(path, "teachers", [teacher.name for teacher in teachers])
    for teacher in teachers:
        _check_files(path, teacher)
    ports = {teacher.port for teacher in teachers if isinstance(teacher, VllmSettings)}
    if len(ports) > 1:
        raise ConfigError(str(path), "teachers.port", f"is {sorted(ports)}; all teachers of kind vllm share one")


def check_tasks(path: Path, tasks: Sequence[Task], teachers: Sequence[TeacherSettings], verdict_model: str) -> None:
    """Check that every task has a name of its own, and that what it names is there and can do what it wants.

    Raises:
        ConfigError: Names the task and the key.
    """
    names = [task.name for task in tasks]
    _check_names(path, "tasks", names)
    known = {teacher.name: teacher for teacher in teachers}
    for task in tasks:
        if task.judge is Judge.VERDICT and not verdict_model:
            raise ConfigError(str(path), "verdict.model", f"is missing; task {task.name} has the judge verdict")
        if task.reference not in known:
            problem = f"{task.reference!r} is no teacher; known: {list(known)}"
            raise ConfigError(str(path), f"tasks.{task.name}.reference", problem)
        _check_redactors(path, task)
        _check_limits(path, task)
        _check_cheaper(path, task, list(known))
        _check_student(path, task)
        check_recipe(str(path), task, names)
        _check_reference(path, task, known[task.reference])


def _check_redactors(path: Path, task: Task) -> None:
    try:
        redaction_of(task.privacy.redact)
    except OperatorError as error:
        raise ConfigError(str(path), f"tasks.{task.name}.privacy.redact", str(error)) from error


def _check_names(path: Path, key: str, names: Sequence[str]) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ConfigError(str(path), key, f"{sorted(twice)} is named twice")
    _check_plain(path, key, names)


def _check_plain(path: Path, key: str, names: Sequence[str]) -> None:
    """Check names that become folders and actors."""
    for position, name in enumerate(names):
        problem = why_no_name(name)
        if problem:
            raise ConfigError(str(path), f"{key}.{position}.name", f"{name!r} {problem}")
        alike = [other for other in names if other != name and same_name(other) == same_name(name)]
        if alike:
            raise ConfigError(str(path), f"{key}.{position}.name", f"{name!r} is {alike[0]!r} to some file systems")


def _check_limits(path: Path, task: Task) -> None:
    if not 1 <= task.max_text_bytes <= MAX_TEXT_BYTES:
        problem = f"is {task.max_text_bytes}; use 1 to {MAX_TEXT_BYTES}, which is what one message takes"
        raise ConfigError(str(path), f"tasks.{task.name}.max_text_bytes", problem)
    if len(task.name.encode()) > MAX_TASK_BYTES:
        raise ConfigError(str(path), "tasks.name", f"has {len(task.name.encode())} bytes; use {MAX_TASK_BYTES} at most")
    try:
        check_limits(task.limits)
    except BadInputError as error:
        problem = str(error).removeprefix(f"{error.field} ")
        raise ConfigError(str(path), f"tasks.{task.name}.{error.field}", problem) from error


def _check_cheaper(path: Path, task: Task, teachers: Sequence[str]) -> None:
    unknown = [name for name in task.cheaper.teachers if name not in teachers]
    if unknown:
        raise ConfigError(
            str(path), f"tasks.{task.name}.cheaper.teachers", f"{unknown[0]!r} is no teacher; known: {teachers}"
        )


def _check_files(path: Path, teacher: TeacherSettings) -> None:
    for key in teacher.FILES:
        file = getattr(teacher, key)
        if (file or key in teacher.NEEDED) and not is_file(Path(file)):
            raise ConfigError(str(path), f"teachers.{teacher.name}.{key}", f"no such file: {file!r}")


def _check_reference(path: Path, task: Task, reference: TeacherSettings) -> None:
    if instruction_of(task) and not isinstance(reference, WritingSettings):
        problem = f"gives an instruction, and teacher {reference.name!r} follows none; set one that writes"
        raise ConfigError(str(path), f"tasks.{task.name}.options.rich", problem)
    gives = isinstance(reference, WritingSettings) and bool(reference.rationale_prompt)
    if wants_rationales(task) and not gives:
        problem = (
            f"learns from reasons, and teacher {reference.name!r} gives none; set another, or its rationale_prompt"
        )
        raise ConfigError(str(path), f"tasks.{task.name}.recipe", problem)


def _check_student(path: Path, task: Task) -> None:
    kinds = WRITING_STUDENTS if task.kind is Kind.TEXT else LABEL_STUDENTS
    if task.student not in kinds:
        known = f"a task of kind {task.kind.value} takes {' or '.join(kinds)}"
        raise ConfigError(str(path), f"tasks.{task.name}.student", f"{task.student!r} is unknown; {known}")
    if task.kind is Kind.TEXT and not task.base:
        problem = "is missing; name the model that its students start from, or that devices serve"
        raise ConfigError(str(path), f"tasks.{task.name}.base", problem)
