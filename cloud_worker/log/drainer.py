"""From every spool into the distillation log, also from those of gateways that no longer run.

Rules:
 * Records leave a spool after the log's commit has been seen; a writer killed in between finds them in both, and the
   log takes each once.
 * A record that can't be written for a reason that lies in itself goes to quarantine; the rest goes on.
 * A spool that is damaged, or none, is put aside and read as far as that goes; it keeps no other from being drained.
 * One commit a spool and call, unless a full batch waits.
 * What the log had before is told apart from what never came; so is what was erased and comes again, which is dropped.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
from deltalake.exceptions import DeltaError

from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.refusals import refused
from cloud_worker.log.spool import SpoolDrain, spools_in
from cloud_worker.log.spool_drain import Row, read_damaged, salvaged, to_salvage
from cloud_worker.log.table_rows import why_unfit
from cloud_worker.state.database.sqlite_files import NO_SPOOL, guarded, is_damaged, put_aside
from cloud_worker.state.repeated_rows import Repeats
from router.core.domain.record import Record
from router.core.errors import UnavailableError
from router.io.sqlite_header import mend_header

log = logging.getLogger(__name__)

MOST_ROWS_IN_A_COMMIT = 5000

_LOG_FAILED = (OSError, DeltaError, pa.ArrowException, ValueError, TypeError, OverflowError, UnavailableError)


class Drainer:
    """Moves records from the spools of a folder into a log."""

    def __init__(
        self,
        folder: Path,
        target: DistillationLog,
        repeats: Repeats,
        unwanted: Callable[[Sequence[Record]], Sequence[Record]] = lambda records: (),
    ) -> None:
        """Drain the spools in ``folder`` into ``target``.

        Args:
            folder: Of the spools.
            target: The log.
            repeats: Hears of what the log had before, and of what is not wanted.
            unwanted: Which of some records were erased, and are dropped.
        """
        self._unwanted = unwanted
        self._folder = folder
        self._target = target
        self._repeats = repeats
        self._drains: dict[Path, SpoolDrain] = {}

    def drain(self) -> int:
        """Move everything that waits, and return how many records were new to the log.

        Raises:
            Exception: Some spool could not be drained; all others were, and what waits there stays.
        """
        moved = 0
        failure: Exception | None = None
        for path in spools_in(self._folder):
            try:
                moved += self._drain_one(self._opened(path))
            except sqlite3.Error as error:
                self._forget(path)
                if mend_header(path, error):
                    failure = failure or error  # drained with the next call
                elif is_damaged(error):
                    self._put_aside(path, error)
                else:
                    failure = failure or error
            except _LOG_FAILED as error:
                failure = failure or error
        for path in to_salvage(self._folder):
            moved += self._salvage(path)
        if failure is not None:
            raise failure
        return moved

    def close(self) -> None:
        """Close the spools."""
        for path in list(self._drains):
            self._forget(path)

    def _forget(self, path: Path) -> None:
        drain = self._drains.pop(path, None)
        if drain is not None:
            drain.close()

    def _opened(self, path: Path) -> SpoolDrain:
        drain = self._drains.get(path)
        if drain is not None and not drain.is_there():  # put aside by its gateway
            self._forget(path)
            drain = None
        if drain is None:
            drain = self._drains[path] = SpoolDrain(path)
            drain.remove(self._taken_in(drain.id))  # what a killed writer had committed, and not yet removed
        return drain

    def _taken_in(self, spool: str) -> int:
        try:
            return self._target.taken_in(spool)
        except UnavailableError:
            if not self._target.mend():
                raise
            return self._target.taken_in(spool)

    def _drain_one(self, drain: SpoolDrain) -> int:
        moved = 0
        while rows := drain.read(MOST_ROWS_IN_A_COMMIT):
            is_full = drain.is_full
            moved += self._move(drain, rows)
            drain.remove(rows[-1][0])
            if not is_full:
                break
        return moved

    def _move(self, drain: SpoolDrain, rows: Sequence[Row]) -> int:
        last = rows[-1][0]
        unfit = {position: why for position, record in rows if (why := why_unfit(record))}
        rows = self._without(drain, rows, unfit)
        try:
            return self._append(rows, drain.id, last)
        except _LOG_FAILED as error:
            if self._target.mend():
                return self._append(rows, drain.id, last)
            positions = refused([record for _, record in rows], self._folder)
            if not positions:
                raise
            log.warning("the log refuses %d records: %s", len(positions), error)
            rows = self._without(drain, rows, {rows[position][0]: why for position, why in positions.items()})
            return self._append(rows, drain.id, last)

    def _without(self, drain: SpoolDrain, rows: Sequence[Row], bad: dict[int, str]) -> Sequence[Row]:
        if not bad:
            return rows
        log.error(
            "%d records can't be written to the log and are kept in quarantine; one, because %s",
            len(bad),
            next(iter(bad.values())),
        )
        drain.quarantine(list(bad.items()))
        return [row for row in rows if row[0] not in bad]

    def _append(self, rows: Sequence[Row], spool: str, last: int) -> int:
        records = [record for _, record in rows]
        if not records:
            return 0
        unwanted = {id(record) for record in self._unwanted(records)}
        if unwanted:
            log.warning("%d records come that were erased, and are dropped", len(unwanted))
            self._repeats.note([record for record in records if id(record) in unwanted])
            records = [record for record in records if id(record) not in unwanted]
        self._repeats.note(self._target.known(records))
        return self._target.append(records, spool, last)

    def _put_aside(self, path: Path, error: sqlite3.Error) -> None:
        with guarded(path):
            try:
                SpoolDrain(path).close()
            except sqlite3.Error as again:
                why = NO_SPOOL if "no such table" in str(again) else "damaged"
                if not is_damaged(again):
                    return
                log.error("the spool %s was put aside as %s: %s", path.name, put_aside(path, why).name, again)
                return
            log.error("the spool %s can't be drained, and was put aside: %s", path.name, error)
            put_aside(path)

    def _salvage(self, path: Path) -> int:
        """Take what a damaged spool still gives; what was in the log before is known by its key."""
        rows = [(position, record) for position, record in read_damaged(path) if not why_unfit(record)]
        moved = self._append(rows, path.name, rows[-1][0]) if rows else 0
        salvaged(path)
        log.error("%d records were read from %s", moved, path.name)
        return moved
