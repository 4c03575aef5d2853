"""Carries out the erasures that were ordered: all that the cloud holds of a device or a subject.

Rules:
 * Every step may be done again: whoever was killed in between is followed by who does it all once more. So rows go
   last, from which the rest is known.
 * The numbers of erased rows count as come, so that no device is taken for one that holds rows back.
 * Who holds rows in memory, or a release that quotes or numbers texts, begins anew without them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.fleet.erasures import Erasures, Ordered
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.erasing.concerned import Concerned
from cloud_worker.log.erasing.fleet_state import forget_said, write_anew
from cloud_worker.log.erasing.in_releases import ErasedTexts, forget_in_releases
from cloud_worker.log.erasing.spools import drop, erase_in_spools, hear_spools
from cloud_worker.log.erasing.table import erase_rows, hear_rows
from cloud_worker.log.known_keys import digest_of
from cloud_worker.log.repair import data_files_aside
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.database.sqlite_files import aside_in
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import Store
from router.core.domain.record import Record

log = logging.getLogger(__name__)

KINDS = ("log", "records", "quarantine", "feedback", "labels", "releases", "put_aside")  # of what is counted
KEPT_AWAY_SECONDS = 3 * 86_400.0  # a key may be asked for again for two days, and a little later


@dataclass(slots=True)
class _Gone:
    """What is remembered of erased rows until the end: hashes of queries and texts.

    Attributes:
        queries: Caller and id.
        texts: What was asked.
    """

    queries: set[bytes] = field(default_factory=set)
    texts: ErasedTexts = field(default_factory=ErasedTexts)

    def has_query(self, caller: str, query_id: str) -> bool:
        """Whether a query is among them."""
        return digest_of((caller, query_id)) in self.queries


class Eraser:
    """The eraser of one cluster. Belongs to its log's writer, or to a command while nothing runs."""

    def __init__(self, config: CloudConfig, store: Store, target: DistillationLog) -> None:
        """Erase from ``target``, ``store``, and what else ``config`` names."""
        self._config, self._store, self._target = config, store, target
        self._erasures = Erasures(store.engine)
        self._repeats = Repeats(store.engine)

    def do_pending(self) -> int:
        """Carry out what is ordered; how many erasures that were.

        Raises:
            Exception: Something is in the way; what was ordered stays so, and is carried out by the next call.
        """
        pending = self._erasures.pending()
        for one in pending:
            self._do(one)
        return len(pending)

    def _do(self, ordered: Ordered) -> None:
        concerned = Concerned(ordered.by_subject, ordered.name, ordered.at)
        gone = _Gone()

        def told(records: Sequence[Record]) -> None:
            self._hear(records, gone)

        path, spools = self._config.log_folder, self._config.spool_folder
        # First what is known by the rows alone: after a kill they may be gone.
        hear_spools(spools, concerned, told)
        self._target.change(lambda table: hear_rows(table, concerned.sql, told))
        counts = forget_said(self._store, concerned, gone.has_query)
        counts["releases"] += forget_in_releases(self._config, self._store, self._publisher(), gone.texts)
        counts += erase_in_spools(spools, concerned, told)
        counts["log"] += self._target.change(lambda table: erase_rows(path, table, concerned.sql)) or 0
        counts["put_aside"] += sum(map(drop, (*data_files_aside(path), *aside_in(self._config.data))))
        self._erasures.count(ordered.number, {kind: counts[kind] for kind in KINDS})
        write_anew(self._config, self._store)
        if self._erasures.done(ordered.number, ordered.at, time.time()):
            write_anew(self._config, self._store)  # the name was in it
            log.warning("erasure %d is done: %s", ordered.number, dict(counts))

    def _hear(self, records: Sequence[Record], gone: _Gone) -> None:
        now = time.time()
        self._repeats.note(records)
        recent = (record for record in records if record.received_at > now - KEPT_AWAY_SECONDS)
        self._erasures.keep_away([digest_of(record.key).hex() for record in recent], now + KEPT_AWAY_SECONDS)
        gone.queries |= {digest_of((record.caller, record.query_id)) for record in records}
        gone.texts.add(record.text for record in records)

    def _publisher(self) -> Publisher:
        return Publisher(self._config.releases_folder, self._config.server_urls)
