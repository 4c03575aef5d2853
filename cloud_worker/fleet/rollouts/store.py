"""Rollouts in the fleet's database.

Rules:
 * A task has one that is open at most, and one that is wanted at most.
 * A rollout is in force while its release is the task's latest: whatever serves after it supersedes it at once.
 * A change is made only where the rollout still stands as its writer saw it.
 * The devices of the last few rollouts of a task are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update

from cloud_worker.identity.tokens import read_labels
from cloud_worker.state.database.engine import writing
from cloud_worker.state.database.rollout_tables import ROLLOUT_DEVICES, ROLLOUTS
from router.core.release.rollout import RolloutState

OPEN = tuple(state for state in RolloutState if state.is_open)
MOST_WITH_DEVICES = 5  # rollouts of a task whose devices are kept
WHOLE = 1.0  # share of a fleet


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rollout.

    Attributes:
        id: Its own number.
        task: Of which task.
        state: Where it stands.
        content: The release that is to go out, as it was named.
        number: Under which number it goes out, 0 before that is known.
        base: The release that the others run.
        base_sha256: Of its manifest, in hex.
        labels: Which devices are meant; empty for all.
        steps: Shares of them, ascending, in (0, 1].
        step: The one that it is at, from 0.
        why: Why it stands so, in words.
        broken: Why the cloud holds the release to be worse than promised; empty where it does not.
        doubted: Why the cloud can't say yet; empty where it can.
        who: Name of who started it.
        began: Unix time in seconds.
        step_began: The same of its step.
        ended: The same, ``None`` while it is open.
    """

    id: int
    task: str
    state: RolloutState
    content: int
    number: int
    base: int
    base_sha256: str
    labels: Mapping[str, str]
    steps: tuple[float, ...]
    step: int
    why: str
    broken: str
    doubted: str
    who: str
    began: float
    step_began: float
    ended: float | None

    @property
    def share(self) -> float:
        """The share of the devices that are meant that may take it now, in (0, 1]."""
        return self.steps[self.step] if 0 <= self.step < len(self.steps) else WHOLE

    @property
    def is_last(self) -> bool:
        """Whether it has no further step."""
        return self.step >= len(self.steps) - 1

    @property
    def is_whole(self) -> bool:
        """Whether every device takes it, also one that comes new."""
        return not self.labels and self.share >= WHOLE and self.state is not RolloutState.HALTED


@dataclass(frozen=True, slots=True)
class Member:
    """A device in a rollout.

    Attributes:
        device: Its name.
        step: With which step it came in.
        since: Unix time in seconds since when it is ordered the release.
        before_milliseconds: 95th percentile of its time to answer then, 0 where that is not known.
        took: Unix time in seconds at which it was first seen to run it, ``None`` before.
        life: The incarnation of its agent, as reported last.
        starts: Of its agent since then, each soon after the one before.
        started: Unix time in seconds of the last of them, 0 before the first.
    """

    device: str
    step: int
    since: float
    before_milliseconds: float = 0.0
    took: float | None = None
    life: str = ""
    starts: int = 0
    started: float = 0.0


