"""What a version of a task has used up, kept while another version is in force.

Rules:
 * An attempt spends assurance of its lineage, so the attempts of a version never begin anew: when the version comes
   back, they go on, and so does the operator's mode.
 * A store that is older than this table takes the attempts from the manifests of the releases, once for each version.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from cloud_worker.state.schema import LEFT
from router.core.domain.task import Mode


@dataclass(frozen=True, slots=True)
class Left:
    """How a version was left: its attempts so far, and the operator's mode."""

    attempt: int = 0
    mode: Mode = Mode.SERVE


def leave(connection: Connection, task: str, version: int, left: Left) -> None:
    """Keep what a version has used up, now that another one comes into force."""
    connection.execute(delete(LEFT).where(LEFT.c.task == task, LEFT.c.version == version))
    values = {"attempt": left.attempt, "mode": left.mode}
    connection.execute(insert(LEFT).values(task=task, version=version, **values))


def come_back(connection: Connection, task: str, version: int) -> Left:
    """What a version had used up when it was left; nothing where it never was in force."""
    row = connection.execute(select(LEFT).where(LEFT.c.task == task, LEFT.c.version == version)).first()
    return Left() if row is None else Left(row.attempt, row.mode)


def was_left(connection: Connection, task: str, version: int) -> bool:
    """Whether anything was ever kept of a version."""
    return connection.execute(select(LEFT).where(LEFT.c.task == task, LEFT.c.version == version)).first() is not None
