"""Policies of the pool in the store: which cheaper teacher may answer what.

Rules:
 * A number is never used again, also where the database was lost; of one version of a task at most one policy serves.
 * A policy speaks of one version of the reference: another one unmakes it.
 * It serves only while its certificate speaks for the task as it is configured: its teachers, reference and judge, its
   part of the promise and of the assurance. What falls with a stricter objective stands again when that is taken back.
 * The refresher writes; gateways read what serves, and look again after a while.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Engine, func, insert, select, update

from cloud_worker.pool.attempts import PoolAttempts
from cloud_worker.pool.word_features import WordHead
from cloud_worker.state.schema import POLICIES
from cloud_worker.state.store import Store
from router.core.domain.task import Mode, Task
from router.core.policy.pool_routing import PoolPolicy
from router.core.statistics.e_process import attempt_alpha

CHECK_SECONDS = 2.0  # between two checks of a gateway

_POLICY = TypeAdapter(PoolPolicy)
_ROUNDING = 1e-12


class PolicyState(StrEnum):
    """Where a policy stands."""

    WAITING = "waiting"  # for its certificate
    SERVING = "serving"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"  # it served, and broke its promise or lost its ground
    RETIRED = "retired"  # a better one serves


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """What the explored rows say of a policy.

    Attributes:
        rows: Observed: to certify it, or since it serves.
        losses: Of them, those where a cheaper teacher's answer stood, or would have, and differs from the reference's.
        stood: Share of what leaves the devices that a cheaper teacher answers, in [0, 1].
        saved: Share of the reference's cost of what leaves the devices that is saved, at most 1.
    """

    rows: int = 0
    losses: int = 0
    stood: float = 0.0
    saved: float = 0.0


@dataclass(frozen=True, slots=True)
class Proved:
    """What a policy's certificate is for.

    Attributes:
        allowance: Largest loss that it speaks against, in (0, 1).
        alpha: Chance of a false certificate that it spends, in (0, 1).
        reference: Name of the reference that it agrees with.
        judge: Name of the rule that says so.
    """

    allowance: float
    alpha: float
    reference: str
    judge: str

    @classmethod
    def of(cls, task: Task, number: int) -> Proved:
        """What policy ``number`` has to prove for a task as it is now."""
        part = task.at_pool
        return cls(part.max_disagreement, attempt_alpha(part.assurance, number), task.reference, task.judge.value)


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy of a task's pool.

    Attributes:
        task: Its task.
        version: The task's version.
        number: Its own, from 1; the attempt of the task's lineage that it spends.
        reference_version: Of the reference that it agrees with.
        state: Where it stands.
        policy: What it does.
        words: A head for each of its teachers.
        rate: Lowest exploration rate whose rows may certify it, in (0, 1].
        patience: Most rows that it may observe.
        rows: That it was fitted on.
        freeze: Last batch of the log that it may have learned from.
        served_after: Last batch of the log when it began to serve.
        created_at: Unix time in seconds.
        note: Why it stands there.
        figures: What the rows said last.
        proved: What its certificate is for; ``None`` in an old one, which did not note it, and proves nothing.
    """

    task: str
    version: int
    number: int
    reference_version: str
    state: PolicyState
    policy: PoolPolicy
    words: tuple[WordHead, ...]
    rate: float
    patience: int
    rows: int
    freeze: int
    served_after: int
    created_at: float
    note: str = ""
    figures: PoolFigures = PoolFigures()
    proved: Proved | None = None

    def why_fallen(self, task: Task) -> str:
        """Why its certificate does not speak for a task as it is now; empty when it does."""
        if self.proved is None:
            return "what it was certified for is not known"
        part, gone = task.at_pool, {tier.teacher for tier in self.policy.tiers} - {*task.cheaper.teachers}
        if gone:
            return f"teacher {min(gone)} does not stand before the reference any more"
        if self.proved.reference != task.reference:
            return f"its reference was {self.proved.reference}, and is {task.reference}"
        if self.proved.judge != task.judge.value:
            return f"it was judged by {self.proved.judge}, and the judge is {task.judge.value}"
        if self.proved.allowance > part.max_disagreement + _ROUNDING:
            return f"it was certified for {self.proved.allowance:.2%}, and {part.max_disagreement:.2%} is its part"
        if self.proved.alpha > attempt_alpha(part.assurance, self.number) + _ROUNDING:
            return "its assurance is below its part of what is promised"
        return ""


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


class Serving:
    """What serves, as a gateway knows it: read again when it is older than ``CHECK_SECONDS``."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        """Read from ``store``; ``clock`` tells seconds."""
        self._store = store
        self._policies = PoolPolicies(store.engine)
        self._clock = clock
        self._known: dict[str, tuple[float, StoredPolicy | None]] = {}

    def of(self, task: Task) -> StoredPolicy | None:
        """The policy that serves a task, none while the operator has the reference answer; may read the store.

        One whose certificate does not speak for ``task`` serves nothing.
        """
        known = self._known.get(task.name)
        if known is None or self._clock() - known[0] > CHECK_SECONDS:
            free = self._store.task_state(task.name).mode is Mode.SERVE
            found = self._policies.serving(task) if free else None
            known = (self._clock(), None if found is None or found.why_fallen(task) else found)
            self._known[task.name] = known
        return known[1]


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