class Rollouts:
    """The rollouts of one fleet, in the database of its state."""

    def __init__(self, engine: Engine) -> None:
        """Keep them in the database of ``engine``."""
        self._engine = engine

    def add(self, task: str, state: RolloutState, *, now: float, **values: Any) -> int:
        """Add one and return its id; ``values`` are fields of ``Rollout``."""
        labels = json.dumps(dict(values.pop("labels", {})), sort_keys=True)
        empty = {"number": 0, "base": 0, "base_sha256": "", "step": 0, "why": "", "broken": "", "doubted": ""}
        row = {**empty, "who": "", **values, "task": task, "state": state, "labels": labels}
        with writing(self._engine) as connection:
            added = connection.execute(insert(ROLLOUTS).values(**row, began=now, step_began=now))
            _sweep(connection, task)
        assert added.inserted_primary_key is not None
        return int(added.inserted_primary_key[0])

    def change(self, rollout: Rollout, **changes: Any) -> bool:
        """Change some fields of one that still stands as it was read; whether it did."""
        mine = (ROLLOUTS.c.id == rollout.id, ROLLOUTS.c.state == rollout.state, ROLLOUTS.c.step == rollout.step)
        with self._engine.begin() as connection:
            return bool(connection.execute(update(ROLLOUTS).where(*mine).values(**changes)).rowcount)

    def end(self, rollout: Rollout, state: RolloutState, why: str, now: float) -> bool:
        """End one that still stands as it was read, at Unix time ``now`` in seconds; whether it did."""
        return self.change(rollout, state=state, why=why, ended=now)

    def open(self) -> list[Rollout]:
        """The rollouts that are open, by task."""
        return self._read(ROLLOUTS.c.state.in_(OPEN))

    def wanted(self, task: str) -> Rollout | None:
        """What an operator wants of a task and nobody has begun."""
        found = self._read(ROLLOUTS.c.task == task, ROLLOUTS.c.state == RolloutState.WANTED)
        return found[-1] if found else None

    def open_of(self, task: str, champion: int) -> Rollout | None:
        """The rollout of the release that is the latest of a task, ``None`` where every device runs that."""
        found = self._read(ROLLOUTS.c.task == task, ROLLOUTS.c.state.in_(OPEN), ROLLOUTS.c.number == champion)
        return found[-1] if found else None

    def history(self, task: str = "") -> list[Rollout]:
        """The rollouts of a task, or of every one, oldest first."""
        return self._read(*((ROLLOUTS.c.task == task,) if task else ()))

    def members(self, rollout: int) -> dict[str, Member]:
        """The devices of a rollout, by name."""
        columns = (column for column in ROLLOUT_DEVICES.c if column.name != "rollout")
        query = select(*columns).where(ROLLOUT_DEVICES.c.rollout == rollout).order_by(ROLLOUT_DEVICES.c.device)
        with self._engine.connect() as connection:
            return {row.device: Member(**row._mapping) for row in connection.execute(query)}

    def are_in(self, rollouts: Iterable[int], device: str) -> frozenset[int]:
        """Those of some rollouts that a device is in."""
        return frozenset(rollout for rollout, _ in self.members_among(rollouts, [device]))

    def members_among(self, rollouts: Iterable[int], devices: Iterable[str]) -> frozenset[tuple[int, str]]:
        """Each of some rollouts with each of some devices that is in it."""
        columns = ROLLOUT_DEVICES.c
        mine = (columns.rollout.in_([*rollouts]), columns.device.in_([*devices]))
        with self._engine.connect() as connection:
            found = connection.execute(select(columns.rollout, columns.device).where(*mine))
            return frozenset((row.rollout, row.device) for row in found)

    def let_in(self, rollout: int, members: Iterable[Member]) -> None:
        """Add devices to a rollout that are not in it."""
        rows = [{"rollout": rollout} | _values(one) for one in members]
        if rows:
            with self._engine.begin() as connection:
                connection.execute(insert(ROLLOUT_DEVICES), rows)

    def note(self, rollout: int, members: Iterable[Member]) -> None:
        """Keep the health that devices in a rollout reported."""
        with self._engine.begin() as connection:
            for one in members:
                mine = (ROLLOUT_DEVICES.c.rollout == rollout, ROLLOUT_DEVICES.c.device == one.device)
                connection.execute(update(ROLLOUT_DEVICES).where(*mine).values(**_values(one)))

    def _read(self, *which: Any) -> list[Rollout]:
        query = select(ROLLOUTS).where(*which).order_by(ROLLOUTS.c.id)
        with self._engine.connect() as connection:
            return [_rollout(row) for row in connection.execute(query)]


def _values(member: Member) -> dict[str, Any]:
    return {name: getattr(member, name) for name in Member.__slots__}


def _rollout(row: Any) -> Rollout:
    return Rollout(**{**row._mapping, "labels": read_labels(row.labels)})


def _sweep(connection: Connection, task: str) -> None:
    """Forget the devices of old rollouts of a task."""
    mine = select(ROLLOUTS.c.id).where(ROLLOUTS.c.task == task)
    last = connection.execute(mine.order_by(ROLLOUTS.c.id.desc()).limit(MOST_WITH_DEVICES)).scalars().all()
    old = mine.where(ROLLOUTS.c.id.not_in(last))
    connection.execute(delete(ROLLOUT_DEVICES).where(ROLLOUT_DEVICES.c.rollout.in_(old)))
