"""What a version of a task has used up, kept while another version is in force.

Rules:
 * An attempt spends assurance of its lineage, so the attempts of a version never begin anew: when the version comes
   back, they go on, and so does the operator's mode.
 * A store that is older than this table takes the attempts from the manifests of the releases, once for each version.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, delete, insert, select

from router.core.domain.task import Mode

METADATA = MetaData()
_LEFT = Table(
    "versions_left",
    METADATA,
    Column("task", String(200), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("mode", String(20), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Left:
    """How a version was left: its attempts so far, and the operator's mode."""

    attempt: int = 0
    mode: Mode = Mode.SERVE


def leave(connection: Connection, task: str, version: int, left: Left) -> None:
    """Keep what a version has used up, now that another one comes into force."""
    connection.execute(delete(_LEFT).where(_LEFT.c.task == task, _LEFT.c.version == version))
    values = {"attempt": left.attempt, "mode": left.mode.value}
    connection.execute(insert(_LEFT).values(task=task, version=version, **values))


def come_back(connection: Connection, task: str, version: int) -> Left:
    """What a version had used up when it was left; nothing where it never was in force."""
    row = connection.execute(select(_LEFT).where(_LEFT.c.task == task, _LEFT.c.version == version)).first()
    return Left() if row is None else Left(row.attempt, Mode(row.mode))


def was_left(connection: Connection, task: str, version: int) -> bool:
    """Whether anything was ever kept of a version."""
    return connection.execute(select(_LEFT).where(_LEFT.c.task == task, _LEFT.c.version == version)).first() is not None
