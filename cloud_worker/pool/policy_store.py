"""The store of pool policies: SQL, and the numbers of attempts beside it.

Rule:
 * A number is never used again, also where the database was lost; of one version of a task at most one policy serves.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Engine, func, insert, select, update

from cloud_worker.pool.attempts import PoolAttempts
from cloud_worker.pool.policies import PolicyState, PoolFigures, Proved, StoredPolicy
from cloud_worker.pool.word_features import WordHead
from cloud_worker.state.schema import POLICIES
from router.core.domain.task import Task
from router.core.policy.pool_routing import PoolPolicy

_POLICY = TypeAdapter(PoolPolicy)


class PoolPolicies:
    """The policies of all tasks."""

    def __init__(self, engine: Engine, attempts: PoolAttempts | None = None) -> None:
        """Keep them in ``engine``'s database, and their numbers in ``attempts`` too, as whoever adds any must."""
        self._engine, self._attempts = engine, attempts
        if attempts is not None:  # a store may be older than they are
            with engine.connect() as connection:
                last = select(POLICIES.c.task, func.max(POLICIES.c.number)).group_by(POLICIES.c.task)
                for task, number in connection.execute(last):
                    attempts.spend(task, number)

    @classmethod
    def with_attempts(cls, engine: Engine, folder: Path) -> PoolPolicies:
        """The policies in ``engine``'s database, their numbers kept in ``folder`` too."""
        return cls(engine, PoolAttempts(folder))

    def next_number(self, task: Task) -> int:
        """A number that no policy of the task has had, also before the database was lost and made anew."""
        with self._engine.connect() as connection:
            last = connection.execute(select(func.max(POLICIES.c.number)).where(POLICIES.c.task == task.name)).scalar()
        return max(int(last or 0), 0 if self._attempts is None else self._attempts.of(task.name)) + 1

    def add(self, stored: StoredPolicy) -> None:
        """Keep a new one; ``IntegrityError`` if its number is taken."""
        if self._attempts is not None:
            self._attempts.spend(stored.task, stored.number)
        with self._engine.begin() as connection:
            connection.execute(insert(POLICIES).values(**_columns(stored)))

    def change(self, stored: StoredPolicy, state: PolicyState, note: str = "", served_after: int | None = None) -> None:
        """Let a policy stand elsewhere, as ``stored`` is now; one that serves takes the place of the one before."""
        with self._engine.begin() as connection:
            if state is PolicyState.SERVING:
                connection.execute(
                    update(POLICIES)
                    .where(POLICIES.c.task == stored.task, POLICIES.c.state == PolicyState.SERVING.value)
                    .values(state=PolicyState.RETIRED.value)
                )
            after = stored.served_after if served_after is None else served_after
            policy = _columns(stored)["policy"]
            values = {"state": state.value, "note": note, "served_after": after, "policy": policy}
            connection.execute(update(POLICIES).where(*_is(stored)).values(**values))

    def tell(self, stored: StoredPolicy, figures: PoolFigures) -> None:
        """Keep what the rows say of a policy now."""
        with self._engine.begin() as connection:
            values = {"figures": TypeAdapter(PoolFigures).dump_json(figures).decode()}
            connection.execute(update(POLICIES).where(*_is(stored)).values(**values))

    def of(self, task: Task) -> list[StoredPolicy]:
        """Those of the task's present version, oldest first."""
        mine = (POLICIES.c.task == task.name) & (POLICIES.c.version == task.version)
        with self._engine.connect() as connection:
            rows = connection.execute(select(POLICIES).where(mine).order_by(POLICIES.c.number))
            return [_stored(dict(row._mapping)) for row in rows]

    def serving(self, task: Task) -> StoredPolicy | None:
        """The one that serves."""
        return next((stored for stored in self.of(task) if stored.state is PolicyState.SERVING), None)


def _is(stored: StoredPolicy) -> tuple[Any, Any]:
    return POLICIES.c.task == stored.task, POLICIES.c.number == stored.number


def _columns(stored: StoredPolicy) -> dict[str, Any]:
    words = [{"weights": head.pack(), "bias": head.bias} for head in stored.words]
    names = ("task", "number", "version", "reference_version", "rate", "patience", "rows", "freeze", "served_after")
    plain = {name: getattr(stored, name) for name in (*names, "created_at", "note")}
    proved = None if stored.proved is None else asdict(stored.proved)
    policy = json.dumps({"policy": _POLICY.dump_python(stored.policy, mode="json"), "words": words, "proved": proved})
    figures = TypeAdapter(PoolFigures).dump_json(stored.figures).decode()
    return {**plain, "state": stored.state.value, "policy": policy, "figures": figures}


def _stored(row: dict[str, Any]) -> StoredPolicy:
    packed = json.loads(row["policy"])
    words = tuple(WordHead.unpack(head["weights"], head["bias"]) for head in packed["words"])
    figures = TypeAdapter(PoolFigures).validate_json(row["figures"])
    proved = Proved(**packed["proved"]) if packed.get("proved") else None
    changed = {
        "proved": proved,
        "state": PolicyState(row["state"]),
        "policy": _POLICY.validate_python(packed["policy"]),
        "words": words,
    }
    return StoredPolicy(**{**row, **changed, "figures": figures})
