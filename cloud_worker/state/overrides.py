"""The operator override of each task, and the record of who set it.

Rules:
 * A change and its record are one transaction; a command that changes nothing records nothing.
 * An override is of one version of a task: a new version begins without one.
 * Who carries a change out reads it here: devices by their next orders, the refresher at its next step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update

from cloud_worker.state.columns import read_object
from cloud_worker.state.database.engine import writing
from cloud_worker.state.schema import AUDIT, OVERRIDES, TASKS
from router.core.domain.task import Mode


@dataclass(frozen=True, slots=True)
class Override:
    """What the operator has ordered for one task.

    Attributes:
        mode: Serve, observe or escalate all.
        frozen: No refresh.
        pinned: The release that is to serve until it is unpinned, ``None`` for whichever is certified.
        forced: It is pinned although its certificate does not stand.
        mode_since: Unix time in seconds of the last change of mode, 0 before the first.
    """

    mode: Mode = Mode.SERVE
    frozen: bool = False
    pinned: int | None = None
    forced: bool = False
    mode_since: float = 0.0

    @property
    def holds(self) -> str:
        """Why there is no refresh and no promotion; empty while nothing holds them."""
        if self.pinned is not None:
            return f"release {self.pinned} is pinned"
        return "frozen" if self.frozen else ""


@dataclass(frozen=True, slots=True)
class Action:
    """One change of an override.

    Attributes:
        at: Unix time in seconds.
        who: Name of who did it.
        task: To which task.
        did: What was done, in one word, with the release where there is one.
        why: The reason that was given, may be empty.
        before: The override before it.
        after: The override after it.
    """

    at: float
    who: str
    task: str
    did: str
    why: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


class Overrides:
    """The overrides of all tasks, beside the rest of the fleet's state."""

    def __init__(self, engine: Engine) -> None:
        """Keep them in the database of ``engine``."""
        self._engine = engine

    def of(self, task: str) -> Override:
        """The override of a task in its present version; ``KeyError`` without the task."""
        with self._engine.connect() as connection:
            return _read(connection, task)[1]

    def of_all(self) -> dict[str, Override]:
        """The override of each task in its present version, by the task's name."""
        with self._engine.connect() as connection:
            states = connection.execute(select(TASKS.c.name, TASKS.c.version, TASKS.c.mode)).all()
            laid = {(row.task, row.version): row for row in connection.execute(select(OVERRIDES))}
        return {state.name: _override_of(state.mode, laid.get((state.name, state.version))) for state in states}

    def lay(
        self, action: str, task: str, *, who: str, why: str, now: float, **changes: Any
    ) -> tuple[Override, Override]:
        """Change an override, and record it.

        Args:
            action: What was done, as the record is to say it.
            task: To which task.
            who: Name of who does it.
            why: The reason, may be empty.
            now: Unix time in seconds.
            changes: Fields of ``Override``.

        Returns:
            The override before, and after; equal where nothing changed and nothing was recorded.
        """
        with writing(self._engine) as connection:
            version, before = _read(connection, task, to_write=True)
            after = replace(before, **changes)
            if after == before:
                return before, before
            if after.mode is not before.mode:
                after = replace(after, mode_since=now)
                connection.execute(update(TASKS).where(TASKS.c.name == task).values(mode=after.mode))
            _write(connection, task, version, after)
            words = {"before": json.dumps(_said(before)), "after": json.dumps(_said(after))}
            connection.execute(insert(AUDIT).values(at=now, who=who, task=task, did=action, why=why, **words))
        return before, after

    def record(self, action: str, *, who: str, why: str, now: float, task: str = "") -> None:
        """Record what was done to the fleet, and to the override of no task.

        Args:
            action: What was done, as the record is to say it.
            who: Name of who did it.
            why: The reason, may be empty.
            now: Unix time in seconds.
            task: Of which task, where it is about one.
        """
        with self._engine.begin() as connection:
            values = {"task": task, "did": action, "why": why, "before": "{}", "after": "{}"}
            connection.execute(insert(AUDIT).values(at=now, who=who, **values))

    def actions(self, task: str = "") -> list[Action]:
        """What was done, oldest first; to every task where none is named."""
        query = select(AUDIT).order_by(AUDIT.c.number)
        if task:
            query = query.where(AUDIT.c.task == task)
        with self._engine.connect() as connection:
            return [_action(row) for row in connection.execute(query)]


def _read(connection: Connection, task: str, *, to_write: bool = False) -> tuple[int, Override]:
    """The task's version, and its override; who is ``to_write`` lets no other do so before the transaction ends."""
    query = select(TASKS.c.version, TASKS.c.mode).where(TASKS.c.name == task)
    state = connection.execute(query.with_for_update() if to_write else query).first()
    if state is None:
        raise KeyError(task)
    mine = (OVERRIDES.c.task == task, OVERRIDES.c.version == state.version)
    row = connection.execute(select(OVERRIDES).where(*mine)).first()
    return state.version, _override_of(state.mode, row)


def _override_of(mode: Mode, row: Any) -> Override:
    """The override that the tables hold; a free one without a row."""
    if row is None:
        return Override(mode)
    return Override(mode, bool(row.frozen), row.pinned, bool(row.forced), row.mode_since)


def _write(connection: Connection, task: str, version: int, override: Override) -> None:
    connection.execute(delete(OVERRIDES).where(OVERRIDES.c.task == task, OVERRIDES.c.version == version))
    values = {key: value for key, value in asdict(override).items() if key != "mode"}
    connection.execute(insert(OVERRIDES).values(task=task, version=version, **values))


def _said(override: Override) -> dict[str, Any]:
    return {
        "mode": override.mode.value,
        "frozen": override.frozen,
        "pinned": override.pinned,
        "forced": override.forced,
    }


_NOTED = "an action in the audit"


def _action(row: Any) -> Action:
    before, after = (read_object(said, _NOTED) for said in (row.before, row.after))
    return Action(row.at, row.who, row.task, row.did, row.why, before, after)
