"""A task as its operator signed it, and whether a release serves that task and no other.

The release's own manifest is signed by a key that is online. What a thief of that key must not change is signed apart,
by a key that is offline, as the target ``tasks/<task>.json``.

Rules:
 * How a student is made (its kind, recipe, options and base) may change online; everything else of a task may not.
 * A release may know fewer labels than were signed: a label that was added since escalates until a student knows it.
"""

from __future__ import annotations

from dataclasses import fields, replace

from pydantic import TypeAdapter, ValidationError

from router.core.domain.task import Task
from router.core.errors import ReleaseError
from router.core.ranges import out_of_range, shortened
from router.core.release.manifest import Manifest

MADE_ONLINE = frozenset({"student", "recipe", "options", "base"})
SIGNED_FIELDS = tuple(field.name for field in fields(Task) if field.name not in MADE_ONLINE)

_TASK = TypeAdapter(Task)


def task_target(task: str) -> str:
    """The name of a signed task in the repository."""
    return f"tasks/{task}.json"


def manifest_target(task: str, release: int) -> str:
    """The name of a release's manifest in the repository."""
    return f"models/{task}/{release}/manifest.json"


def write_signed_task(task: Task) -> bytes:
    """What the offline key signs of a task, as JSON in UTF-8."""
    return _TASK.dump_json(replace(task, **{name: _DEFAULTS[name] for name in MADE_ONLINE}), indent=1)


def read_signed_task(data: bytes) -> Task:
    """The task that the bytes spell.

    Raises:
        ReleaseError: They are no task.
    """
    try:
        task = _TASK.validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise ReleaseError(f"the signed task: {path or 'content'}: {first['msg']}") from error
    found = out_of_range(task)
    if found is not None:
        raise ReleaseError(f"the signed task: {found[0]} {found[1]}")
    return task


def differing_field(task: Task, signed: Task) -> str:
    """The first field of a task that is not as it was signed, with both values; empty when all are."""
    for name in SIGNED_FIELDS:
        ours, theirs = getattr(task, name), getattr(signed, name)
        if ours != theirs and not (name == "labels" and _are_among(ours, theirs)):
            return f"{name} is {shortened(ours)}, and {shortened(theirs)} was signed"
    return ""


def _are_among(labels: tuple[str, ...], signed: tuple[str, ...]) -> bool:
    return not signed or set(labels) <= set(signed)


def check_signed_task(manifest: Manifest, signed: Task) -> None:
    """Check that a release serves the task that was signed.

    Raises:
        ReleaseError: Names the field that differs.
    """
    problem = differing_field(manifest.task, signed)
    if problem:
        raise ReleaseError(f"its task differs from the signed one: {problem}")


_DEFAULTS = {name: getattr(Task("", ""), name) for name in MADE_ONLINE}
