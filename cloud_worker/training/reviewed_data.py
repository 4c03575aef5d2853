"""Which rows teach, with what operators accepted of feedback in place of the reference's answer."""

from __future__ import annotations

from collections.abc import Sequence

from cloud_worker.state.feedback import Feedbacks
from cloud_worker.state.store import Store
from router.core.domain.record import Record
from router.core.learning.training_rows import teachable, with_reviewed


def taught_of(rows: Sequence[Record], store: Store, task: str) -> list[Record]:
    """The rows that may teach a student of ``task``, of its current ones."""
    return with_reviewed(teachable(rows, store.spent(task)), Feedbacks(store.engine).lessons(task))
