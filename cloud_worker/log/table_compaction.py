"""The files of the distillation log: opened, joined, dropped, and known again after another has put new ones in place.

Rules:
 * Files are joined in two sizes, so that a row is written again a few times, not at every joining.
 * What a joining replaced is dropped before the next one, so a reader has that long, and reads again where it had not.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from cloud_worker.log.delta_table import CONFIGURATION, logged_errors
from cloud_worker.log.repair import mend
from cloud_worker.running.process_memory import give_back_memory
from cloud_worker.state.database.sqlite_files import Identity, identity_of

_SMALL_BYTES = 8 * 1024 * 1024
_LARGE_BYTES = 128 * 1024 * 1024
_LARGE_EVERY = 16  # joinings into small ones
_JOININGS_AT_ONCE = 1


class LogFiles:
    """The files of a Delta table at one folder."""

    def __init__(self, path: Path) -> None:
        """Look at the table at ``path``."""
        self._path = path
        self._identity: Identity | None = None
        self._joinings = 0

    def open(self) -> DeltaTable | None:
        """The table; ``None`` where there is none yet."""
        self._identity = identity_of(self._path / "_delta_log")
        try:
            with logged_errors():
                return DeltaTable(self._path)
        except TableNotFoundError:
            return None

    def are_the_same(self) -> bool:
        """Whether the table that was opened last is the one in place."""
        return self._identity is not None and identity_of(self._path / "_delta_log") == self._identity

    def tidy(self, table: DeltaTable) -> None:
        """Drop what a former joining replaced, and a killed writer left; then join what is small."""
        if self._joinings == 0:
            self._configure(table)
        left_behind = self._joinings == 0  # files of a writer that was killed before it could name them
        table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False, full=left_behind)
        large = self._joinings % _LARGE_EVERY == _LARGE_EVERY - 1
        table.update_incremental()
        table.optimize.compact(
            target_size=_LARGE_BYTES if large else _SMALL_BYTES, max_concurrent_tasks=_JOININGS_AT_ONCE
        )
        self._joinings += 1
        give_back_memory()

    def suspect(self) -> None:
        """Ask the writer to look for damage."""
        with suppress(OSError):
            self._note.touch()

    def is_suspected(self) -> bool:
        """Whether somebody asked for that since the last mending."""
        return self._note.exists()

    def mend(self) -> str:
        """Look for damage, and mend it; says what was done, empty for nothing."""
        done = mend(self._path, thoroughly=self.is_suspected())
        with suppress(OSError):
            self._note.unlink(missing_ok=True)
        return done

    @property
    def _note(self) -> Path:
        return self._path.with_name(f".{self._path.name}.suspected")

    def _configure(self, table: DeltaTable) -> None:
        """Give a table of an older version the settings of a new one."""
        known = table.metadata().configuration
        if any(known.get(key) != value for key, value in CONFIGURATION.items()):
            table.alter.set_table_properties({key: str(value) for key, value in CONFIGURATION.items()})
            table.update_incremental()
