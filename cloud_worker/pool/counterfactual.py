"""What cheaper teachers would have answered in the reference's place, by the rows on which both were asked.

Rules:
 * Only rows that came since the policy serves speak of it: it was fitted and proved on those before.
 * A row says what the policy would have served had it not been drawn; the same walk as at the gateway tells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cloud_worker.pool.policies import PolicyState, StoredPolicy
from cloud_worker.pool.policy_store import PoolPolicies
from router.core.domain.record import Record
from router.core.domain.task import Task
from router.core.learning.training_rows import Key
from router.core.policy.pool_routing import said_by

_HAVE_SERVED = (PolicyState.SERVING, PolicyState.RETIRED, PolicyState.WITHDRAWN)


def serving_of(policies: PoolPolicies, task: Task) -> tuple[StoredPolicy | None, int]:
    """The policy that serves a task, and how many have served."""
    known = policies.of(task) if task.cheaper.teachers else []
    serving = next((stored for stored in known if stored.state is PolicyState.SERVING), None)
    return serving, sum(stored.state in _HAVE_SERVED for stored in known)


def pool_answers(stored: StoredPolicy | None, rows: Sequence[tuple[int, Record]]) -> dict[Key, str]:
    """The pool's answer to each row that speaks of a policy, by the row's key.

    Args:
        stored: The policy; without one the reference answers all.
        rows: Pairs of batch and record, answered by the reference.
    """
    if stored is None:
        return {record.key: record.answer for _, record in rows}
    names = {tier.teacher for tier in stored.policy.tiers}
    speak = [
        record
        for batch, record in rows
        if batch > stored.served_after and names <= {one.teacher for one in record.tried}
    ]
    return {record.key: _answer(stored, record, end) for record, end in zip(speak, _ends(stored, speak), strict=True)}


def _ends(stored: StoredPolicy, records: Sequence[Record]) -> list[int]:
    """Position of the teacher whose answer stands on each row, the reference's being the last."""
    if not records:
        return []
    odds = np.stack([head.odds([record.text for record in records]) for head in stored.words], axis=1)
    said = [said_by(record.tried, stored.policy) for record in records]
    ends, _ = stored.policy.walk(odds, np.array([sure for sure, _ in said]), np.array([counts for _, counts in said]))
    return [int(end) for end in ends]


def _answer(stored: StoredPolicy, record: Record, end: int) -> str:
    if end == len(stored.policy.tiers):
        return record.answer
    teacher = stored.policy.tiers[end].teacher
    return next(one.answer for one in record.tried if one.teacher == teacher)
