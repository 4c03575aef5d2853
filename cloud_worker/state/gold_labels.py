"""Gold labels: which drawn rows of the log people label, and what they said.

A row's rank is its hash under a secret of the task, times the rate at which its query was drawn. Handing out rows in
the order of their ranks gives every covered query the same chance, whatever the rate was when it was asked, and
nothing known of a row but its id and that rate decides.

Rules:
 * Only covered rows of a verified draw are handed out: they were logged with consent, and speak of the promise.
 * What is handed out carries the question alone: neither the student's answer nor the teacher's, nor the score.
 * A row belongs to who took it first; a share of them is labelled twice, by somebody else.
 * A label again by the same person replaces the one before; the same label again changes nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Table, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from cloud_worker.state.schema import DRAWS, GOLD, GOLD_SECRETS
from router.core.domain.record import Record, may_certify, unit_interval
from router.core.policy.exploration import SEED_BYTES, draw

DOUBLE_SHARE = 0.1  # of the rows, labelled by two people
HELD_SECONDS = 7 * 86_400.0  # a row that was taken and not labelled is then free again

Key = tuple[str, str, str]  # caller, query id, teacher version


@dataclass(frozen=True, slots=True)
class Drawn:
    """One row that was handed out.

    Attributes:
        key: Of its record.
        rank: In the draw, in [0, exploration).
        exploration: Rate at which its query was drawn, in (0, 1].
        release: The student's that it met, 0 for none.
        twice: It is to be labelled by two people.
        taken_by: Who took it first.
        taken_at: Unix time in seconds.
    """

    key: Key
    rank: float
    exploration: float
    release: int
    twice: bool
    taken_by: str
    taken_at: float


@dataclass(frozen=True, slots=True)
class Label:
    """What one person said of one row.

    Attributes:
        key: Of its record.
        who: The person.
        label: The right answer; empty where it is skipped.
        skipped: The person can't tell.
        blind: Given without seeing an answer. Only such labels speak of accuracy.
        at: Unix time in seconds.
        subject: Whom the question concerns.
    """

    key: Key
    who: str
    label: str
    skipped: bool = False
    blind: bool = True
    at: float = 0.0
    subject: str = ""


class Gold:
    """The gold labels of every task, beside the rest of the fleet's state."""

    def __init__(self, engine: Engine, double_share: float = DOUBLE_SHARE) -> None:
        """Keep them in the database of ``engine``."""
        self._engine = engine
        self._double_share = double_share

    def take(self, task: str, who: str, rows: Sequence[Record], most: int, now: float) -> list[Record]:
        """Rows for one person to label, at most ``most``: first what is still open with them, then new ones.

        Args:
            task: The task.
            who: The person.
            rows: The task's current records; those that were not drawn, or don't count in the promise, are left out.
            most: How many.
            now: Unix time in seconds.
        """
        by_key = {row.key: row for row in rows if may_certify(row) and row.exploration > 0}
        drawn, said = {one.key: one for one in self.drawn(task)}, self._said(task)
        chosen = [
            by_key[key]
            for key, one in sorted(drawn.items(), key=lambda pair: pair[1].rank)
            if key in by_key and _is_open(one, said.get(key, set()), who, now)
        ][:most]
        fresh = [row for key, row in by_key.items() if key not in drawn]
        if fresh and len(chosen) < most:
            secret = self._secret(task)
            ranks = {row.key: rank_of(secret, row) for row in fresh}
            fresh.sort(key=lambda row: (ranks[row.key], row.key))
            new = fresh[: most - len(chosen)]
            self._hand_out(task, who, [(row, ranks[row.key]) for row in new], now)
            chosen += new
        retaken = [row.key for row in chosen if row.key in drawn and not said.get(row.key)]
        self._retake(task, who, retaken, now)
        return chosen

    def label(self, task: str, labels: Iterable[Label]) -> int:
        """Keep labels, all or none; how many of them changed anything."""
        changed = 0
        with self._engine.begin() as connection:
            for one in labels:
                mine = (*_is(GOLD, task, one.key), GOLD.c.who == one.who)
                known = connection.execute(select(GOLD).where(*mine)).first()
                if known is not None and (known.label, bool(known.skipped)) == (one.label, one.skipped):
                    continue
                connection.execute(delete(GOLD).where(*mine))
                values: dict[str, Any] = {
                    "who": one.who,
                    "label": one.label,
                    "skipped": one.skipped,
                    "blind": one.blind,
                }
                values |= {"subject": one.subject, "labelled_at": one.at}
                connection.execute(insert(GOLD).values(**_columns(task, one.key), **values))
                changed += 1
        return changed

    def unlabel(self, task: str, key: Key, who: str) -> None:
        """Take one person's label of one row back."""
        with self._engine.begin() as connection:
            connection.execute(delete(GOLD).where(*_is(GOLD, task, key), GOLD.c.who == who))

    def drawn(self, task: str) -> list[Drawn]:
        """Every row that was handed out."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(DRAWS).where(DRAWS.c.task == task)).all()
        return [
            Drawn(_key(row), row.place, row.exploration, row.release, bool(row.twice), row.taken_by, row.taken_at)
            for row in rows
        ]

    def labels(self, task: str) -> list[Label]:
        """Every label, skipped rows too, oldest first."""
        with self._engine.connect() as connection:
            query = select(GOLD).where(GOLD.c.task == task).order_by(GOLD.c.labelled_at)
            return [_label(row) for row in connection.execute(query)]

    def forget(self, *, caller: str = "", subject: str = "") -> int:
        """Erase what concerns a device, or a subject; how many rows that were handed out are gone.

        Raises:
            ValueError: Neither is named.
        """
        if not caller and not subject:
            raise ValueError("name a caller or a subject")
        which = DRAWS.c.caller == caller if caller else DRAWS.c.subject == subject
        with self._engine.begin() as connection:
            gone = connection.execute(select(DRAWS).where(which)).all()
            for row in gone:
                connection.execute(delete(GOLD).where(*_is(GOLD, row.task, _key(row))))
                connection.execute(delete(DRAWS).where(*_is(DRAWS, row.task, _key(row))))
            concerned = GOLD.c.caller == caller if caller else GOLD.c.subject == subject
            connection.execute(delete(GOLD).where(concerned))
        return len(gone)

    def count(self, *, caller: str = "", subject: str = "") -> int:
        """How many rows that were handed out ``forget`` would erase."""
        which = DRAWS.c.caller == caller if caller else DRAWS.c.subject == subject
        with self._engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(DRAWS).where(which)).scalar_one())

    def _said(self, task: str) -> dict[Key, set[str]]:
        said: dict[Key, set[str]] = {}
        for one in self.labels(task):
            if one.blind:
                said.setdefault(one.key, set()).add(one.who)
        return said

    def _secret(self, task: str) -> bytes:
        """The key of the task's draw, made once: devices, which choose ids, can't know what will be drawn."""
        query = select(GOLD_SECRETS.c.secret).where(GOLD_SECRETS.c.task == task)
        with self._engine.connect() as connection:
            known = connection.execute(query).scalar()
        if known is None:
            try:
                with self._engine.begin() as connection:
                    connection.execute(insert(GOLD_SECRETS).values(task=task, secret=secrets.token_bytes(SEED_BYTES)))
            except IntegrityError:
                pass  # another process was first
            with self._engine.connect() as connection:
                known = connection.execute(query).scalar_one()
        return bytes(known)

    def _hand_out(self, task: str, who: str, rows: Sequence[tuple[Record, float]], now: float) -> None:
        values = [
            {
                **_columns(task, row.key),
                "place": rank,
                "exploration": row.exploration,
                "release": row.release,
                "subject": row.subject,
                "twice": unit_interval("gold-twice", row.caller, row.query_id) < self._double_share,
                "taken_by": who,
                "taken_at": now,
            }
            for row, rank in rows
        ]
        if values:
            with self._engine.begin() as connection:
                connection.execute(insert(DRAWS), values)

    def _retake(self, task: str, who: str, keys: Sequence[Key], now: float) -> None:
        with self._engine.begin() as connection:
            for key in keys:
                connection.execute(update(DRAWS).where(*_is(DRAWS, task, key)).values(taken_by=who, taken_at=now))


def rank_of(secret: bytes, row: Record) -> float:
    """A row's rank in the draw for labelling, in [0, its exploration rate)."""
    return draw(secret, f"{row.caller}\x1f{row.query_id}") * row.exploration


def _is_open(one: Drawn, said_by: set[str], who: str, now: float) -> bool:
    """Whether a row that was handed out waits for this person."""
    if said_by:
        return one.twice and len(said_by) < 2 and who not in said_by
    return one.taken_by == who or now - one.taken_at > HELD_SECONDS


def _columns(task: str, key: Key) -> dict[str, str]:
    return dict(zip(("task", "caller", "query_id", "teacher_version"), (task, *key), strict=True))


def _is(table: Table, task: str, key: Key) -> list[Any]:
    return [table.c[name] == value for name, value in _columns(task, key).items()]


def _key(row: Any) -> Key:
    return (row.caller, row.query_id, row.teacher_version)


def _label(row: Any) -> Label:
    return Label(_key(row), row.who, row.label, bool(row.skipped), bool(row.blind), row.labelled_at, row.subject)
