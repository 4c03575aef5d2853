"""The rows of one task that people label: which there are, which are handed out, which labels are known."""

from __future__ import annotations

import time
from collections.abc import Callable

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.fleet.twins import Incarnations
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.state.gold_labels import Gold
from cloud_worker.state.store import Store
from router.core.certification.missing_rows import set_apart
from router.core.domain.believed_times import not_from_the_future
from router.core.domain.record import Record
from router.core.domain.task import Kind, Task
from router.core.learning.training_rows import current


class RowsToLabel:
    """The rows of one task, for people to label."""

    def __init__(self, config: CloudConfig, task: str, opened: Callable[[CloudConfig], Store] = open_store) -> None:
        """Open the log and the labels, which lie in the store that ``opened`` opens.

        Raises:
            UnknownTaskError: There is no such task; names those that there are.
        """
        self.task: Task = config.task(task)
        from cloud_worker.log.distillation_log import DistillationLog, records_of  # pyarrow: half a second

        config.data.mkdir(parents=True, exist_ok=True)
        self.store = opened(config)
        self.log = DistillationLog(config.log_folder)
        self.gold = Gold(self.store.engine)
        twins = Incarnations(self.store.engine).spans()
        told = not_from_the_future(records_of(self.log.read(task)), time.time())
        rows = [set_apart(row, twins) for row in told]
        self.rows: list[Record] = current(rows, self.task)

    def take(self, who: str, most: int, *, every_release: bool) -> list[Record]:
        """Rows for one person: of the release that serves, or of every one."""
        champion = next((state.champion for state in self.store.task_states() if state.name == self.task.name), 0)
        pool = [row for row in self.rows if every_release or row.release == champion]
        return self.gold.take(self.task.name, who, pool, most, time.time())

    def known(self) -> list[str]:
        """The labels of a label task, in order; nothing for texts."""
        if self.task.kind is not Kind.LABEL:
            return []
        said = {one.label for one in self.gold.labels(self.task.name) if one.label}
        return sorted({*self.task.labels, *(row.answer for row in self.rows if row.answer), *said})

    def handed_out(self) -> dict[tuple[str, str], Record]:
        """The rows that were handed out and are still there, by caller and query id."""
        drawn = {one.key for one in self.gold.drawn(self.task.name)}
        return {(row.caller, row.query_id): row for row in self.rows if row.key in drawn}
