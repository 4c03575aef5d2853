"""Erasures: ordered by operators, carried out by the log's writer and by devices.

Rules:
 * The name of whom it concerns stands here until the cloud's part is done; afterwards its digest alone.
 * A device hears of each erasure until it has answered.
 * A key that was erased is refused by the writer for as long as somebody may ask with it again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, delete, func, insert, select, update

from cloud_worker.state.columns import read_object
from cloud_worker.state.database.engine import writing
from cloud_worker.state.database.erasure_tables import ERASED_AT_DEVICES, ERASED_KEYS, ERASURES
from cloud_worker.state.schema import DEVICES
from router.core.privacy.erasure import MOST_AT_ONCE, Erased, Erasure, digest_of

_KEYS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Ordered:
    """One erasure.

    Attributes:
        number: Of it.
        by_subject: It concerns a subject, not a device.
        digest: Of the name.
        name: Of whom it concerns; empty once it is done.
        at: When it was ordered, in Unix seconds: what was asked before is erased.
        who: Ordered it.
        done_at: When the cloud's part was done, in Unix seconds.
        counts: What was erased there, by kind.
    """

    number: int
    by_subject: bool
    digest: str
    name: str
    at: float
    who: str
    done_at: float | None
    counts: Mapping[str, int]


class Erasures:
    """The erasures that one fleet was ordered, in its database."""

    def __init__(self, engine: Engine) -> None:
        """Keep them in the database of ``engine``."""
        self._engine = engine

    def order(self, name: str, *, by_subject: bool, who: str, now: float) -> int:
        """Order one, at Unix time ``now``; its number. One that is not done yet takes the new one in."""
        digest = digest_of(name)
        mine = (ERASURES.c.digest == digest, ERASURES.c.by_subject == by_subject, ERASURES.c.done_at.is_(None))
        with writing(self._engine) as connection:
            known = connection.execute(select(ERASURES.c.number).where(*mine)).scalar()
            if known is not None:
                connection.execute(update(ERASURES).where(ERASURES.c.number == known).values(at=now))
                return int(known)
            values = {"by_subject": by_subject, "digest": digest, "name": name, "at": now, "who": who, "counts": "{}"}
            made = connection.execute(insert(ERASURES).values(**values)).inserted_primary_key
            assert made is not None
            return int(made[0])

    def all(self) -> list[Ordered]:
        """Every erasure, oldest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(ERASURES).order_by(ERASURES.c.number)).all()
        return [
            Ordered(
                row.number,
                bool(row.by_subject),
                row.digest,
                row.name,
                row.at,
                row.who,
                row.done_at,
                {str(kind): int(count) for kind, count in read_object(row.counts, "the counts of an erasure").items()},
            )
            for row in rows
        ]

    def pending(self) -> list[Ordered]:
        """Those whose part at the cloud is not done."""
        return [one for one in self.all() if one.done_at is None]

    def count(self, number: int, counts: Mapping[str, int]) -> None:
        """Note what was erased so far: a part that is done again after a kill finds nothing any more."""
        with writing(self._engine) as connection:
            before = connection.execute(select(ERASURES.c.counts).where(ERASURES.c.number == number)).scalar()
            known = read_object(before, "the counts of an erasure")
            together = {kind: int(known.get(kind, 0)) + counts.get(kind, 0) for kind in {*known, *counts}}
            values = {"counts": json.dumps(together, sort_keys=True)}
            connection.execute(update(ERASURES).where(ERASURES.c.number == number).values(**values))

    def done(self, number: int, at: float, now: float) -> bool:
        """Note that the cloud's part of what was ordered ``at`` is done, and forget the name.

        Returns:
            Whether it is: not where it was ordered again meanwhile.
        """
        mine = (ERASURES.c.number == number, ERASURES.c.at == at)
        with self._engine.begin() as connection:
            connection.execute(delete(ERASED_KEYS).where(ERASED_KEYS.c.until < now))
            return bool(connection.execute(update(ERASURES).where(*mine).values(done_at=now, name="")).rowcount)

    def keep_away(self, keys: Iterable[str], until: float) -> None:
        """Refuse these digests of keys until then, in Unix seconds."""
        left = sorted(set(keys))
        for start in range(0, len(left), _KEYS_AT_ONCE):
            some = left[start : start + _KEYS_AT_ONCE]
            with self._engine.begin() as connection:
                connection.execute(delete(ERASED_KEYS).where(ERASED_KEYS.c.digest.in_(some)))
                connection.execute(insert(ERASED_KEYS), [{"digest": one, "until": until} for one in some])

    def kept_away(self, keys: Sequence[str]) -> set[str]:
        """Which of these digests of keys are refused."""
        found: set[str] = set()
        with self._engine.connect() as connection:
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                some = keys[start : start + _KEYS_AT_ONCE]
                query = select(ERASED_KEYS.c.digest).where(ERASED_KEYS.c.digest.in_(some))
                found |= set(connection.execute(query).scalars())
        return found

    def for_device(self, device: str) -> tuple[Erasure, ...]:
        """What a device has to erase yet, at most ``MOST_AT_ONCE``, oldest first."""
        return self.for_devices([device]).get(device, ())

    def for_devices(self, devices: Sequence[str]) -> dict[str, tuple[Erasure, ...]]:
        """What each of some devices has to erase yet, as ``for_device`` tells it; none of those that have nothing."""
        digests = {digest_of(device): device for device in devices}
        ordered = select(ERASURES.c.by_subject, ERASURES.c.digest, func.count()).group_by(
            ERASURES.c.by_subject, ERASURES.c.digest
        )
        concerned = ERASURES.c.by_subject | ERASURES.c.digest.in_([*digests])
        by, of = ERASED_AT_DEVICES.c.device, Counter[str]()
        with self._engine.connect() as connection:
            for by_subject, digest, times in connection.execute(ordered.where(concerned)):
                of.update(dict.fromkeys(devices, times) if by_subject else {digests[digest]: times})
            if of:
                answered = select(by, func.count()).where(by.in_([*of])).group_by(by)
                of.subtract({row[0]: row[1] for row in connection.execute(answered)})
        return {device: self._left(device) for device, times in of.items() if times > 0}

    def _left(self, device: str) -> tuple[Erasure, ...]:
        answered = select(ERASED_AT_DEVICES.c.number).where(ERASED_AT_DEVICES.c.device == device)
        concerned = ERASURES.c.by_subject | (ERASURES.c.digest == digest_of(device))
        query = select(ERASURES.c.number, ERASURES.c.by_subject, ERASURES.c.digest).where(
            ERASURES.c.number.not_in(answered), concerned
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(ERASURES.c.number).limit(MOST_AT_ONCE)).all()
        return tuple(Erasure(row.number, row.digest if row.by_subject else "") for row in rows)

    def answered(self, device: str, said: Iterable[Erased], now: float) -> list[Erased]:
        """Keep what a device has erased; those that it was asked for and had not answered yet."""
        asked = {one.number for one in self.for_device(device)}
        new = [one for one in {one.number: one for one in said}.values() if one.number in asked]
        with self._engine.begin() as connection:
            for one in new:
                values = {"device": device, "number": one.number, "rows": one.rows, "at": now}
                connection.execute(insert(ERASED_AT_DEVICES).values(**values))
        return new

    def to_answer(self, one: Ordered) -> int:
        """How many devices of the fleet have yet to answer."""
        answered = select(ERASED_AT_DEVICES.c.device).where(ERASED_AT_DEVICES.c.number == one.number)
        with self._engine.connect() as connection:
            left = connection.execute(select(DEVICES.c.id).where(DEVICES.c.id.not_in(answered))).scalars().all()
        return sum(one.by_subject or digest_of(name) == one.digest for name in left)

    def at_devices(self, number: int) -> tuple[int, int]:
        """How many devices have answered, and how many rows went there."""
        query = select(func.count(), func.coalesce(func.sum(ERASED_AT_DEVICES.c.rows), 0))
        with self._engine.connect() as connection:
            devices, rows = connection.execute(query.where(ERASED_AT_DEVICES.c.number == number)).one()
        return int(devices), int(rows)
