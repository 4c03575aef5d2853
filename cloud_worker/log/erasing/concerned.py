"""Which records an erasure concerns, and which may not come back after one.

Rules:
 * It concerns what was asked before it was ordered; what its subject asks afterwards is another matter.
 * A record of before that arrives late, from an outbox or a caller that asks again, is dropped by the writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloud_worker.fleet.erasures import Erasures
from cloud_worker.log.distillation_log import quoted
from cloud_worker.log.known_keys import digest_of as digest_of_key
from router.core.domain.record import Record
from router.core.privacy.erasure import digest_of


@dataclass(frozen=True, slots=True)
class Concerned:
    """Whom one erasure concerns.

    Attributes:
        by_subject: A subject, not a device.
        name: Of it.
        at: Unix time in seconds of the order.
    """

    by_subject: bool
    name: str
    at: float

    @property
    def sql(self) -> str:
        """What holds of the rows of the log, as the table's library reads it."""
        column = "subject" if self.by_subject else "caller"
        return f"{column} = {quoted(self.name)} and (asked_at <= {self.at!r} or received_at <= {self.at!r})"

    def has(self, record: Record) -> bool:
        """Whether it concerns a record."""
        name = record.subject if self.by_subject else record.caller
        return name == self.name and min(record.asked_at, record.received_at) <= self.at


class Returning:
    """Records that were erased, or should have been, and come to the writer all the same.

    While an erasure is not done they go to the log like all others, and from there with the rest.
    """

    def __init__(self, erasures: Erasures) -> None:
        """Know them by ``erasures``."""
        self._erasures = erasures

    def among(self, records: Sequence[Record]) -> list[Record]:
        """Those of ``records`` that may not be taken in."""
        orders = [one for one in self._erasures.all() if one.done_at is not None] if records else []
        if not orders:
            return []
        latest: dict[tuple[bool, str], float] = {}
        for one in orders:
            latest[one.by_subject, one.digest] = max(one.at, latest.get((one.by_subject, one.digest), one.at))
        keys = [digest_of_key(record.key).hex() for record in records]
        kept_away = self._erasures.kept_away(keys)
        return [
            record
            for record, key in zip(records, keys, strict=True)
            if key in kept_away or min(record.asked_at, record.received_at) <= _until(latest, record)
        ]


def _until(latest: dict[tuple[bool, str], float], record: Record) -> float:
    """Up to which time all that is like this record was erased, minus infinity for none."""
    never = float("-inf")
    by_caller = latest.get((False, digest_of(record.caller)), never)
    return max(by_caller, latest.get((True, digest_of(record.subject)), never) if record.subject else never)
