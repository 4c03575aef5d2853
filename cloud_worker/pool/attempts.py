"""How many policies each task's pool has tried to prove: kept beside its releases, which outlive the fleet's database.

Rules:
 * It is on the disk before the policy is in the store: a number is spent at most once, whatever is lost between.
 * A file that can't be read counts as more than any pool has tried.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from router.io.atomic_write import write_whole

log = logging.getLogger(__name__)

UNREADABLE = 100  # attempts, of which each spends assurance

_FILE = "pool-attempts.json"


class PoolAttempts:
    """The number of policies that each task's pool has tried to prove."""

    def __init__(self, releases: Path) -> None:
        """Keep them in the folder of each task below ``releases``."""
        self._releases = releases

    def of(self, task: str) -> int:
        """How many policies a task has had, at least; 0 before the first."""
        try:
            told = json.loads(self._path(task).read_bytes())["attempts"]
            if isinstance(told, int) and told >= 0:
                return told
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.warning("%s can't be read: %s", self._path(task), error)
        return UNREADABLE

    def spend(self, task: str, number: int) -> None:
        """Keep that a task has had ``number`` policies; ``OSError`` if it can't be written."""
        if self.of(task) < number:
            write_whole(self._path(task), json.dumps({"attempts": number}).encode())

    def _path(self, task: str) -> Path:
        return self._releases / task / _FILE
